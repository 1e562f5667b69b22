#include "backends/backend.h"

#include <stdio.h>
#include <string.h>

#define DEVICES_MAX 1024u

const struct backend_ops *const backends[] = {
    &backend_cuda,
    &backend_cpu,
    NULL,
};

static bool no_backend(const char *word, struct error *err)
{
    char names[128] = "auto";
    for (const struct backend_ops *const *b = backends; *b; b++) {
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, ", %s", (*b)->name);
    }
    return error_set(err, ERR_USAGE, "there is no backend '%.64s' (%s; NAME:N is its device N)", word, names);
}

/* The digits behind "name:". */
static bool parse_device(const char *text, uint32_t *out)
{
    uint32_t n = 0;
    if (*text < '0' || *text > '9') return false;
    for (; *text >= '0' && *text <= '9'; text++) {
        n = n * 10 + (uint32_t)(*text - '0');
        if (n >= DEVICES_MAX) return false;
    }
    *out = n;
    return *text == '\0';
}

static bool choose_named(const struct backend_ops *ops, const char *device, struct backend_choice *out,
                         struct error *err)
{
    char why[256] = "";
    uint32_t n = ops->devices(why, sizeof why);
    *out = (struct backend_choice){.ops = ops, .n = n};
    if (n == 0) return error_set(err, ERR_DEVICE, "backend '%s' is not available: %s", ops->name, why);
    if (!device) return true;
    if (!parse_device(device, &out->first))
        return error_set(err, ERR_USAGE, "backend '%s': expected the number of a device, found '%.64s'", ops->name,
                         device);
    if (out->first >= n)
        return error_set(err, ERR_DEVICE, "backend '%s': there is no device %u, the first is 0 and the last %u",
                         ops->name, out->first, n - 1);
    out->n = 1;
    return true;
}

bool backend_find(const char *word, struct backend_choice *out, struct error *err)
{
    char why[256];
    const struct backend_ops *const *b = backends;
    *out = (struct backend_choice){0};
    if (!word || strcmp(word, "auto") == 0) {
        while ((*b)->devices(why, sizeof why) == 0) b++; /* the last always has one */
        return choose_named(*b, NULL, out, err) && (out->is_auto = true);
    }
    size_t size = strcspn(word, ":");
    for (; *b; b++)
        if (strlen((*b)->name) == size && strncmp((*b)->name, word, size) == 0)
            return choose_named(*b, word[size] ? word + size + 1 : NULL, out, err);
    return no_backend(word, err);
}
