/* What a person types for a package: "oci:DIR:TAG", "DIR:TAG", or just "DIR" (or "oci:DIR") when one image in it has a
 * tag; "oci-archive:FILE:TAG" or just "FILE" likewise. */
#ifndef CLI_PACKAGE_REF_H
#define CLI_PACKAGE_REF_H

#include "core/error.h"

/* *out: "oci:DIR:TAG" or "oci-archive:FILE:TAG"; caller frees. */
MUST_CHECK bool package_ref(const char *operand, char **out, struct error *err);

#endif
