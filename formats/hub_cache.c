#include "formats/hub_cache.h"

#include "core/cleanup.h"
#include "core/file.h"
#include "core/text.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>

/* What the hub allows in names, and no way out of the cache. */
static bool is_name(const char *s, size_t n)
{
    if (n == 0 || n > HUB_NAME_MAX || s[0] == '.' || s[0] == '-' || s[n - 1] == '.' || s[n - 1] == '-') return false;
    for (size_t i = 0; i < n; i++) {
        if (!isalnum((unsigned char)s[i]) && s[i] != '-' && s[i] != '_' && s[i] != '.') return false;
        if (i && s[i] == s[i - 1] && (s[i] == '.' || s[i] == '-')) return false; /* "--" joins organisation and name */
    }
    return true;
}

static void copy(char *to, const char *s, size_t n)
{
    memcpy(to, s, n);
    to[n] = 0;
}

bool hub_ref_parse(const char *text, struct hub_ref *out, struct error *err)
{
    const char *at = strchr(text, '@'), *end = at ? at : text + strlen(text),
               *slash = memchr(text, '/', (size_t)(end - text)), *name = slash ? slash + 1 : text;
    const char *revision = at ? at + 1 : "main";
    *out = (struct hub_ref){.org = ""};
    if ((slash && !is_name(text, (size_t)(slash - text))) || !is_name(name, (size_t)(end - name)))
        return error_set(err, ERR_USAGE, "'" HUB_PREFIX "%.256s': expected " HUB_PREFIX "ORG/NAME@REVISION", text);
    if (strlen(revision) > HUB_REVISION_MAX || !path_is_safe(revision))
        return error_set(err, ERR_USAGE,
                         "'" HUB_PREFIX "%.256s': the revision is no branch, no tag and no commit of %u digits", text,
                         HUB_COMMIT_HEX);
    if (slash) copy(out->org, text, (size_t)(slash - text));
    copy(out->name, name, (size_t)(end - name));
    copy(out->revision, revision, strlen(revision));
    return true;
}

bool hub_is_commit(const char *revision)
{
    return strlen(revision) == HUB_COMMIT_HEX && strspn(revision, "0123456789abcdef") == HUB_COMMIT_HEX;
}

static const char *setting(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

bool hub_model_dir(const struct hub_ref *ref, char **out, struct error *err)
{
    static const struct {
        const char *variable, *below;
    } places[] = {{"HF_HUB_CACHE", ""},
                  {"HF_HOME", "/hub"},
                  {"XDG_CACHE_HOME", "/huggingface/hub"},
                  {"HOME", "/.cache/huggingface/hub"}};
    size_t k = 0, n = sizeof places / sizeof *places;
    while (k < n && !setting(places[k].variable)) k++;
    if (k == n)
        return error_set(err, ERR_USAGE,
                         "none of HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME and HOME says where the Hugging Face cache is");
    __attribute__((cleanup(cleanup_text))) struct text t = TEXT_INIT;
    text_add(&t, "%s%s/models--%s%s%s", setting(places[k].variable), places[k].below, ref->org, *ref->org ? "--" : "",
             ref->name);
    return text_take(&t, out, NULL, err);
}

void hub_ref_name(const struct hub_ref *ref, char out[2 * HUB_NAME_MAX + 2])
{
    snprintf(out, 2 * HUB_NAME_MAX + 2, "%s%s%s", ref->org, *ref->org ? "/" : "", ref->name);
}

bool hub_commit(const char *model_dir, const struct hub_ref *ref, char out[HUB_COMMIT_HEX + 1], struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    if (hub_is_commit(ref->revision)) {
        copy(out, ref->revision, HUB_COMMIT_HEX);
        return true;
    }
    CLEANUP(free) char *refs = NULL;
    CLEANUP(free) char *path = NULL;
    if (!path_join(&refs, model_dir, "refs", err) || !path_join(&path, refs, ref->revision, err)) return false;
    if (!file_load(AT_FDCWD, path, HUB_COMMIT_HEX + 2, &text, err))
        return error_wrap(err, "revision '%.64s' is not in the cache", ref->revision);
    while (text.size && isspace(text.data[text.size - 1])) text.data[--text.size] = 0;
    if (text.size != HUB_COMMIT_HEX || !hub_is_commit((const char *)text.data))
        return error_set(err, ERR_FORMAT, "'%.256s': expected a commit of %u hexadecimal digits", path, HUB_COMMIT_HEX);
    copy(out, (const char *)text.data, HUB_COMMIT_HEX);
    return true;
}
