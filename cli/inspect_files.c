#include "cli/inspect_files.h"

#include "engine/tokenizer.h"
#include "formats/licence.h"

#include <strings.h>

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), k = strlen(end);
    return n > k && strcasecmp(name + n - k, end) == 0;
}

/* What an engine could be talked into running. */
static bool is_code(const char *name)
{
    static const char *const ends[] = {".py", ".sh", ".so", ".pyc", ".ipynb", ".dll", ".js"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends_with(name, ends[i])) return true;
    return false;
}

static bool list_files(const struct folder *f, bool (*wanted)(const char *name), json_t *list, struct error *err)
{
    for (uint32_t i = 0; i < folder_count(f); i++) {
        const char *name = folder_name(f, i);
        struct digest d;
        char hex[DIGEST_HEX_SIZE];
        int fd;
        uint64_t at;
        if (!wanted(name)) continue;
        if (!folder_place(f, i, &fd, &at, err) || !sha256_of_file(fd, name, at, folder_size(f, i), &d, err))
            return false;
        digest_hex(&d, hex);
        json_t *row = json_pack("{s:s,s:I,s:s}", "file", name, "bytes", (json_int_t)folder_size(f, i), "sha256", hex);
        if (!row || json_array_append_new(list, row) != 0) return error_memory(err, 0);
    }
    return true;
}

/* One word, a list of several, or null. */
static bool declared_license(const struct folder *f, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *list = NULL;
    if (!licence_of_folder(f, &list, err)) return false;
    size_t n = json_array_size(list);
    *out = n == 0 ? json_null() : n == 1 ? json_incref(json_array_get(list, 0)) : json_incref(list);
    return true;
}

bool inspect_files(const struct folder *f, json_t *doc, struct error *err)
{
    CLEANUP(json) json_t *code = json_array();
    CLEANUP(json) json_t *licenses = json_array();
    json_t *declared;
    const char *tokenizer = tokenizer_file(f);
    if (!code || !licenses) return error_memory(err, 0);
    return list_files(f, is_code, code, err) && list_files(f, licence_is_file, licenses, err) &&
           json_put(doc, "tokenizer", tokenizer ? json_string(tokenizer) : json_null(), err) &&
           declared_license(f, &declared, err) && json_put(doc, "license", declared, err) &&
           json_put(doc, "license_files", json_incref(licenses), err) &&
           json_put(doc, "code_files", json_incref(code), err);
}
