/* Packs a finished model folder as an OCI image layout: one uncompressed, page-aligned layer per file, models under
 * /models, adapters under /adapters, serving profiles under /profiles, each in sorted order. With profiles the package
 * is an index of images, one per profile and in front of them a fallback, which share their layers. The same files and
 * annotations give the same digest on every machine, on every day, with any number of threads; see formats/tar.h for a
 * layer, docs/package.md for the package. */
#ifndef PACK_PACK_H
#define PACK_PACK_H

#include "core/crypto.h"
#include "core/json.h"
#include "core/pool.h"
#include "core/progress.h"

/* Sizes at which registries and runtimes begin to refuse; a note is given, nothing is changed. */
#define PACK_LAYER_BYTES_NOTED ((uint64_t)10000 << 20) /* AWS public registries take 10,000 MiB a layer */
#define PACK_LAYERS_NOTED 125u                         /* Docker's deepest image */

#define PACK_FALLBACK_NAME "any"
#define PACK_MODELPACK_NAME "modelpack"
#define PACK_MODELPACK_MEDIA "application/vnd.cncf.model.manifest.v1+json"
/* Of the manifest and the descriptor of an image in an index; docs/package.md, the images of a package. */
#define PACK_ANNOTATION_PROFILE "ingot.profile.name"
#define PACK_ANNOTATION_PROFILE_ID "ingot.profile.id"
#define PACK_ANNOTATION_ENGINE "ingot.profile.engine"
#define PACK_ANNOTATION_ENGINE_VERSION "ingot.profile.engine.version"
#define PACK_ANNOTATION_PRECISION "ingot.profile.precision"
#define PACK_ANNOTATION_GPU "ingot.profile.gpu"
#define PACK_ANNOTATION_GPU_NAME "ingot.profile.gpu.name"
#define PACK_ANNOTATION_GPU_COUNT "ingot.profile.gpu.count"
#define PACK_ANNOTATION_GPU_MEMORY "ingot.profile.gpu.memory"
#define PACK_ANNOTATION_BUNDLE "ingot.bundle-only" /* "true": packed as it is (struct pack_options) */
#define PACK_ANNOTATION_GPU_CAPABILITY "ingot.profile.gpu.capability"

#define PACK_ADAPTERS_MAX 32u
#define PACK_ADAPTER_NAME_BYTES_MAX 64u

struct pack_adapter {
    const char *name; /* of its folder below /adapters */
    const char *path; /* a folder, as PEFT saves adapters (models/adapter.h) */
};

struct pack_options {
    const char *source;        /* a model folder, as folder_open takes it */
    const char *profiles;      /* a folder of profile files, or NULL */
    const char *ref;           /* "oci:DIR:TAG" or "oci-archive:FILE:TAG" */
    const json_t *annotations; /* object of strings for the manifest (plan digest, recipe, tool, base model), or NULL */
    const struct key *base_key; /* that must have signed the base; or NULL: not checked */
    const char *base;           /* "oci:DIR:TAG[@sha256:HEX]" of an engine's image to put the layers on, or NULL */
    const struct pack_adapter *adapters; /* each is checked against the model; any order gives the same package */
    uint32_t n_adapters;
    bool modelpack;                  /* a ModelPack manifest too, under its own tag */
    bool bundle;                     /* of a family that is not computed here: any folder with files */
    bool replace;                    /* of an existing DIR or FILE */
    struct pool *pool;               /* or NULL */
    const struct progress *progress; /* or NULL */
};

struct pack_file {
    char *path; /* in the image: "models/config.json" */
    uint64_t bytes;
    struct digest digest; /* SHA-256 of the file */
    struct digest layer;  /* SHA-256 of its layer */
    uint64_t layer_bytes;
};

struct pack_image {
    char *name; /* of the profile; PACK_FALLBACK_NAME */
    char *tag;
    struct digest digest; /* of its manifest */
};

struct pack_result {
    struct digest image;     /* what the tag names: of the manifest, or of the index; what is pulled and verified */
    struct pack_file *files; /* in layer order, those of all images */
    uint32_t n_files;
    uint64_t bytes;            /* of all layers, each once */
    struct pack_image *images; /* the fallback, then the profiles' in the order of their names */
    uint32_t n_images;
};

/* A missing model, a name that cannot be packed, two files of one name, a broken profile, an adapter that does not fit
 * the model: ERR_FORMAT. An existing DIR
 * without `replace`: ERR_USAGE. Nothing is left under DIR's name after a failure; after ERR_CANCELLED a next run goes
 * on. */
MUST_CHECK bool pack_run(const struct pack_options *o, struct pack_result *out, struct error *err);
void pack_result_free(struct pack_result *r);

static inline void cleanup_pack_result(struct pack_result *r)
{
    pack_result_free(r);
}

#endif
