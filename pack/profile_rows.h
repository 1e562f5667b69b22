/* The tables profiles are made from: GPUs and engines, one YAML row each (profiles/gpus.yaml, profiles/engines.yaml),
 * embedded in the program. Every number there says where it comes from; a row that leaves that out, or has a word we
 * do not know, is refused when the tables are opened, so that a wrong table cannot make a profile.
 *
 * Life: profile_rows_open once, use, profile_rows_close. All pointers live in the tables. */
#ifndef PACK_PROFILE_ROWS_H
#define PACK_PROFILE_ROWS_H

#include "core/arena.h"
#include "core/crypto.h"
#include "core/error.h"
#include "core/json.h"

#include <stdint.h>

struct gpu_row {
    const char *id, *name, *note; /* note may be NULL */
    const char *const *aliases;   /* NULL-terminated */
    uint32_t capability;          /* major * 10 + minor; 0: not known */
    uint64_t memory_bytes;        /* usable; 0: not known, no profile can be made */
    uint32_t bandwidth_gb_s;      /* 10^9 bytes per second; 0: not known */
    bool fp8, nvfp4, unified;
    const char *arch;                  /* "x86_64", "aarch64", or NULL */
    uint32_t utilisation_max_permille; /* for defaults; 1000 when the row has none */
    const char *memory_grade;          /* the word of the grades map, or NULL */
    struct digest digest;              /* of the row's canonical JSON */
};

/* How weights of one algorithm are multiplied. */
struct compute_row {
    const char *algo;        /* "NVFP4" */
    const char *const *gpus; /* ids, or NULL: any */
    uint32_t capability;     /* smallest; 0: any */
    const char *path, *by;   /* "w4a16", "Marlin" */
};

struct setting {
    const char *key, *value;
};

/* Flags and environment that hold when all conditions do. */
struct setting_row {
    const char *experts, *linears; /* algorithm of the routed experts; of any linear outside them; or NULL */
    const char *const *gpus;       /* ids, or NULL */
    struct setting *flags, *env;
    uint32_t n_flags, n_env;
};

struct parser_row {
    const char *reasoning, *tool;          /* one of them */
    const char *const *models;             /* model types, or NULL: any */
    const char *const *has, *const *lacks; /* texts of the chat template; never NULL */
};

struct engine_row {
    const char *name, *version;
    const char *writer;       /* NULL: only single facts are known */
    const char *const *known; /* those facts, in words; never NULL */
    uint32_t utilisation_permille, kv_block_tokens, kv_group_stretch_percent, mixed_capability, mtp_layers_max;
    const char *const *quant_algos, *const *mixed_algos, *const *kv_algos, *const *kv_dtypes, *const *ssm_dtypes;
    const char *const *flags, *const *reasoning_parsers, *const *tool_parsers, *const *remote_code;
    const char *ssm_fallback, *context_env;
    bool quantized_tables, ssm_rounding;
    struct compute_row *compute;
    struct setting_row *settings;
    struct parser_row *parsers;
    uint32_t n_compute, n_settings, n_parsers;
    struct digest digest; /* of the row's canonical JSON */
};

struct profile_rows {
    struct gpu_row *gpus;
    struct engine_row *engines;
    uint32_t n_gpus, n_engines;
    struct arena *arena;
};

MUST_CHECK bool profile_rows_open(struct profile_rows **out, struct error *err);
void profile_rows_close(struct profile_rows *rows); /* NULL is fine */
CLEANUP_DEFINE(profile_rows, struct profile_rows, profile_rows_close)
/* The same from texts; tests break them on purpose. */
MUST_CHECK bool profile_rows_read(struct profile_rows **out, struct bytes gpus, struct bytes engines,
                                  struct error *err);

/* By id or alias; NULL when unknown. */
const struct gpu_row *gpu_row_find(const struct profile_rows *rows, const char *id);
const struct engine_row *engine_row_find(const struct profile_rows *rows, const char *name, const char *version);
/* True when `word` is in the NULL-terminated list. */
bool row_lists(const char *const *list, const char *word);
/* True when no reader of YAML could take the bare word for anything but this text: what values of settings must be. */
bool row_word_is_plain(const char *word);
/* NULL when the engine cannot multiply weights of this algorithm on this GPU. */
const struct compute_row *engine_compute(const struct engine_row *e, const char *algo, const struct gpu_row *gpu);
/* -1, 0, 1 by the dotted numbers; text behind them ("rc9") comes before none. */
int version_compare(const char *a, const char *b);

#endif
