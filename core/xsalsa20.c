#include "core/xsalsa20.h"

#define BLOCK_BYTES 64u

static uint32_t rotate(uint32_t v, unsigned n)
{
    return v << n | v >> (32 - n);
}

static void store_le32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (8 * i));
}

static void quarter(uint32_t x[16], unsigned a, unsigned b, unsigned c, unsigned d)
{
    x[b] ^= rotate(x[a] + x[d], 7);
    x[c] ^= rotate(x[b] + x[a], 9);
    x[d] ^= rotate(x[c] + x[b], 13);
    x[a] ^= rotate(x[d] + x[c], 18);
}

/* The state before the rounds, and in `x` behind them: constants on the diagonal, key, 16 bytes of input. */
static void rounds(const uint8_t key[32], const uint8_t input[16], uint32_t start[16], uint32_t x[16])
{
    static const uint32_t sigma[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}; /* "expand 32-byte k" */
    for (unsigned i = 0; i < 4; i++) {
        start[5 * i] = sigma[i];
        start[1 + i] = load_le32(key + 4 * i);
        start[11 + i] = load_le32(key + 16 + 4 * i);
        start[6 + i] = load_le32(input + 4 * i);
    }
    memcpy(x, start, 16 * sizeof *x);
    for (int i = 0; i < 10; i++) {
        quarter(x, 0, 4, 8, 12);
        quarter(x, 5, 9, 13, 1);
        quarter(x, 10, 14, 2, 6);
        quarter(x, 15, 3, 7, 11);
        quarter(x, 0, 1, 2, 3);
        quarter(x, 5, 6, 7, 4);
        quarter(x, 10, 11, 8, 9);
        quarter(x, 15, 12, 13, 14);
    }
}

/* HSalsa20: a key of its own for the first 16 bytes of the nonce. */
static void derive(const uint8_t key[32], const uint8_t nonce[16], uint8_t out[32])
{
    static const uint8_t words[8] = {0, 5, 10, 15, 6, 7, 8, 9};
    uint32_t start[16], x[16];
    rounds(key, nonce, start, x);
    for (unsigned i = 0; i < 8; i++) store_le32(out + 4 * i, x[words[i]]);
}

void xsalsa20(const uint8_t key[XSALSA20_KEY_BYTES], const uint8_t nonce[XSALSA20_NONCE_BYTES], uint64_t skip,
              uint8_t *data, size_t n)
{
    uint8_t own[32], input[16], block[BLOCK_BYTES];
    uint32_t start[16], x[16];
    uint64_t have = UINT64_MAX;
    derive(key, nonce, own);
    memcpy(input, nonce + 16, 8);
    for (size_t i = 0; i < n; i++) {
        uint64_t at = skip + i, number = at / BLOCK_BYTES;
        if (number != have) {
            store_le64(input + 8, number);
            rounds(own, input, start, x);
            for (unsigned k = 0; k < 16; k++) store_le32(block + 4 * k, x[k] + start[k]);
            have = number;
        }
        data[i] ^= block[at % BLOCK_BYTES];
    }
    /* volatile: a compiler that sees these die would leave the writes out. */
    for (volatile uint8_t *p = own; p < own + sizeof own; p++) *p = 0;
    for (volatile uint8_t *p = block; p < block + sizeof block; p++) *p = 0;
    for (volatile uint32_t *p = start; p < start + 16; p++) *p = 0;
    for (volatile uint32_t *p = x; p < x + 16; p++) *p = 0;
}
