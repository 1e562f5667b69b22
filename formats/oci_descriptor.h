/* What the documents of formats/oci.h share: descriptors and annotations as JSON. Private to formats/oci*.c. */
#ifndef FORMATS_OCI_DESCRIPTOR_H
#define FORMATS_OCI_DESCRIPTOR_H

#include "formats/oci.h"

/* A document of at most OCI_DOCUMENT_BYTES_MAX that is an object with schemaVersion 2. */
MUST_CHECK bool oci_document(struct bytes text, const char *what, json_t **out, struct error *err);
/* The member `key` of `obj` must be this very string; absent is fine when `optional`. */
MUST_CHECK bool oci_fixed(const json_t *obj, const char *key, const char *value, bool optional, const char *what,
                          struct error *err);
/* Member "annotations": absent, or an object of at most OCI_ANNOTATIONS_MAX strings. */
MUST_CHECK bool oci_annotations_parse(const json_t *obj, const char *what, const json_t **out, struct error *err);
MUST_CHECK bool oci_media_type_parse(const json_t *obj, const char *key, const char *what, const char **out,
                                     struct error *err);
MUST_CHECK bool oci_descriptor_parse(const json_t *j, const char *what, struct oci_descriptor *out, struct error *err);
/* An array of descriptors, at most `max`; *out: the caller frees. Items are named "what: key[i]" in errors. */
MUST_CHECK bool oci_descriptors_parse(const json_t *obj, const char *key, uint32_t max, const char *what,
                                      struct oci_descriptor **out, uint32_t *n, struct error *err);

MUST_CHECK bool oci_descriptor_put(json_t *obj, const char *key, const struct oci_descriptor *d, struct error *err);
MUST_CHECK bool oci_descriptors_put(json_t *obj, const char *key, const struct oci_descriptor *list, uint32_t n,
                                    struct error *err);
/* A reference is added; NULL puts nothing. */
MUST_CHECK bool oci_annotations_put(json_t *obj, const json_t *annotations, struct error *err);

#endif
