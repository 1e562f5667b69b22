/* The tensors of a fixture folder's safetensors files, for tests that compare with bytes that other programs wrote. */
#ifndef TESTS_KERNELS_SOURCE_H
#define TESTS_KERNELS_SOURCE_H

#include "tests/checks.h"

#include "core/dtype.h"
#include "core/file.h"
#include "core/json.h"

#include <fcntl.h>
#include <glob.h>

#define SHARDS_MAX 8u
#define PATH_SIZE 1024u

struct source { struct buffer file[SHARDS_MAX]; json_t *header[SHARDS_MAX]; uint32_t n; };
/* Leading dimensions are folded into rows. */
struct weight { const uint8_t *data; enum dtype dtype; uint64_t rows, cols; size_t n_dims; };

static void source_close(struct source *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        json_decref(s->header[i]);
        buffer_free(&s->file[i]);
    }
    s->n = 0;
}

static void source_open(struct source *s, const char *folder)
{
    char pattern[PATH_SIZE + 20];
    glob_t g;
    snprintf(pattern, sizeof pattern, "%s/*.safetensors", folder);
    if (glob(pattern, 0, NULL, &g) != 0) fail_msg("%s: no safetensors files", folder);
    assert_true(g.gl_pathc <= SHARDS_MAX);
    for (s->n = 0; s->n < g.gl_pathc; s->n++) {
        struct buffer *f = &s->file[s->n];
        CHECK_OK(file_load(AT_FDCWD, g.gl_pathv[s->n], 1u << 28, f, e_));
        uint64_t header = load_le64(f->data);
        assert_true(header <= f->size - 8);
        CHECK_OK(json_parse(bytes_of(f->data + 8, header), JSON_DIALECT_STRICT, g.gl_pathv[s->n], &s->header[s->n],
                            e_));
    }
    globfree(&g);
}

/* False when there is no tensor of that name with at least one dimension. */
static bool source_find(const struct source *s, const char *name, struct weight *out)
{
    for (uint32_t i = 0; i < s->n; i++) {
        const json_t *t = json_object_get(s->header[i], name), *shape = json_object_get(t, "shape");
        const char *dtype = json_string_value(json_object_get(t, "dtype"));
        if (!t || !dtype_parse(dtype, strlen(dtype), &out->dtype)) continue;
        out->n_dims = json_array_size(shape), out->rows = 1;
        if (out->n_dims == 0) return false;
        for (size_t d = 0; d + 1 < out->n_dims; d++)
            out->rows *= (uint64_t)json_integer_value(json_array_get(shape, d));
        out->cols = (uint64_t)json_integer_value(json_array_get(shape, out->n_dims - 1));
        uint64_t start = (uint64_t)json_integer_value(json_array_get(json_object_get(t, "data_offsets"), 0));
        out->data = s->file[i].data + 8 + load_le64(s->file[i].data) + start;
        assert_true(out->data + out->rows * out->cols * dtype_bytes(out->dtype) <= s->file[i].data + s->file[i].size);
        return true;
    }
    return false;
}

#endif
