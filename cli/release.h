/* A release file: everything that `ingot build` needs, in YAML (docs/man/ingot-release.5). Relative paths are taken
 * from the folder of the file. */
#ifndef CLI_RELEASE_H
#define CLI_RELEASE_H

#include "core/json.h"

#define RELEASE_PROFILES_MAX 64u

struct release_profile {
    const char *engine, *gpu;
    uint64_t context, sequences, draft; /* 0: default */
};

struct release {
    const char *name;
    char *source, *recipe, *data, *policy; /* data, policy NULL when absent; recipe may be a built-in name */
    uint64_t max_tokens;                   /* of calibration */
    const char *tag;
    const char *prompt;                  /* for the command that build suggests at its end */
    char *source_key, *source_signature; /* of the source folder (OpenSSF model signing), or NULL */
    const char *builder_id;              /* for provenance, or NULL */
    char *builder_key;                   /* private: of attestations, when it is not the release's; or NULL */
    char *private_key, *public_key;      /* NULL: OUT/release.key and OUT/release.pub, made when they are not there */
    struct release_profile profiles[RELEASE_PROFILES_MAX];
    uint32_t n_profiles;
    json_t *json;
};

/* `path` may be a folder that holds release.yaml. */
MUST_CHECK bool release_load(struct release *out, const char *path, struct error *err);
void release_close(struct release *r);

static inline void cleanup_release(struct release *r)
{
    release_close(r);
}

#endif
