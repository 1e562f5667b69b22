/* The serving profile of a model folder: for one engine version and a number of one GPU, the engine's own
 * configuration file, its command line and environment, the memory-fit figure with every term, and what the lint rules
 * say. Decided from headers and configuration alone; no weight is read.
 *
 *     struct profile_request req = {.engine = "vllm@0.17.1", .gpu = "b200:2"};
 *     profile_build(&model, &req, "profiles", NULL, &result, &err);      -> profiles/vllm-0.17.1-b200x2-nvfp4-tp2/
 *
 * The folder holds profile.json (schema ingot.profile/1), vllm.yaml, command.sh and env. Same inputs, same bytes: no
 * time, no host, no path. Layout and meaning of every field: docs/profiles.md. */
#ifndef PACK_PROFILE_H
#define PACK_PROFILE_H

#include "core/progress.h"
#include "pack/profile_facts.h"
#include "pack/profile_lint.h"

#define PROFILE_SCHEMA "ingot.profile/1"
#define PROFILE_CONTEXT_DEFAULT 262144u /* or max_position_embeddings when that is less */
#define PROFILE_SEQUENCES_DEFAULT 64u
#define PROFILE_FILES_MAX 8u

struct profile_request {
    const char *engine;          /* "vllm@0.17.1", or "vllm@0.17.1@sha256:<hex>" to pin the image */
    const char *gpu;             /* "b200:2": id in profiles/gpus.yaml, how many; ":1" may be left out */
    uint64_t context, sequences; /* 0: the default, made smaller (and noted) when it does not fit */
    uint32_t draft_tokens;       /* speculative tokens by the checkpoint's MTP head; 0: none */
    double utilisation;          /* share of the memory, three decimals at most; 0: the engine's default, or
                                  * less where CPU and GPU share the memory */
    const char *kv_dtype;        /* the engine's word for the KV cache; NULL: what the checkpoint declares */
    bool long_context;           /* go beyond max_position_embeddings */
    bool force;                  /* write it though a rule says that it cannot run */
    bool replace;                /* an existing profile with other bytes */
};

struct profile_file {
    const char *name;
    const char *text;
    size_t size;
    unsigned mode;
};

/* Everything in here belongs to the result. */
struct profile_result {
    const char *name; /* "vllm-0.17.1-b200x2-nvfp4-tp2" */
    const char *path; /* of the folder written; NULL after profile_make */
    bool unchanged;   /* it was there already, byte for byte */
    const struct profile_facts *facts;
    struct lint_report lint;
    const char *const *notes; /* what was decided differently from asked or usual, one sentence each */
    uint32_t n_notes;
    json_t *json; /* profile.json */
    struct profile_file files[PROFILE_FILES_MAX];
    uint32_t n_files;
    struct profile_rows *rows;
    struct arena *arena;
};
void profile_result_close(struct profile_result *r); /* fine on {0} */

static inline void cleanup_profile_result(struct profile_result *r)
{
    profile_result_close(r);
}

/* Decides, judges and lays out the files in memory; writes nothing. Errors: ERR_USAGE for a malformed target or
 * number, ERR_UNSUPPORTED for an unknown engine, version or GPU, and, unless `force`, for the first rule that is
 * broken: the sentence begins with its id ("TP-01: ..."). `m` is used now and not kept, except that result->facts
 * points into it. */
MUST_CHECK bool profile_make(const struct model *m, const struct profile_request *req, struct profile_result *result,
                             struct error *err);
/* The same, written as out_dir/<name>/. Nothing appears before everything is there. An existing folder with the same
 * bytes is left alone; with others it is ERR_USAGE unless `replace`. */
MUST_CHECK bool profile_build(const struct model *m, const struct profile_request *req, const char *out_dir,
                              const struct progress *pr, struct profile_result *result, struct error *err);

/* For `ingot list gpus|engines`: appends {"name": ..., "what": ...} for each row of the embedded tables, in their
 * order. */
MUST_CHECK bool profile_list_gpus(json_t *rows, struct error *err);
MUST_CHECK bool profile_list_engines(json_t *rows, struct error *err);

#endif
