/* A small model, two keys, and layouts made of them, for the tests of pack/ and verify/. Everything lives in one temporary
 * folder. Documents of a layout are edited as JSON and written back under their new digests. */
#ifndef TESTS_PACKAGE_FIXTURE_H
#define TESTS_PACKAGE_FIXTURE_H

#include "tests/checks.h"

#include "core/file.h"
#include "formats/oci_layout.h"
#include "formats/referrer.h"
#include "pack/pack.h"
#include "pack/sign.h"
#include "verify/package.h"

#include <fcntl.h>
#include <sys/stat.h>

struct fixture {
    const char *root;
    char model[96], profiles[96];
    struct key *key, *other;             /* private */
    struct key *pub, *other_pub;
};

static inline void run_command(const char *fmt, ...)
{
    char command[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    if (system(command) != 0) fail_msg("failed: %s", command);
}

static inline void save_text(const char *path, const char *text)
{
    CHECK_OK(file_save(path, bytes_text(text), 0666, e_));
}

static inline void fixture_key(const char *root, const char *name, struct key **key, struct key **pub)
{
    char a[128], b[128];
    snprintf(a, sizeof a, "%s/%s.pem", root, name);
    snprintf(b, sizeof b, "%s/%s.pub", root, name);
    CHECK_OK(key_generate(a, b, NULL, e_));
    CHECK_OK(key_load_private(a, NULL, key, e_));
    CHECK_OK(key_load_public(b, pub, e_));
}

static inline void fixture_open(struct fixture *f)
{
    char path[160];
    f->root = check_folder();
    snprintf(f->model, sizeof f->model, "%s/model", f->root);
    snprintf(f->profiles, sizeof f->profiles, "%s/profiles", f->root);
    run_command("mkdir -p %s/sub %s/vllm", f->model, f->profiles);
    snprintf(path, sizeof path, "%s/config.json", f->model);
    save_text(path, "{\"model_type\":\"nemotron_h\"}\n");
    snprintf(path, sizeof path, "%s/sub/template.jinja", f->model);
    save_text(path, "");
    snprintf(path, sizeof path, "%s/vllm/b200.yaml", f->profiles);
    save_text(path, "gpu: b200\n");
    uint8_t weights[5000];
    uint64_t seed = 7;
    for (size_t i = 0; i < sizeof weights; i++) weights[i] = (uint8_t)check_random(&seed);
    snprintf(path, sizeof path, "%s/model.safetensors", f->model);
    CHECK_OK(file_save(path, bytes_of(weights, sizeof weights), 0666, e_));
    fixture_key(f->root, "own", &f->key, &f->pub);
    fixture_key(f->root, "other", &f->other, &f->other_pub);
}

static inline void fixture_close(struct fixture *f)
{
    key_close(f->key);
    key_close(f->pub);
    key_close(f->other);
    key_close(f->other_pub);
    check_folder_remove(f->root);
}

/* The manifest of a bundle over `image`. */
static inline bool referrer_text(const struct oci_descriptor *image, const struct oci_descriptor *bundle, const char *predicate_type,
                                 char **out, size_t *out_size, struct error *err)
{
    CLEANUP(json) json_t *annotations = referrer_annotations(predicate_type);
    struct oci_descriptor layer = *bundle;
    struct oci_manifest m = {
        .artifact_type = ENVELOPE_BUNDLE_MEDIA, .config = {.media_type = OCI_MEDIA_EMPTY, .size = strlen(REFERRER_CONFIG_TEXT)},
        .layers = &layer, .n_layers = 1, .has_subject = true,
        .subject = {.media_type = image->media_type, .digest = image->digest, .size = image->size}, .annotations = annotations};
    return sha256_of(bytes_text(REFERRER_CONFIG_TEXT), &m.config.digest, err) && oci_manifest_text(&m, out, out_size, err);
}

/* Static text: "oci:ROOT/NAME:TAG". */
static inline const char *fixture_ref(const struct fixture *f, const char *name, const char *tag)
{
    static char ref[160];
    snprintf(ref, sizeof ref, "oci:%s/%s:%s", f->root, name, tag);
    return ref;
}

/* Packs the model; `recipe` makes images differ. */
static inline struct digest fixture_pack(const struct fixture *f, const char *name, const char *tag, const char *recipe)
{
    CLEANUP(json) json_t *annotations = json_pack("{s:s}", "ingot.recipe", recipe);
    struct pack_options o = {.source = f->model, .profiles = f->profiles, .ref = fixture_ref(f, name, tag), .annotations = annotations};
    struct pack_result r;
    CHECK_OK(pack_run(&o, &r, e_));
    struct digest image = r.image;
    pack_result_free(&r);
    return image;
}

static inline void fixture_sign(const struct fixture *f, const char *name, const char *tag, const struct key *key)
{
    struct sign_result r;
    CHECK_OK(sign_run(fixture_ref(f, name, tag), key, &r, e_));
}

/* ---- documents of a layout; `name` below the fixture's folder ----------------------------------------------------- */

static inline void blob_path(const struct fixture *f, const char *name, const char *digest, char path[256])
{
    snprintf(path, 256, "%s/%s/blobs/sha256/%s", f->root, name, strncmp(digest, "sha256:", 7) == 0 ? digest + 7 : digest);
}

static inline json_t *json_of(const char *path)
{
    CLEANUP_BUFFER struct buffer text = {0};
    json_t *j;
    CHECK_OK(file_load(AT_FDCWD, path, 1 << 20, &text, e_));
    CHECK_OK(json_parse(buffer_view(&text), JSON_DIALECT_STRICT, path, &j, e_));
    return j;
}

static inline json_t *index_of(const struct fixture *f, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s/index.json", f->root, name);
    return json_of(path);
}

static inline void save_index(const struct fixture *f, const char *name, json_t *index)
{
    char path[256];
    CLEANUP(free) char *text = NULL;
    snprintf(path, sizeof path, "%s/%s/index.json", f->root, name);
    CHECK_OK(json_canonical(index, &text, NULL, e_));
    save_text(path, text);
    json_decref(index);
}

/* Writes a blob and puts its digest and size into a descriptor. */
static inline void put_blob(const struct fixture *f, const char *name, json_t *descriptor, const void *data, size_t n)
{
    struct digest d;
    char text[OCI_DIGEST_SIZE], path[256];
    CHECK_OK(sha256_of(bytes_of(data, n), &d, e_));
    oci_digest_text(&d, text);
    blob_path(f, name, text, path);
    CHECK_OK(file_save(path, bytes_of(data, n), 0666, e_));
    json_object_set_new(descriptor, "digest", json_string(text));
    json_object_set_new(descriptor, "size", json_integer((json_int_t)n));
}

static inline void put_json(const struct fixture *f, const char *name, json_t *descriptor, const json_t *doc)
{
    CLEANUP(free) char *text = NULL;
    size_t n;
    CHECK_OK(json_canonical(doc, &text, &n, e_));
    put_blob(f, name, descriptor, text, n);
}

static inline void remove_blob(const struct fixture *f, const char *name, const json_t *descriptor)
{
    char path[256];
    blob_path(f, name, json_string_value(json_object_get(descriptor, "digest")), path);
    unlink(path);
}

static inline json_t *blob_json(const struct fixture *f, const char *name, const json_t *descriptor)
{
    char path[256];
    blob_path(f, name, json_string_value(json_object_get(descriptor, "digest")), path);
    return json_of(path);
}

/* The first image of the index: entry and manifest (new reference). */
static inline json_t *image_entry(json_t *index)
{
    return json_array_get(json_object_get(index, "manifests"), 0);
}

/* Removes every bundle: entries and blobs. */
static inline void drop_signatures(const struct fixture *f, const char *name)
{
    json_t *index = index_of(f, name), *list = json_object_get(index, "manifests");
    for (size_t i = json_array_size(list); i-- > 0;) {
        json_t *entry = json_array_get(list, i);
        if (!json_object_get(entry, "artifactType")) continue;
        CLEANUP(json) json_t *m = blob_json(f, name, entry);
        remove_blob(f, name, json_array_get(json_object_get(m, "layers"), 0));
        remove_blob(f, name, json_object_get(m, "config"));
        remove_blob(f, name, entry);
        json_array_remove(list, i);
    }
    save_index(f, name, index);
}

/* Changes the image's manifest and names it anew in the index, as someone without a key could. */
typedef void (*edit_fn)(const struct fixture *f, const char *name, json_t *manifest);

static inline void edit_manifest(const struct fixture *f, const char *name, edit_fn edit)
{
    json_t *index = index_of(f, name), *entry = image_entry(index);
    CLEANUP(json) json_t *m = blob_json(f, name, entry);
    remove_blob(f, name, entry);
    edit(f, name, m);
    put_json(f, name, entry, m);
    save_index(f, name, index);
}

/* The same by someone who has the key: what is found then is found by shape, not by signature. */
static inline void edit_and_sign(const struct fixture *f, const char *name, edit_fn edit)
{
    drop_signatures(f, name);
    edit_manifest(f, name, edit);
    fixture_sign(f, name, "v1", f->key);
}

/* Failed lines, and the report as JSON text (the caller frees). */
static inline uint32_t fixture_report(const struct fixture *f, const char *name, const char *tag, const struct key *key, char **text)
{
    CLEANUP(report) struct report *r = NULL;
    CLEANUP(json) json_t *j = NULL;
    struct package_options o = {.ref = fixture_ref(f, name, tag), .key = key};
    CHECK_OK(report_open(&r, e_));
    CHECK_OK(package_verify(&o, r, e_));
    CHECK_OK(report_json(r, &j, e_));
    CHECK_OK(json_canonical(j, text, NULL, e_));
    return report_count(r, VERDICT_FAIL);
}

/* The verdict, and in `err` the first failed (or else undecided) check. */
static inline enum verdict fixture_verify(const struct fixture *f, const char *name, const char *tag, const struct key *key,
                                          const struct digest *wanted, struct error *err)
{
    CLEANUP(report) struct report *r = NULL;
    struct package_options o = {.ref = fixture_ref(f, name, tag), .key = key, .wanted = wanted};
    CHECK_OK(report_open(&r, e_));
    CHECK_OK(package_verify(&o, r, e_));
    *err = (struct error)ERROR_INIT;
    if (!report_result(r, err) && err->code == ERR_NONE) fail_msg("a failed report without an error");
    return report_verdict(r);
}

#endif
