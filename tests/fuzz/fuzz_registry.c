/* What a registry or a file of docker's says, read by the parser that the first byte names: n a name, c a challenge, l a
 * link, r ranges, d docker's configuration, h a helper's answer, g a manifest or index, m two lists to be merged. */
#include "pack/docker_auth.h"
#include "pack/registry_graph.h"
#include "pack/registry_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition) do { if (!(condition)) abort(); } while (0)

static bool is_printable(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f) return false;
    return true;
}

/* What is taken is made of the letters that may stand in an address, and is the same when it is put together again. */
static void check_name(const char *text)
{
    struct registry_ref r;
    if (!registry_ref_parse(text, &r, NULL)) return;
    char digest[OCI_DIGEST_SIZE], whole[1024];
    oci_digest_text(&r.digest, digest);
    snprintf(whole, sizeof whole, "%s/%s%s%s%s%s", r.host, r.repository, *r.tag ? ":" : "", r.tag, r.has_digest ? "@" : "", r.has_digest ? digest : "");
    MUST(strcmp(whole, text) == 0 && registry_host_is_valid(r.host) && registry_repository_is_valid(r.repository));
    MUST(!strpbrk(r.repository, "?#%\\ \"@:") && !strstr(r.repository, "..") && !strstr(r.repository, "//"));
}

static void check_challenge(const char *text)
{
    struct auth_challenge c;
    if (!auth_challenge_parse(text, &c)) MUST(c.scheme == AUTH_NONE && !*c.realm);
    MUST(is_printable(c.realm) && is_printable(c.service) && is_printable(c.scope));
}

static void check_link(const char *text)
{
    char next[64];
    if (link_next_parse(text, next, sizeof next)) MUST(*next && is_printable(next) && strstr(text, next));
}

static void check_ranges(const char *text)
{
    uint64_t a, b, c;
    bool sure;
    if (upload_range_parse(text, &a, &sure)) MUST(a > 0 && (sure || a == 1));
    if (content_range_parse(text, &a, &b, &c)) MUST(a <= b && b < c);
    if (retry_after_parse(text, &a)) MUST(a < 1000000000000000000u);
}

static void check_config(struct bytes text)
{
    struct docker_auth a;
    char *helper = NULL;
    if (docker_config_parse(text, "config", "r.io", "a/b", &a, &helper, NULL))
        MUST((!a.user || is_printable(a.user)) && (!a.password || is_printable(a.password)) && (!helper || !strpbrk(helper, "/ ")));
    docker_auth_free(&a);
    free(helper);
}

static void check_answer(struct bytes text)
{
    struct docker_auth a;
    if (docker_answer_parse(text, "answer", &a, NULL)) MUST((a.password && is_printable(a.password)) || (a.identity_token && is_printable(a.identity_token)));
    docker_auth_free(&a);
}

/* Merged once, nothing is missing the second time. */
static void check_merge(struct bytes text)
{
    struct digest subject = {{0}};
    CLEANUP(json) json_t *descriptor = json_pack("{s:s}", "digest", "sha256:x");
    struct fallback_entry e = {.subject = subject, .descriptor = descriptor};
    static const char ours[] = "{\"layers\":[{\"digest\":\"sha256:x\",\"annotations\":{\"s\":\"1\"}}]}";
    CLEANUP(free) char *once = NULL;
    CLEANUP(free) char *twice = NULL;
    CLEANUP(free) char *third = NULL;
    CLEANUP(free) char *fourth = NULL;
    size_t n, k;
    uint32_t missing;
    if (descriptor && registry_fallback_merge(text, &subject, &e, 1, &once, &n, &missing, NULL))
        MUST(missing <= 1 && registry_fallback_merge(bytes_of(once, n), &subject, &e, 1, &twice, &k, &missing, NULL) && missing == 0 && n == k);
    if (registry_tagged_merge(text, bytes_text(ours), "tag", &third, &n, &missing, NULL))
        MUST(missing <= 1 && registry_tagged_merge(bytes_of(third, n), bytes_text(ours), "tag", &fourth, &k, &missing, NULL) && missing == 0 && n == k);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    struct bytes rest = bytes_of(data + 1, size - 1);
    struct digest d;
    char *text = strndup((const char *)rest.data, rest.size);
    if (!text) return 0;
    switch (data[0]) {
    case 'n': check_name(text); break;
    case 'c': check_challenge(text); break;
    case 'l': check_link(text); break;
    case 'r': check_ranges(text); break;
    case 'd': check_config(rest); break;
    case 'h': check_answer(rest); break;
    case 'g':
        if (!graph_document_check(rest, NULL)) graph_subject(rest, &d);
        break;
    case 'm': check_merge(rest); break;
    default: break;
    }
    free(text);
    return 0;
}

#include "tests/fuzz/replay.h"
