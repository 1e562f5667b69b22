/* Manifest, index and config: what is taken, is written and read again as the same. The first byte chooses nothing: each
 * input goes through all three, and no document is taken by two. */
#include "formats/oci.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition) do { if (!(condition)) abort(); } while (0)

static void check_manifest(const struct oci_manifest *m)
{
    CLEANUP(oci_manifest) struct oci_manifest again = {0};
    CLEANUP(free) char *text = NULL;
    CLEANUP(free) char *twice = NULL;
    size_t n = 0, k = 0;
    MUST(m->n_layers <= OCI_LAYERS_MAX && m->config.size <= OCI_BLOB_BYTES_MAX);
    MUST(oci_manifest_text(m, &text, &n, NULL));
    if (n > OCI_DOCUMENT_BYTES_MAX) return;   /* escapes can grow */
    MUST(oci_manifest_parse(bytes_of(text, n), "again", &again, NULL) && oci_manifest_text(&again, &twice, &k, NULL));
    MUST(n == k && memcmp(text, twice, n) == 0);
}

static void check_index(const struct oci_index *ix)
{
    CLEANUP(oci_index) struct oci_index again = {0};
    CLEANUP(free) char *text = NULL;
    size_t n = 0;
    MUST(oci_index_text(ix, &text, &n, NULL) && oci_index_parse(bytes_of(text, n), "again", &again, NULL));
    MUST(again.n_manifests == ix->n_manifests);
    for (uint32_t i = 0; i < ix->n_manifests; i++) {
        const char *tag = oci_annotation(ix->manifests[i].annotations, OCI_ANNOTATION_REF);
        MUST(digest_equal(&ix->manifests[i].digest, &again.manifests[i].digest) && ix->manifests[i].size == again.manifests[i].size);
        MUST(!tag || (oci_tag_is_valid(tag) && oci_index_find(ix, tag) == &ix->manifests[i]));
    }
}

static void check_config(const struct oci_config *c)
{
    CLEANUP(oci_config) struct oci_config again = {0};
    CLEANUP(free) char *text = NULL;
    size_t n = 0;
    MUST(oci_config_text(c, &text, &n, NULL) && oci_config_parse(bytes_of(text, n), "again", &again, NULL));
    MUST(again.n_layers == c->n_layers);
}

static void check_ref(const uint8_t *data, size_t size)
{
    CLEANUP(oci_ref) struct oci_ref ref = {0};
    char text[300];
    if (size >= sizeof text) return;
    memcpy(text, data, size);
    text[size] = '\0';
    if (oci_ref_parse(text, &ref, NULL)) MUST(oci_tag_is_valid(ref.tag) && *ref.dir && !strchr(ref.dir, ':'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(oci_manifest) struct oci_manifest m = {0};
    CLEANUP(oci_index) struct oci_index ix = {0};
    CLEANUP(oci_config) struct oci_config c = {0};
    struct error e = ERROR_INIT;
    struct bytes text = bytes_of(data, size);
    int taken = 0;
    if (oci_manifest_parse(text, "manifest", &m, &e) && ++taken) check_manifest(&m);
    if (oci_index_parse(text, "index", &ix, &e) && ++taken) check_index(&ix);
    if (oci_config_parse(text, "config", &c, &e) && ++taken) check_config(&c);
    MUST(taken <= 1);
    check_ref(data, size);
    return 0;
}

#include "tests/fuzz/replay.h"
