/* What a signer that was killed may have left: temporaries, and blobs of a signature that no index entry names. Such a
 * signature is worth nothing, and verify refuses a layout with stray files, so the next signer removes them. Blobs that
 * are anything else stay. Private to pack/. */
#ifndef PACK_SIGN_SWEEP_H
#define PACK_SIGN_SWEEP_H

#include "formats/oci_layout.h"

/* Called with the lock of index.json held. */
MUST_CHECK bool sign_sweep(const struct oci_layout *l, const struct oci_index *index, struct error *err);

#endif
