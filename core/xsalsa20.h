/* XSalsa20 (Bernstein, "Extending the Salsa20 nonce", 2011): the stream cipher of NaCl's secretbox, which OpenSSL
 * lacks. Additions, rotations and exclusive ors of words alone: no table, no branch that depends on key or data. */
#ifndef CORE_XSALSA20_H
#define CORE_XSALSA20_H

#include "core/bytes.h"

#define XSALSA20_KEY_BYTES 32u
#define XSALSA20_NONCE_BYTES 24u

/* Adds (exclusive or) the key stream from byte `skip` on to `data`. */
void xsalsa20(const uint8_t key[XSALSA20_KEY_BYTES], const uint8_t nonce[XSALSA20_NONCE_BYTES], uint64_t skip,
              uint8_t *data, size_t n);

#endif
