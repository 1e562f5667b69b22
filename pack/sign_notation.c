/* Notation's signature as a referrer. */
#include "pack/sign_parts.h"

#include "formats/notation.h"

#include <time.h>

static const struct attach_form form = {NULL, NOTATION_MEDIA, NOTATION_LAYER_MEDIA};

static bool look_for_own(void *ctx, const struct attach *a, const struct oci_manifest *m, uint32_t entry, bool *stop,
                         struct error *err)
{
    (void)entry;
    const struct key *key = ctx;
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(notation) struct notation n = {0};
    struct error unread = ERROR_INIT;
    int64_t begin, end, now = (int64_t)time(NULL);
    if (m->n_layers != 1 || strcmp(m->layers[0].media_type, NOTATION_LAYER_MEDIA) != 0) return true;
    if (!oci_blob_load(&a->layout, &m->layers[0], NOTATION_BYTES_MAX, "referrer", &text, NULL, &unread) ||
        !notation_parse(buffer_view(&text), "referrer", &n, &unread) ||
        !digest_equal(&n.target.digest, &m->subject.digest))
        return unread.code != ERR_MEMORY ? true : error_memory(err, 0);
    if (!cert_chain_window(n.chain, &begin, &end, err)) return false;
    /* One that has expired is not in the way of a new one. */
    return now > end || now > n.expiry || notation_fits(&n, key, stop, err);
}

bool sign_notation(struct attach *a, const struct sign_options *o, const struct oci_descriptor *subject,
                   bool *was_there, struct error *err)
{
    CLEANUP(free) char *text = NULL;
    CLEANUP(json) json_t *annotations = NULL;
    size_t n = 0;
    if (!attach_find(a, subject, look_for_own, (void *)(uintptr_t)o->key, was_there, err)) return false;
    if (*was_there) return true;
    return notation_annotations(o->chain, &annotations, err) &&
           notation_sign(o->key, o->chain, subject, (int64_t)time(NULL), &text, &n, err) &&
           attach_referrer(a, subject, &form, bytes_of(text, n), annotations, err);
}
