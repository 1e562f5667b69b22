/* The compression function of SHA-256 (FIPS 180-4, section 6.2.2) on the SHA instructions of x86, for two messages at
 * once: a round waits for the one before it, and the second message's rounds fill that wait, so two take hardly longer
 * than one. Which hash is computed how is core/crypto.c's matter. */
#ifndef CORE_SHA256_BLOCKS_H
#define CORE_SHA256_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
/* True when this CPU has the instructions; without it the other two must not be called. */
bool sha256_blocks_usable(void);
/* n blocks of 64 bytes into a state: H0..H7 of the standard. */
void sha256_blocks(uint32_t state[8], const uint8_t *data, size_t n);
void sha256_blocks_pair(uint32_t a[8], const uint8_t *data_a, uint32_t b[8], const uint8_t *data_b, size_t n);
#else
static inline bool sha256_blocks_usable(void)
{
    return false;
}

static inline void sha256_blocks(uint32_t state[8], const uint8_t *data, size_t n)
{
    (void)state, (void)data, (void)n;
}

static inline void sha256_blocks_pair(uint32_t a[8], const uint8_t *data_a, uint32_t b[8], const uint8_t *data_b,
                                      size_t n)
{
    (void)a, (void)data_a, (void)b, (void)data_b, (void)n;
}
#endif

#endif
