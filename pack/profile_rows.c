#include "pack/profile_rows.h"

#include "core/embed.h"

#include <ctype.h>
#include <strings.h>

bool row_lists(const char *const *list, const char *word)
{
    for (; *list; list++)
        if (strcasecmp(*list, word) == 0) return true; /* engines ask so too: fp8_pb_wo is FP8_PB_WO */
    return false;
}

bool row_word_is_plain(const char *word)
{
    static const char *const taken[] = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", NULL};
    if (!islower((unsigned char)*word) || row_lists(taken, word)) return false;
    for (; *word; word++)
        if (!islower((unsigned char)*word) && !isdigit((unsigned char)*word) && !strchr("_-", *word)) return false;
    return true;
}

const struct gpu_row *gpu_row_find(const struct profile_rows *rows, const char *id)
{
    for (uint32_t i = 0; i < rows->n_gpus; i++)
        if (strcmp(rows->gpus[i].id, id) == 0 || row_lists(rows->gpus[i].aliases, id)) return &rows->gpus[i];
    return NULL;
}

const struct engine_row *engine_row_find(const struct profile_rows *rows, const char *name, const char *version)
{
    for (uint32_t i = 0; i < rows->n_engines; i++)
        if (strcmp(rows->engines[i].name, name) == 0 && strcmp(rows->engines[i].version, version) == 0)
            return &rows->engines[i];
    return NULL;
}

const struct compute_row *engine_compute(const struct engine_row *e, const char *algo, const struct gpu_row *gpu)
{
    for (uint32_t i = 0; i < e->n_compute; i++) {
        const struct compute_row *c = &e->compute[i];
        if (strcmp(c->algo, algo) == 0 && gpu->capability >= c->capability && (!c->gpus || row_lists(c->gpus, gpu->id)))
            return c;
    }
    return NULL;
}

int version_compare(const char *a, const char *b)
{
    for (;;) {
        char *end_a, *end_b;
        unsigned long x = strtoul(a, &end_a, 10), y = strtoul(b, &end_b, 10);
        if (x != y) return x < y ? -1 : 1;
        a = end_a;
        b = end_b;
        if (*a == '.' && *b == '.') {
            a++;
            b++;
            continue;
        }
        if (*a == *b && *a == '\0') return 0;
        /* 1.3 is before 1.3.1 and behind 1.3rc4. */
        if (*a == '\0' || *b == '\0') {
            int longer = (*a ? *a : *b) == '.' ? -1 : 1;
            return *a ? -longer : longer;
        }
        if (*a == '.' || *b == '.') return *a == '.' ? 1 : -1;
        while (*a && *a == *b && (*a < '0' || *a > '9')) {
            a++;
            b++;
        }
        if (*a == *b && *a == '\0') return 0;
        if (!(*a >= '0' && *a <= '9' && *b >= '0' && *b <= '9')) return *a < *b ? -1 : 1;
    }
}

static struct bytes embedded(const char *path)
{
    for (const struct embedded_file *f = embedded_files; f->path; f++)
        if (strcmp(f->path, path) == 0) return bytes_of(f->data, f->size);
    return bytes_of("", 0);
}

bool profile_rows_open(struct profile_rows **out, struct error *err)
{
    return profile_rows_read(out, embedded("profiles/gpus.yaml"), embedded("profiles/engines.yaml"), err);
}

void profile_rows_close(struct profile_rows *rows)
{
    if (!rows) return;
    arena_free(rows->arena);
    free(rows);
}
