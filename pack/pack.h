/* Packs a finished model folder as an OCI image layout: one uncompressed, page-aligned layer per file, models under
 * /models, serving profiles under /profiles, in sorted order. The same files and annotations give the same digest on
 * every machine, on every day, with any number of threads; see formats/tar.h for a layer, docs/formats.md for the
 * image. */
#ifndef PACK_PACK_H
#define PACK_PACK_H

#include "core/crypto.h"
#include "core/json.h"
#include "core/pool.h"
#include "core/progress.h"

/* Sizes at which registries and runtimes begin to refuse; a note is given, nothing is changed. */
#define PACK_LAYER_BYTES_NOTED ((uint64_t)10000 << 20) /* AWS public registries take 10,000 MiB a layer */
#define PACK_LAYERS_NOTED 125u                         /* Docker's deepest image */

struct pack_options {
    const char *source;        /* a model folder, as folder_open takes it */
    const char *profiles;      /* a folder of profile files, or NULL */
    const char *ref;           /* "oci:DIR:TAG" */
    const json_t *annotations; /* object of strings for the manifest (plan digest, recipe, tool, base model), or NULL */
    bool replace;              /* of an existing DIR */
    struct pool *pool;         /* or NULL */
    const struct progress *progress; /* or NULL */
};

struct pack_file {
    char *path; /* in the image: "models/config.json" */
    uint64_t bytes;
    struct digest digest; /* SHA-256 of the file */
    struct digest layer;  /* SHA-256 of its layer */
};

struct pack_result {
    struct digest image;     /* of the manifest: what is signed, pulled and verified */
    struct pack_file *files; /* in layer order */
    uint32_t n_files;
    uint64_t bytes; /* of all layers */
};

/* A missing model, a name that cannot be packed, two files of one name: ERR_FORMAT. An existing DIR without `replace`:
 * ERR_USAGE. Nothing is left under DIR's name after a failure; after ERR_CANCELLED a next run goes on. */
MUST_CHECK bool pack_run(const struct pack_options *o, struct pack_result *out, struct error *err);
void pack_result_free(struct pack_result *r);

static inline void cleanup_pack_result(struct pack_result *r)
{
    pack_result_free(r);
}

#endif
