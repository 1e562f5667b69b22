/* A model folder: a directory, a revision in the Hugging Face cache ("hf://ORG/NAME@REVISION"), or the same files
 * inside an OCI image layout ("oci:DIR:TAG") or archive ("oci-archive:FILE:TAG"), read in place without unpacking.
 * Everything that reads a checkpoint goes through it, so every command works on all of them.
 *
 * Members are the regular files below the folder, by relative path, sorted by name; symbolic links to files count (the
 * Hugging Face cache is made of them), links to directories do not, hidden names (".git", our own temporaries; but for
 * ".metadata" and ".zarray" of distributed checkpoints) and
 * everything below FOLDER_DEPTH_MAX levels do not. Reading is positioned and safe from several threads; a file is
 * opened at its first use and stays open until folder_close, and one whose size is not what the list says is an error.
 */
#ifndef FORMATS_FOLDER_H
#define FORMATS_FOLDER_H

#include "core/cleanup.h"
#include "core/crypto.h"
#include "core/file.h"
#include "core/name_index.h"

#define FOLDER_MEMBERS_MAX 100000u
#define FOLDER_DEPTH_MAX 4u

struct folder;

MUST_CHECK bool folder_open(struct folder **out, const char *path, struct error *err);
void folder_close(struct folder *f); /* NULL is fine */
CLEANUP_DEFINE(folder, struct folder, folder_close)

const char *folder_path(const struct folder *f); /* as given */
uint32_t folder_count(const struct folder *f);
const char *folder_name(const struct folder *f, uint32_t member); /* "model-00001-of-00003.safetensors" */
uint64_t folder_size(const struct folder *f, uint32_t member);    /* bytes */
uint32_t folder_find(const struct folder *f, const char *name);   /* NAME_NONE when absent */

MUST_CHECK bool folder_read(const struct folder *f, uint32_t member, uint64_t offset, void *dst, size_t n,
                            struct error *err);
/* The whole member; absent is ERR_FORMAT naming the folder and the file. */
MUST_CHECK bool folder_load(const struct folder *f, const char *name, size_t max, struct buffer *out,
                            struct error *err);
/* Copies a member to its own path below folder `to`, where it appears when it is complete; *digest is its SHA-256. */
MUST_CHECK bool folder_copy(const struct folder *f, uint32_t member, const char *to, struct digest *digest,
                            struct error *err);
/* What the file system says of the members: names, sizes, times of change, inodes. The same stamp later means that
 * nobody has written to them in between; says nothing across hosts. */
MUST_CHECK bool folder_stamp(const struct folder *f, struct digest *out, struct error *err);
/* Where a member's bytes lie: an open descriptor (borrowed) and the offset of its first byte in that file. */
MUST_CHECK bool folder_place(const struct folder *f, uint32_t member, int *fd, uint64_t *offset, struct error *err);
/* ERR_USAGE when `output`, which is about to be replaced, is the folder or holds it. */
MUST_CHECK bool folder_survives(const struct folder *f, const char *output, struct error *err);

/* How a kind of folder is opened; kinds are listed in formats/folder.c. `open` calls folder_set_dir once and folder_add
 * for every member; reading is the same for all kinds. */
struct folder_kind {
    const char *prefix; /* "oci:", or "" for a directory, which comes last */
    bool (*open)(struct folder *f, const char *rest, struct error *err);
};
extern const struct folder_kind folder_kind_oci; /* formats/oci_folder.c */
extern const struct folder_kind folder_kind_oci_archive;
extern const struct folder_kind folder_kind_hub;  /* formats/hub_folder.c */
extern const struct folder_kind folder_kind_file; /* "file:PATH", one file as a folder; formats/folder_dir.c */
extern const struct folder_kind folder_kind_dir;  /* a path that ends in ".gguf" may be one file, or one of its parts */
/* For kinds: a member whose bytes are `size` bytes at `offset` of file `path`, relative to the folder's own directory.
 * Both names are copied and must be path_is_safe. */
MUST_CHECK bool folder_add(struct folder *f, const char *name, const char *path, uint64_t offset, uint64_t size,
                           struct error *err);
/* For kinds: all files below the directory `path`, which becomes the folder's own. whole: a link to a file that is not
 * there is ERR_FORMAT; otherwise it is passed over. */
MUST_CHECK bool folder_add_dir(struct folder *f, const char *path, bool whole, struct error *err);
/* A member that is a part of another one: `offset` counts in that. Names as for folder_add. */
MUST_CHECK bool folder_add_part(struct folder *f, uint32_t member, const char *name, uint64_t offset, uint64_t size,
                                struct error *err);
/* A member that no file holds: its bytes are made from others (a GGUF file's configuration and tokenizer). Copied, into
 * anonymous memory of the kernel, so that folder_place has a descriptor for it too. Only while the folder is opened. */
MUST_CHECK bool folder_add_made(struct folder *f, const char *name, struct bytes data, struct error *err);
/* A member that lies in a file elsewhere: `size` bytes at `offset` of a descriptor, which is taken over. */
MUST_CHECK bool folder_add_open(struct folder *f, const char *name, int fd, uint64_t offset, uint64_t size,
                                struct error *err);
/* Opens a folder that `fill` makes as a kind's `open` does, `path` being what it is called. */
MUST_CHECK bool folder_open_by(struct folder **out, const char *path,
                               bool (*fill)(struct folder *f, void *ctx, struct error *err), void *ctx,
                               struct error *err);
/* What to add to the sentence when `name` is asked for and absent. */
MUST_CHECK bool folder_explain_absent(struct folder *f, const char *name, const char *why, struct error *err);
/* For kinds: the directory that folder_add's paths are relative to; the descriptor is taken over. */
void folder_set_dir(struct folder *f, int dirfd);

#endif
