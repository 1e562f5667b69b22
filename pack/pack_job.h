/* What the parts of packing share. Private to pack/pack*.c. */
#ifndef PACK_PACK_JOB_H
#define PACK_PACK_JOB_H

#include "core/text.h"
#include "formats/folder.h"
#include "formats/oci_base.h"
#include "models/adapter.h"
#include "pack/oci_writer.h"
#include "pack/pack.h"

#define PACK_MODEL UINT32_MAX /* a file of every image */
#define PACK_FALLBACK                                                                                                  \
    (UINT32_MAX - 1)                  /* a file below profiles/ that belongs to no profile: of the first image alone   \
                                       */
#define PACK_ADAPTER (UINT32_MAX - 2) /* a file of every image, below adapters/ */
#define PACK_NIM_NAME "model_manifest.yaml"
#define PACK_NIM_PATH "profiles/" PACK_NIM_NAME

/* Where a layer's file comes from. */
struct pack_source {
    const struct folder *folder; /* NULL: `text` */
    uint32_t member;
    struct bytes text;
    uint32_t profile; /* number, PACK_MODEL, PACK_ADAPTER or PACK_FALLBACK */
};

struct pack_profile {
    const char *name;    /* of its folder; borrowed from `doc` */
    json_t *doc;         /* profile.json */
    json_t *annotations; /* of its manifest, besides the labels; docs/package.md, the images of a package */
    json_t *tags;        /* as NIM has them */
    char id[DIGEST_HEX_SIZE];
    char *tag; /* "TAG-NAME" */
};

struct pack_carried {
    const char *name, *path; /* borrowed from the options */
    struct adapter *adapter;
    bool served; /* engines that know adapters are told of it */
};

struct pack_job {
    const struct pack_options *o;
    struct oci_ref ref;
    struct folder *model, *profiles;
    struct pack_source *sources; /* beside result->files, whose capacity is one more: the NIM manifest */
    struct pack_result *result;
    struct pack_profile *list;
    uint32_t n_list;
    char created[OCI_CREATED_SIZE];
    char *nim; /* text of the NIM manifest */
    uint64_t data_bytes;
    json_t *annotations;          /* the options', with the adapters' names */
    struct model opened;          /* with adapters: the model that they fit */
    struct pack_carried *carried; /* sorted by name */
    uint32_t n_carried;
    uint64_t served_rank; /* which an engine must be told to reserve; 0: it is told of no adapter */
    struct oci_base base; /* used with o->base */
    struct oci_layout base_layout;
    struct oci_ref base_ref;
};

MUST_CHECK bool pack_add_file(struct pack_job *j, const struct folder *f, uint32_t member, const char *prefix,
                              uint32_t profile, struct error *err);
/* Opens and checks the adapters, and fills j->annotations; how many files of theirs travel; adds them, behind the
 * model's; vLLM's options that load them. */
MUST_CHECK bool pack_adapters_open(struct pack_job *j, struct error *err);
uint32_t pack_adapters_count(const struct pack_job *j);
MUST_CHECK bool pack_adapters_add(struct pack_job *j, struct error *err);
MUST_CHECK bool pack_adapters_arguments(const struct pack_job *j, json_t *entrypoint, struct error *err);
void pack_adapters_close(struct pack_job *j);
/* Reads every profiles/NAME/profile.json and says which file belongs to which profile. ERR_FORMAT names the file. */
MUST_CHECK bool pack_profiles_read(struct pack_job *j, struct error *err);
void pack_profiles_free(struct pack_job *j);
/* When all files are written: the ids, and the NIM manifest into j->nim. */
MUST_CHECK bool pack_nim_make(struct pack_job *j, struct error *err);
/* Config, manifest of every image, and the index; `entries` of index.json: room for 2 + n_list + 1. */
MUST_CHECK bool pack_images_write(struct pack_job *j, struct oci_writer *w, struct oci_descriptor *entries, uint32_t *n,
                                  json_t *owner, struct error *err);
/* With o->base: opens it; copies its layers; what the manifest says of it; the settings of image `image` (0 the
 * fallback, which starts what the base starts; k + 1 profile k's), *out a new reference. */
MUST_CHECK bool pack_base_open(struct pack_job *j, struct error *err);
void pack_base_close(struct pack_job *j);
MUST_CHECK bool pack_base_copy(struct pack_job *j, struct oci_writer *w, struct error *err);
MUST_CHECK bool pack_base_annotate(const struct pack_job *j, json_t *annotations, struct error *err);
MUST_CHECK bool pack_base_settings(const struct pack_job *j, uint32_t image, const json_t *annotations, json_t **out,
                                   struct error *err);
/* The ModelPack manifest and its entry of index.json; `owner` keeps the annotations. */
MUST_CHECK bool pack_modelpack_write(const struct pack_job *j, struct oci_writer *w, struct oci_descriptor *entry,
                                     json_t *owner, struct error *err);

#endif
