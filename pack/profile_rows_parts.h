/* What the readers of the two tables share (profile_rows_read.c, profile_rows_engine.c) and nobody else uses. */
#ifndef PACK_PROFILE_ROWS_PARTS_H
#define PACK_PROFILE_ROWS_PARTS_H

#include "core/yaml.h"
#include "pack/profile_rows.h"

struct rows_reader {
    struct profile_rows *rows;
    const struct yaml *doc;
    const char *file;
    struct error *err;
};

#define KEYS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* All return false with a sentence that names file, line and key. An absent optional value leaves *out as it is. */
bool rows_fail(struct rows_reader *r, const json_t *row, const char *why, const char *detail);
bool rows_text(struct rows_reader *r, const json_t *row, const char *key, bool required, const char **out);
bool rows_flag(struct rows_reader *r, const json_t *row, const char *key, bool *out);
/* A list of texts; absent is an empty list, or NULL when `null` says so. */
bool rows_list(struct rows_reader *r, const json_t *row, const char *key, bool null, const char *const **out);
/* "12.1" -> 121; written as text, because 8.10 and 8.1 are the same number. */
bool rows_capability(struct rows_reader *r, const json_t *row, const char *key, uint32_t *out);
bool rows_number(struct rows_reader *r, const json_t *row, const char *key, double max, double *out);
bool rows_digest(const json_t *row, struct digest *out, struct error *err);

bool rows_read_gpus(struct rows_reader *r, const json_t *root);
bool rows_read_engines(struct rows_reader *r, const json_t *root);

#endif
