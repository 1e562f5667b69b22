/* What the files of pack/profile* share with each other and with nobody else. */
#ifndef PACK_PROFILE_PARTS_H
#define PACK_PROFILE_PARTS_H

#include "core/text.h"
#include "pack/profile.h"

/* A profile while it is decided. */
struct profile_draft {
    const struct model *model;
    const struct profile_request *req;
    const struct profile_rows *rows;
    struct profile_facts facts;
    const char **notes;
    uint32_t n_notes;
    struct digest template_digest; /* of the chat template */
    bool has_template;
    struct arena *arena;
};

#define PROFILE_NOTES_MAX 32u
/* One sentence; false only when memory is gone. */
MUST_CHECK bool draft_note(struct profile_draft *d, struct error *err, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* "vllm@0.17.1" and "b200:2" to rows (profile_target.c). */
MUST_CHECK bool target_read(struct profile_draft *d, struct error *err);
/* Everything else that is decided (profile_decide.c, profile_memory.c, profile_template.c). */
MUST_CHECK bool draft_decide(struct profile_draft *d, struct error *err);
MUST_CHECK bool draft_memory(struct profile_draft *d, struct error *err);
MUST_CHECK bool draft_parsers(struct profile_draft *d, struct error *err);

/* Turns decisions into an engine's own files; one row per engine family, named by `writer` in profiles/engines.yaml. */
struct profile_writer {
    const char *name;
    bool (*write)(const struct profile_facts *f, struct profile_result *out, struct error *err);
};
extern const struct profile_writer *const profile_writers[]; /* NULL-terminated; profile.c */
extern const struct profile_writer profile_writer_vllm;
/* For writers: takes the text over into the result's arena. */
MUST_CHECK bool profile_add_file(struct profile_result *out, const char *name, unsigned mode, struct text *t,
                                 struct error *err);

/* The word for a checkpoint's precision in a profile's name: of the format that most weights are in ("nvfp4",
 * "nvfp4-w4a16"). */
MUST_CHECK bool profile_name(const struct profile_facts *f, struct arena *arena, const char **out, struct error *err);
/* profile.json; the engine's files are in result->files already. */
MUST_CHECK bool profile_json(const struct profile_draft *d, const struct profile_result *r, json_t **out,
                             struct error *err);

#endif
