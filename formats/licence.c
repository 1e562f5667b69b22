#include "formats/licence.h"

#include "core/yaml.h"

#include <strings.h>

#define FENCE "---\n"
#define CHECKPOINT_FILE "ingot.json"
#define CHECKPOINT_BYTES_MAX ((size_t)1 << 30)

bool licence_is_file(const char *path)
{
    static const char *const starts[] = {"LICENSE", "LICENCE", "NOTICE", "COPYING", "USE_POLICY"};
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (strncasecmp(base, starts[i], strlen(starts[i])) == 0) return true;
    return false;
}

const char *licence_spdx(const char *word)
{
    /* Words of model cards whose licence has an entry in the SPDX list; the others are LicenseRefs. */
    static const char *const ids[] = {
        "Apache-2.0",      "MIT",          "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0",         "CC-BY-4.0",
        "CC-BY-SA-4.0",    "CC-BY-NC-4.0", "CC-BY-3.0",    "GPL-3.0-only", "AGPL-3.0-only",   "LGPL-3.0-only",
        "CC-BY-NC-SA-4.0", "MPL-2.0",      "ISC",          "Unlicense",    "CC-BY-NC-ND-4.0", "CDLA-Permissive-2.0",
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (strcasecmp(ids[i], word) == 0) return ids[i];
    return NULL;
}

static bool add(json_t *list, const char *word, struct error *err)
{
    return !word || !*word || json_array_append_new(list, json_string(word)) == 0 || error_memory(err, 0);
}

static bool read_front(const json_t *front, json_t *list, struct error *err)
{
    const json_t *licence = json_object_get(front, "license");
    const char *word = json_string_value(licence), *name = json_string_value(json_object_get(front, "license_name"));
    if (word) return add(list, strcmp(word, "other") == 0 && name ? name : word, err);
    for (size_t i = 0; i < json_array_size(licence); i++)
        if (!add(list, json_string_value(json_array_get(licence, i)), err)) return false;
    return true;
}

bool licence_declared(struct bytes card, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *list = json_array();
    CLEANUP(yaml) struct yaml *y = NULL;
    struct error ignored = ERROR_INIT;
    size_t n = strlen(FENCE);
    if (!list) return error_memory(err, 0);
    if (card.size > n && memcmp(card.data, FENCE, n) == 0) {
        const uint8_t *end = memmem(card.data + n, card.size - n, "\n" FENCE, n + 1);
        if (end && yaml_parse(bytes_of(card.data + n, (size_t)(end + 1 - card.data) - n), LICENCE_CARD, &y, &ignored) &&
            !read_front(yaml_root(y), list, err))
            return false;
    }
    *out = take_ptr(&list);
    return true;
}

bool licence_of_folder(const struct folder *f, json_t **out, struct error *err)
{
    CLEANUP_BUFFER struct buffer card = {0};
    struct error ignored = ERROR_INIT;
    bool there = folder_find(f, LICENCE_CARD) != NAME_NONE &&
                 folder_load(f, LICENCE_CARD, LICENCE_CARD_BYTES_MAX, &card, &ignored);
    return licence_declared(there ? buffer_view(&card) : bytes_of("", 0), out, err);
}

static bool has_licence_file(const struct folder *f)
{
    for (uint32_t i = 0; i < folder_count(f); i++)
        if (licence_is_file(folder_name(f, i))) return true;
    return false;
}

static bool check_declared(const struct folder *f, const json_t *doc, struct error *err)
{
    CLEANUP(json) json_t *now = NULL;
    const json_t *was = json_object_get(doc, "licences");
    if (!json_array_size(was)) return true;
    if (!licence_of_folder(f, &now, err)) return false;
    if (json_array_size(now) || has_licence_file(f)) return true;
    return error_set(err, ERR_FORMAT,
                     "folder '%.256s': the original is under the licence '%.128s', and here neither " LICENCE_CARD
                     " nor a licence file says so; it must travel with the model",
                     folder_path(f), json_string_value(json_array_get(was, 0)));
}

bool licence_check_carried(const struct folder *f, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(json) json_t *doc = NULL;
    const char *name;
    json_t *digest;
    if (folder_find(f, CHECKPOINT_FILE) == NAME_NONE) return true;
    if (!folder_load(f, CHECKPOINT_FILE, CHECKPOINT_BYTES_MAX, &text, err) ||
        !json_parse(buffer_view(&text), JSON_DIALECT_STRICT, CHECKPOINT_FILE, &doc, err))
        return false;
    json_object_foreach (json_object_get(doc, "files"), name, digest) {
        uint32_t member = licence_is_file(name) ? folder_find(f, name) : 0;
        if (member == NAME_NONE)
            return error_set(err, ERR_FORMAT,
                             "folder '%.256s': the original's '%.256s' is missing; it must travel with the model",
                             folder_path(f), name);
    }
    return check_declared(f, doc, err);
}
