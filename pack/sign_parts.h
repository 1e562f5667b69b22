/* The forms of a signature, one function each. Private to pack/sign*.c. */
#ifndef PACK_SIGN_PARTS_H
#define PACK_SIGN_PARTS_H

#include "pack/attach.h"
#include "pack/sign.h"

/* Adds the signature of one subject, or finds it there: *was_there. */
MUST_CHECK bool sign_bundle(struct attach *a, const struct sign_options *o, const struct oci_descriptor *subject,
                            bool *was_there, struct error *err);
MUST_CHECK bool sign_x509(struct attach *a, const struct sign_options *o, const struct oci_descriptor *subject,
                          bool *was_there, struct error *err);
MUST_CHECK bool sign_legacy(struct attach *a, const struct sign_options *o, const struct oci_descriptor *subject,
                            bool *was_there, struct error *err);
MUST_CHECK bool sign_notation(struct attach *a, const struct sign_options *o, const struct oci_descriptor *subject,
                              bool *was_there, struct error *err);

#endif
