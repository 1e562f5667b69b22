/* The sections of a policy that say who, what and how new. Everything is strict: an unknown key, an empty list, a
 * pattern that is empty are refused, because a policy that asks for less than it seems to is worse than none. */
#include "verify/policy.h"

#include "formats/oci.h"

#include <fnmatch.h>
#include <stdio.h>
#include <time.h>

static const struct {
    const char *name, *type;
} types[] = {{"provenance", POLICY_TYPE_PROVENANCE},
             {"sbom", POLICY_TYPE_SBOM},
             {"licences", POLICY_TYPE_LICENCES},
             {"parity", POLICY_TYPE_PARITY}};

/* A list of 1 to `max` texts, none of them empty. */
static bool check_texts(const json_t *j, const char *key, const char *what, size_t max, json_t **out, struct error *err)
{
    if (!json_get_array(j, key, what, out, err)) return false;
    size_t n = json_array_size(*out);
    if (n == 0 || n > max)
        return error_set(err, ERR_FORMAT, "%s: key '%s': expected 1 to %zu texts, found %zu", what, key, max, n);
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(*out, i));
        if (!text || !*text) return error_set(err, ERR_FORMAT, "%s: key '%s': expected texts", what, key);
    }
    return true;
}

static bool read_rule(struct policy *p, const char *path, const json_t *j, uint32_t i, struct error *err)
{
    static const char *const keys[] = {"names", "keys", "roots", "identity", "signatures", NULL};
    struct policy_rule *rule = &p->rules[i];
    char what[64];
    json_t *names;
    snprintf(what, sizeof what, "policy: trust %u", i + 1);
    if (!json_is_object(j)) return error_set(err, ERR_FORMAT, "%s: expected a mapping", what);
    if (!json_known_keys(j, what, keys, err) || !check_texts(j, "names", what, POLICY_NAMES_MAX, &names, err) ||
        !signers_read(j, what, path, &rule->signers, err))
        return false;
    for (size_t k = 0; k < json_array_size(names); k++)
        rule->names[rule->n_names++] = json_string_value(json_array_get(names, k));
    return signers_any(&rule->signers) || error_set(err, ERR_FORMAT, "%s: has neither keys nor roots", what);
}

static bool read_rules(struct policy *p, const char *path, struct error *err)
{
    json_t *list;
    if (!json_object_get(p->json, "trust")) return true;
    if (!json_get_array(p->json, "trust", "policy", &list, err)) return false;
    size_t n = json_array_size(list);
    if (n == 0 || n > POLICY_RULES_MAX)
        return error_set(err, ERR_FORMAT, "policy: trust: expected 1 to %u rules, found %zu", POLICY_RULES_MAX, n);
    p->rules = calloc(n, sizeof *p->rules);
    if (!p->rules) return error_memory(err, n * sizeof *p->rules);
    p->n_rules = (uint32_t)n;
    for (uint32_t i = 0; i < n; i++)
        if (!read_rule(p, path, json_array_get(list, i), i, err)) return false;
    return true;
}

static bool check_sources(const json_t *j, const char *what, struct policy_attestation *a, struct error *err)
{
    json_t *list;
    struct digest d;
    if (!json_object_get(j, "sources")) return true;
    if (!check_texts(j, "sources", what, POLICY_SOURCES_MAX, &list, err)) return false;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!oci_digest_parse(json_string_value(json_array_get(list, i)), &d))
            return error_set(err, ERR_FORMAT, "%s: sources: expected sha256: and 64 hex digits, found '%.80s'", what,
                             json_string_value(json_array_get(list, i)));
    a->sources = list;
    return true;
}

static bool read_attestation(struct policy *p, const char *path, const json_t *j, uint32_t i, struct error *err)
{
    static const char *const keys[] = {"type", "keys", "roots", "identity", "signatures", "builder", "sources", NULL};
    struct policy_attestation *a = &p->attestations[i];
    char what[64];
    const char *type;
    snprintf(what, sizeof what, "policy: attestations %u", i + 1);
    if (!json_is_object(j)) return error_set(err, ERR_FORMAT, "%s: expected a mapping", what);
    if (!json_known_keys(j, what, keys, err) || !json_get_string(j, "type", what, &type, err) ||
        !signers_read(j, what, path, &a->signers, err) || !json_opt_string(j, "builder", what, &a->builder, err) ||
        !check_sources(j, what, a, err))
        return false;
    a->threshold = a->signers.threshold;
    a->type = strchr(type, ':') ? type : NULL;
    for (size_t k = 0; k < sizeof types / sizeof *types; k++)
        if (strcmp(type, types[k].name) == 0) a->type = types[k].type;
    if (!a->type)
        return error_set(err, ERR_FORMAT,
                         "%s: type: expected provenance, sbom, licences, parity or a URI, found '%.80s'", what, type);
    if ((a->builder || a->sources) && strcmp(a->type, POLICY_TYPE_PROVENANCE) != 0)
        return error_set(err, ERR_FORMAT, "%s: builder and sources belong to type provenance", what);
    for (uint32_t k = 0; k < i; k++)
        if (strcmp(p->attestations[k].type, a->type) == 0)
            return error_set(err, ERR_FORMAT, "%s: type %.128s is there twice", what, type);
    return true;
}

static bool has_type(const struct policy *p, const char *type)
{
    for (uint32_t i = 0; i < p->n_attestations; i++)
        if (strcmp(p->attestations[i].type, type) == 0) return true;
    return false;
}

/* Allowed licences are held against a signed list of them: with no other asked for, that of `ingot attest`. */
static void add_licence_report(struct policy *p)
{
    if (p->licences && !has_type(p, POLICY_TYPE_LICENCES) && !has_type(p, POLICY_TYPE_SBOM))
        p->attestations[p->n_attestations++] =
            (struct policy_attestation){.type = POLICY_TYPE_LICENCES, .threshold = 1};
}

static bool read_attestations(struct policy *p, const char *path, struct error *err)
{
    json_t *list = NULL, *licences = NULL;
    if (json_object_get(p->json, "licences")) {
        if (!check_texts(p->json, "licences", "policy", POLICY_LICENCES_MAX, &licences, err)) return false;
        p->licences = licences;
    }
    if (json_object_get(p->json, "attestations") && !json_get_array(p->json, "attestations", "policy", &list, err))
        return false;
    size_t n = json_array_size(list);
    if ((list && n == 0) || n > POLICY_ATTESTATIONS_MAX)
        return error_set(err, ERR_FORMAT, "policy: attestations: expected 1 to %u, found %zu", POLICY_ATTESTATIONS_MAX,
                         n);
    p->attestations = calloc(n + 1, sizeof *p->attestations);
    if (!p->attestations) return error_memory(err, n * sizeof *p->attestations);
    for (uint32_t i = 0; i < n; i++) {
        p->n_attestations = i + 1;
        if (!read_attestation(p, path, json_array_get(list, i), i, err)) return false;
    }
    add_licence_report(p);
    return true;
}

/* "digest:" with nothing behind it is a slip, and would ask for nothing. */
static bool check_no_null(const json_t *j, struct error *err)
{
    const char *key;
    json_t *value;
    size_t i;
    json_object_foreach ((json_t *)(uintptr_t)j, key, value) {
        if (json_is_null(value)) return error_set(err, ERR_FORMAT, "policy: key '%.80s' has no value", key);
        if (!check_no_null(value, err)) return false;
    }
    json_array_foreach ((json_t *)(uintptr_t)j, i, value)
        if (!check_no_null(value, err)) return false;
    return true;
}

bool policy_read_trust(struct policy *p, const char *path, struct error *err)
{
    const char *created = NULL, *digest = NULL;
    int same;
    if (!check_no_null(p->json, err) || !read_rules(p, path, err) || !read_attestations(p, path, err) ||
        !json_opt_string(p->json, "minimum_version", "policy", &p->minimum_version, err) ||
        !json_opt_string(p->json, "minimum_created", "policy", &created, err) ||
        !json_opt_string(p->json, "digest", "policy", &digest, err))
        return false;
    if (p->minimum_version && !policy_compare_versions(p->minimum_version, p->minimum_version, &same))
        return error_set(err, ERR_FORMAT, "policy: minimum_version: expected a version like 1.2.0, found '%.80s'",
                         p->minimum_version);
    if (created && !policy_parse_time(created, &p->minimum_created))
        return error_set(err, ERR_FORMAT, "policy: minimum_created: expected a day like 2026-11-21, found '%.80s'",
                         created);
    p->has_digest = digest != NULL;
    if (digest && !oci_digest_parse(digest, &p->digest))
        return error_set(err, ERR_FORMAT, "policy: digest: expected sha256: and 64 hex digits, found '%.80s'", digest);
    return true;
}

const struct policy_rule *policy_rule_for(const struct policy *p, const char *name)
{
    for (uint32_t i = 0; i < p->n_rules; i++)
        for (uint32_t k = 0; k < p->rules[i].n_names; k++)
            if (fnmatch(p->rules[i].names[k], name, 0) == 0) return &p->rules[i];
    return NULL;
}

/* ---- versions and times ---- */

/* The numbers of a version, then what stands behind "-". */
static const char *next_number(const char **p, size_t *n)
{
    while (**p == '0' && (*p)[1] >= '0' && (*p)[1] <= '9') (*p)++;
    const char *first = *p;
    *n = strspn(first, "0123456789");
    *p += *n;
    if (*n && **p == '.' && (*p)[1] >= '0' && (*p)[1] <= '9') (*p)++;
    return first;
}

static bool is_version(const char *v)
{
    static const char word[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.";
    size_t n;
    for (;;) {
        next_number(&v, &n);
        if (n == 0) return false;
        if (*v == '\0') return true;
        if (*v == '-') return v[1] && v[1 + strspn(v + 1, word)] == '\0';
        if (*v < '0' || *v > '9') return false;
    }
}

/* What stands behind "-": numbers in it by value, also inside a word, the rest byte by byte; a text below one that goes
 * on. By bytes alone "rc.10" and "rc10" would be older than "rc.9" and "rc9", and those would pass as newer. */
static int compare_words(const char *a, const char *b)
{
    static const char digits[] = "0123456789";
    while (*a && *b) {
        size_t n = strspn(a, digits), m = strspn(b, digits);
        if (!n || !m) {
            if (*a != *b) return *a < *b ? -1 : 1;
            a++, b++;
            continue;
        }
        for (; n > 1 && *a == '0'; n--) a++;
        for (; m > 1 && *b == '0'; m--) b++;
        int c = n != m ? (n < m ? -1 : 1) : memcmp(a, b, n);
        if (c) return c < 0 ? -1 : 1;
        a += n, b += m;
    }
    return *a ? 1 : *b ? -1 : 0;
}

static int compare_numbers(const char **a, const char **b)
{
    size_t n, m;
    const char *x = next_number(a, &n), *y = next_number(b, &m);
    if (n != m) return n < m ? -1 : 1;
    int c = memcmp(x, y, n);
    return (c > 0) - (c < 0);
}

bool policy_compare_versions(const char *a, const char *b, int *out)
{
    a += *a == 'v';
    b += *b == 'v';
    if (!is_version(a) || !is_version(b)) return false;
    *out = 0;
    while (*out == 0 && *a && *b && *a != '-' && *b != '-') *out = compare_numbers(&a, &b);
    if (*out) return true;
    /* The numbers of one have come to an end: more numbers are newer, a word behind "-" is older. */
    bool more_a = *a && *a != '-', more_b = *b && *b != '-';
    if (more_a != more_b) {
        const char *more = more_a ? a : b, *word = more + strspn(more, "0.");
        bool newer = *word != '-' || *(more_a ? b : a); /* 1.2.0-rc1 comes before 1.2 too */
        *out = newer == more_a ? 1 : -1;
    } else if (!*a || !*b) *out = *a ? -1 : *b ? 1 : 0;
    else *out = compare_words(a + 1, b + 1);
    return true;
}

bool policy_parse_time(const char *text, int64_t *out)
{
    struct tm tm = {0};
    const char *rest = strptime(text, "%Y-%m-%d", &tm);
    if (rest && *rest == 'T') rest = strptime(rest, "T%H:%M:%SZ", &tm);
    if (!rest || *rest || strlen(text) < 10) return false;
    *out = (int64_t)timegm(&tm);
    return true;
}
