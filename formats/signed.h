/* Whether an image in a layout, anybody's, is signed by a key: a sigstore bundle of the sign statement, or a legacy
 * signature. For images that are used, such as a base; a package of ours is checked as a whole by verify/. */
#ifndef FORMATS_SIGNED_H
#define FORMATS_SIGNED_H

#include "formats/oci_layout.h"

/* ERR_MISMATCH with class "no-signature" when there is none at all, "signature" when none is by the key; true: one is.
 */
MUST_CHECK bool signed_check(const struct oci_layout *l, const struct digest *image, const struct key *key,
                             struct error *err);

#endif
