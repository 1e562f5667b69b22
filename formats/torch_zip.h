/* The zip archives that torch.save writes: "NAME/data.pkl", "NAME/version", "NAME/data/0" ... , all members stored, so
 * that a tensor's bytes can be read where they lie. A parser of our own: libarchive, which reads our tar layers a
 * second time, gives a stream of members and no offsets, takes the archive's two directories for what they say, and has
 * no opinion about members that overlap.
 *
 * Both directories are read and must agree on every member: names, sizes, sums. docs/formats.md lists the rules. */
#ifndef FORMATS_TORCH_ZIP_H
#define FORMATS_TORCH_ZIP_H

#include "core/arena.h"
#include "formats/folder.h"

#define ZIP_ENTRIES_MAX 1000000u
#define ZIP_DIRECTORY_MAX ((uint64_t)96 << 20) /* bytes of the central directory */
#define ZIP_NAME_MAX 512u

struct zip_entry {
    const char *name; /* without the folder that all have in common */
    uint64_t offset;  /* of the first data byte, in the member */
    uint64_t size;
    uint32_t crc32;
};
struct torch_zip {
    uint32_t n;
    struct zip_entry *entries; /* by name */
    struct digest directory;   /* of the central directory */
};

/* A range of a folder's member. */
struct file_range {
    const struct folder *folder;
    uint32_t member;
    uint64_t offset, size;
    const char *what; /* for sentences: the member's name, or more */
};
MUST_CHECK bool range_read(const struct file_range *r, uint64_t at, void *dst, size_t n, struct error *err);

bool torch_zip_probe(const uint8_t *head, size_t n); /* the first bytes: a zip archive */
/* Texts and entries live in the arena. */
MUST_CHECK bool torch_zip_open(struct torch_zip *out, const struct file_range *r, struct arena *arena,
                               struct error *err);
const struct zip_entry *torch_zip_find(const struct torch_zip *z, const char *name); /* NULL when absent */
/* A member's bytes, whose sum must be right. */
MUST_CHECK bool torch_zip_load(const struct file_range *r, const struct zip_entry *e, size_t max, struct buffer *out,
                               struct error *err);

#endif
