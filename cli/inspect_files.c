#include "cli/inspect_files.h"

#include "core/yaml.h"
#include "engine/tokenizer.h"

#include <strings.h>

#define CARD_FILE "README.md"
#define CARD_BYTES_MAX ((size_t)8 << 20)
#define FENCE "---\n"

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

static bool is_license(const char *name)
{
    static const char *const starts[] = {"LICENSE", "LICENCE", "NOTICE", "COPYING", "USE_POLICY"};
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (strncasecmp(base, starts[i], strlen(starts[i])) == 0) return true;
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

/* The card's front matter, where it can be read; a card is prose, so what cannot is passed over. */
static json_t *declared_license(const struct folder *f)
{
    CLEANUP_BUFFER struct buffer card = {0};
    CLEANUP(yaml) struct yaml *y = NULL;
    struct error ignored = ERROR_INIT;
    if (folder_find(f, CARD_FILE) == NAME_NONE || !folder_load(f, CARD_FILE, CARD_BYTES_MAX, &card, &ignored) ||
        strncmp((const char *)card.data, FENCE, strlen(FENCE)) != 0)
        return json_null();
    const char *start = (const char *)card.data + strlen(FENCE), *end = strstr(start, "\n" FENCE);
    if (!end || !yaml_parse(bytes_of(start, (size_t)(end + 1 - start)), CARD_FILE, &y, &ignored)) return json_null();
    json_t *license = json_object_get(yaml_root(y), "license"), *name = json_object_get(yaml_root(y), "license_name");
    bool other = json_is_string(license) && strcmp(json_string_value(license), "other") == 0 && json_is_string(name);
    if (other) license = name;
    return license ? json_deep_copy(license) : json_null();
}

bool inspect_files(const struct model *m, json_t *doc, struct error *err)
{
    CLEANUP(json) json_t *code = json_array();
    CLEANUP(json) json_t *licenses = json_array();
    const char *tokenizer = tokenizer_file(m->folder);
    if (!code || !licenses) return error_memory(err, 0);
    return list_files(m->folder, is_code, code, err) && list_files(m->folder, is_license, licenses, err) &&
           json_put(doc, "tokenizer", tokenizer ? json_string(tokenizer) : json_null(), err) &&
           json_put(doc, "license", declared_license(m->folder), err) &&
           json_put(doc, "license_files", json_incref(licenses), err) &&
           json_put(doc, "code_files", json_incref(code), err);
}
