/* NeMo's archives: a tar with model_config.yaml, weights (model_weights.ckpt, one per rank, or a distributed
 * checkpoint) and a tokenizer. Its members become members of the folder, read where they lie; config.json and the
 * tokenizer's usual name are made from what model_config.yaml says. A folder with the same files unpacked is read
 * alike. */
#ifndef FORMATS_NEMO_H
#define FORMATS_NEMO_H

#include "core/json.h"
#include "formats/folder.h"

#define NEMO_MEMBERS_MAX FOLDER_MEMBERS_MAX
#define NEMO_PATH_MAX 1024u
#define NEMO_CONFIG_MAX ((size_t)4 << 20)
#define NEMO_CONFIG_NAME "model_config.yaml"

bool nemo_is_name(const char *path); /* ends in ".nemo" */
/* For folders with one archive and no weights beside it: adds its members. *added: some were. */
MUST_CHECK bool nemo_expand(struct folder *f, bool *added, struct error *err);
/* For folders with model_config.yaml and no config.json: adds what is made of it. */
MUST_CHECK bool nemo_describe(struct folder *f, struct error *err);
/* config.json from model_config.yaml and the rows of the embedding that the weights have (vocab 0: not known, then the
 * configuration must say). New reference. */
MUST_CHECK bool nemo_config(struct bytes yaml, uint64_t vocab, json_t **out, struct error *err);

/* One header of a tar, walked in order. */
struct nemo_entry {
    char path[NEMO_PATH_MAX + 1]; /* without "./" */
    uint64_t offset, size;        /* of the data, in the archive */
    bool is_file;                 /* else a directory */
};
struct nemo_walk {
    const struct folder *folder;
    uint32_t member;
    uint64_t at;
    uint32_t n;
};
/* The next member; *more false at the end. */
MUST_CHECK bool nemo_next(struct nemo_walk *w, struct nemo_entry *out, bool *more, struct error *err);

#endif
