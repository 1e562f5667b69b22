#include "verify/carried.h"

#include "core/crypto.h"
#include "core/file.h"
#include "verify/findings.h"

#include <fnmatch.h>

/* Names by what Hugging Face's readers look for. */
static const char *const speaking[] = {
    "tokenizer*.json",   "tokenizer.model*", "*.tiktoken",
    "tiktoken.model",    "tekken.json",      "vocab.json",
    "vocab.txt",         "merges.txt",       "special_tokens_map.json",
    "added_tokens.json", "*.jinja",          "generation_config.json",
    "chat_template*",
};

static bool decides(const char *name)
{
    for (size_t i = 0; i < sizeof speaking / sizeof *speaking; i++)
        if (fnmatch(speaking[i], name, 0) == 0) return true;
    return false;
}

bool member_digest(const struct folder *f, uint32_t member, struct digest *out, struct error *err)
{
    int fd;
    uint64_t offset;
    return folder_place(f, member, &fd, &offset, err) &&
           sha256_of_file(fd, folder_name(f, member), offset, folder_size(f, member), out, err);
}

bool carried_check(const struct folder *ours, const struct folder *original, struct report *r, struct error *err)
{
    struct findings f = {0};
    uint32_t n = 0;
    for (uint32_t i = 0; i < folder_count(original); i++) {
        const char *name = folder_name(original, i);
        if (!decides(name)) continue;
        n++;
        uint32_t k = folder_find(ours, name);
        struct digest was, is;
        if (k == NAME_NONE) {
            find(&f, "file '%.256s' of the original is missing", name);
            continue;
        }
        if (!member_digest(original, i, &was, err) || !member_digest(ours, k, &is, err)) return false;
        if (!digest_equal(&was, &is)) find(&f, "file '%.256s' is not the original's", name);
    }
    for (uint32_t i = 0; i < folder_count(ours); i++) {
        const char *name = folder_name(ours, i);
        if (decides(name) && folder_find(original, name) == NAME_NONE)
            find(&f, "file '%.256s' is not in the original", name);
    }
    report_findings(r, CHECK_DIGEST, "carried files", &f, n, "files are the original's, byte for byte");
    return true;
}
