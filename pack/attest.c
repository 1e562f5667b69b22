#include "pack/attest.h"

#include "core/file.h"
#include "formats/referrer.h"
#include "pack/attach.h"
#include "pack/attest_facts.h"

#include <fcntl.h>

#define REPORT_BYTES_MAX ((size_t)64 << 20)

static const struct {
    const char *name, *type;
    bool (*make)(const struct attest_facts *f, json_t **out, struct error *err);
} kinds[ATTEST_KIND_COUNT] = {
    [ATTEST_KIND_PROVENANCE] = {"provenance", ATTEST_PROVENANCE, provenance_predicate},
    [ATTEST_KIND_SBOM] = {"sbom", ATTEST_SBOM, sbom_predicate},
    [ATTEST_KIND_LICENCES] = {"licences", ATTEST_LICENCES, licence_predicate},
    [ATTEST_KIND_PARITY] = {"parity", ATTEST_PARITY, parity_predicate},
};

const char *attest_kind_name(enum attest_kind kind)
{
    return kinds[kind].name;
}

const char *attest_kind_type(enum attest_kind kind)
{
    return kinds[kind].type;
}

bool parity_predicate(const struct attest_facts *f, json_t **out, struct error *err)
{
    const json_t *figures = json_object_get(f->report, "parity"), *checks = json_object_get(f->report, "checks");
    CLEANUP(json) json_t *list = json_array();
    char hex[DIGEST_HEX_SIZE];
    size_t i;
    json_t *c;
    if (!json_is_object(figures))
        return error_set(err, ERR_FORMAT, "the report holds no parity figures: verify with --against");
    json_array_foreach ((json_t *)(uintptr_t)checks, i, c) {
        const char *check = json_string_value(json_object_get(c, "check"));
        if (check && strcmp(check, "parity") == 0 && json_array_append(list, c) != 0) return error_memory(err, 0);
    }
    digest_hex(&f->figures, hex);
    *out = json_pack("{s:s,s:s,s:O,s:O,s:O}", "schema", "ingot.parity/1", "figures_sha256", hex, "verdict",
                     json_object_get(f->report, "verdict"), "figures", figures, "checks", list);
    return *out ? true : error_set(err, ERR_FORMAT, "the report has no verdict");
}

/* The report must be of this package: its digest is in it. */
static bool load_report(const struct attest_options *o, const struct attach *a, json_t **out, struct digest *digest,
                        struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(free) char *figures = NULL;
    size_t n = 0;
    char image[OCI_DIGEST_SIZE];
    if (!o->report)
        return !o->kinds[ATTEST_KIND_PARITY] ||
               error_set(err, ERR_USAGE, "an attestation of parity needs a report: --report is missing");
    if (!file_load(AT_FDCWD, o->report, REPORT_BYTES_MAX, &text, err) ||
        !json_parse(buffer_view(&text), JSON_DIALECT_STRICT, o->report, out, err))
        return false;
    const json_t *parity = json_object_get(*out, "parity");
    if (parity && (!json_canonical(parity, &figures, &n, err) || !sha256_of(bytes_of(figures, n), digest, err)))
        return false;
    const char *said = json_string_value(json_object_get(json_object_get(*out, "package"), "image"));
    oci_digest_text(&attach_subject(a, 0)->digest, image);
    if (said && strcmp(said, image) == 0) return true;
    return error_set(err, ERR_FORMAT, "report '%.256s' is of image %.80s, the package is %s", o->report,
                     said ? said : "(none)", image);
}

struct search {
    const struct key *key;
    const char *type;
    struct bytes payload;
    bool same;
    uint32_t stale[ATTEST_TYPES_MAX * 4]; /* entries with another statement of the type by this key */
    uint32_t n_stale;
};

static bool look(void *ctx, const struct attach *a, const struct oci_manifest *m, uint32_t entry, bool *stop,
                 struct error *err)
{
    struct search *s = ctx;
    CLEANUP(envelope) struct envelope e = {0};
    struct error unread = ERROR_INIT;
    bool differs, valid;
    if (!referrer_is_bundle(m)) return true;
    if (!referrer_load(&a->layout, m, "referrer", &e, &differs, &unread))
        return unread.code != ERR_MEMORY ? true : error_memory(err, 0);
    if (strcmp(e.predicate_type, s->type) != 0 || e.chain) return true;
    if (!envelope_verify(&e, s->key, &valid, err)) return false;
    if (!valid) return true;
    *stop = s->same = e.payload_bytes == s->payload.size && memcmp(e.payload, s->payload.data, e.payload_bytes) == 0;
    if (!s->same && s->n_stale < sizeof s->stale / sizeof *s->stale) s->stale[s->n_stale++] = entry;
    return true;
}

static bool attest_one(struct attach *a, const struct attest_options *o, const struct oci_descriptor *subject,
                       const char *type, const json_t *predicate, struct attest_done *done, struct error *err)
{
    CLEANUP(free) char *statement = NULL;
    CLEANUP(free) char *bundle = NULL;
    size_t n = 0, n_bundle = 0;
    bool found;
    CLEANUP(json) json_t *annotations = referrer_annotations(type);
    if (!annotations) return error_memory(err, 0);
    if (!envelope_statement(&subject->digest, type, predicate, &statement, &n, err)) return false;
    if (n > ATTEST_PREDICATE_BYTES_MAX)
        return error_set(err, ERR_FORMAT, "the statement of type %.128s has %zu bytes, verifiers take at most %zu",
                         type, n, ATTEST_PREDICATE_BYTES_MAX);
    struct search s = {.key = o->key, .type = type, .payload = bytes_of(statement, n)};
    if (!attach_find(a, subject, look, &s, &found, err)) return false;
    *done = (struct attest_done){.type = type, .was_there = s.same, .replaced = !s.same && s.n_stale};
    if (s.same) return true;
    while (s.n_stale)
        if (!attach_drop(a, s.stale[--s.n_stale], err)) return false;
    return envelope_sign(o->key, bytes_of(statement, n), &bundle, &n_bundle, err) &&
           attach_referrer(a, subject, &attach_form_bundle, bytes_of(bundle, n_bundle), annotations, err);
}

static bool attest_subject(struct attach *a, const struct attest_options *o, struct attest_facts *f,
                           const struct oci_descriptor *subject, struct attest_result *out, struct error *err)
{
    out->n_done = 0;
    for (int i = 0; i < ATTEST_KIND_COUNT; i++) {
        CLEANUP(json) json_t *predicate = NULL;
        if (!o->kinds[i]) continue;
        if (!kinds[i].make(f, &predicate, err) ||
            !attest_one(a, o, subject, kinds[i].type, predicate, &out->done[out->n_done++], err))
            return false;
    }
    return !o->custom_type || attest_one(a, o, subject, o->custom_type, o->custom, &out->done[out->n_done++], err);
}

/* The program that runs, by its digest: what built this. Where it cannot be read, nothing is said. */
static bool hash_tool(struct digest *out, struct error *err)
{
    CLEANUP(fd) int fd = -1;
    uint64_t size;
    return file_open(AT_FDCWD, "/proc/self/exe", &fd, &size, err) &&
           sha256_of_file(fd, "the program itself", 0, size, out, err);
}

static bool is_uri(const char *text)
{
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");
    if (!n || text[n] != ':' || !text[n + 1] || strlen(text) > 512) return false;
    for (const char *p = text; *p; p++)
        if (*p <= ' ' || *p >= 127 || strchr("\"<>\\^`{|}", *p)) return false;
    return true;
}

static bool check_options(const struct attest_options *o, struct error *err)
{
    if (o->custom_type && !is_uri(o->custom_type))
        return error_set(err, ERR_USAGE, "an attestation's type is a URI, found '%.128s'", o->custom_type);
    if (o->builder_id && !is_uri(o->builder_id))
        return error_set(err, ERR_USAGE, "a builder's id is a URI, found '%.128s'", o->builder_id);
    return key_check_use(o->key, KEY_USE_SIGSTORE, err);
}

static bool attest_all(struct attach *a, const struct attest_options *o, struct attest_result *out, struct error *err)
{
    CLEANUP(json) json_t *report = NULL;
    struct digest figures = {{0}}, tool;
    if (!load_report(o, a, &report, &figures, err) || !hash_tool(&tool, err)) return false;
    out->image = attach_subject(a, 0)->digest;
    out->n_subjects = attach_subjects(a);
    for (uint32_t i = out->n_subjects; i-- > 0;) { /* the package last: its answers are handed out */
        const struct oci_descriptor *subject = attach_subject(a, i);
        __attribute__((cleanup(cleanup_attest_facts))) struct attest_facts f = {
            .image = subject->digest,
            .name = a->ref.tag,
            .report = report,
            .figures = figures,
            .source_files = o->source_files,
            .builder_id = o->builder_id ? o->builder_id : ATTEST_BUILDER_DEFAULT,
            .backend = o->backend ? o->backend : "not recorded",
            .tool = tool};
        const struct oci_descriptor *image = oci_package_image(&a->package, i ? i - 1 : 0);
        if (!attest_facts_read(&f, &a->layout, image, err) || !attest_subject(a, o, &f, subject, out, err))
            return false;
    }
    return attach_commit(a, err);
}

bool attest_package(const struct attest_options *o, struct attest_result *out, struct error *err)
{
    struct attach a;
    *out = (struct attest_result){0};
    if (!crypto_self_test(err) || !check_options(o, err) || !key_id(o->key, &out->key_id, err) ||
        !attach_open(&a, o->ref, err))
        return false;
    bool ok = attest_all(&a, o, out, err);
    attach_close(&a);
    return ok;
}
