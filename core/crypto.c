/* Hashing and base64; keys and signatures are in crypto_key.c. */
#include "core/crypto.h"

#include "core/cleanup.h"
#include "core/file.h"
#include "core/sha256_blocks.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>

#define HASH_CHUNK_BYTES ((size_t)1 << 20)

/* One of two ways: by our own code where the CPU has the instructions, because the library has no way to compute two
 * hashes at once; else by the library. */
struct sha256 {
    EVP_MD_CTX *ctx; /* NULL: our own */
    uint32_t state[8];
    uint64_t n_bytes;  /* so far */
    uint8_t block[64]; /* the first n_bytes % 64 of it wait for the rest */
    bool failed;
};

static const EVP_MD *algorithm;
static bool has_blocks;
static pthread_once_t algorithm_once = PTHREAD_ONCE_INIT;

static void fetch_algorithm(void)
{
    algorithm = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    has_blocks = sha256_blocks_usable();
}

/* Fetched once and kept: a fetch per hash (what EVP_sha256() means inside) costs more than hashing a small tensor. */
static const EVP_MD *sha256_algorithm(void)
{
    pthread_once(&algorithm_once, fetch_algorithm);
    return algorithm;
}

bool sha256_open(struct sha256 **out, struct error *err)
{
    static const uint32_t start[8] = {/* FIPS 180-4, section 5.3.3 */
                                      0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    const EVP_MD *md = sha256_algorithm();
    struct sha256 *h = calloc(1, sizeof *h);
    *out = h;
    if (!h) return error_memory(err, sizeof *h);
    memcpy(h->state, start, sizeof start);
    if (has_blocks) return true;
    h->ctx = EVP_MD_CTX_new();
    if (!h->ctx) {
        free(h);
        *out = NULL;
        return error_memory(err, sizeof *h);
    }
    h->failed = !md || EVP_DigestInit_ex(h->ctx, md, NULL) != 1;
    return true;
}

/* What a block that was begun still lacks, or less; how many bytes that took. */
static size_t fill_block(struct sha256 *h, const uint8_t *data, size_t n)
{
    size_t have = h->n_bytes % 64, k = have ? 64 - have : 0;
    if (k > n) k = n;
    if (k == 0) return 0;
    memcpy(h->block + have, data, k);
    h->n_bytes += k;
    if (h->n_bytes % 64 == 0) sha256_blocks(h->state, h->block, 1);
    return k;
}

void sha256_add(struct sha256 *h, const void *data, size_t n)
{
    const uint8_t *p = data;
    if (n == 0 || h->failed) return;
    if (h->ctx) {
        h->failed = EVP_DigestUpdate(h->ctx, data, n) != 1;
        return;
    }
    size_t k = fill_block(h, p, n), whole = (n - k) / 64;
    sha256_blocks(h->state, p + k, whole);
    h->n_bytes += n - k;
    k += 64 * whole;
    if (k < n) memcpy(h->block, p + k, n - k);
}

void sha256_add_pair(struct sha256 *a, const void *data_a, size_t n_a, struct sha256 *b, const void *data_b, size_t n_b)
{
    const uint8_t *pa = data_a, *pb = data_b;
    if (!a->ctx && !b->ctx && n_a && n_b) {
        size_t ka = fill_block(a, pa, n_a), kb = fill_block(b, pb, n_b);
        pa += ka, n_a -= ka, pb += kb, n_b -= kb;
        size_t both = u64_min(n_a, n_b) / 64;
        if (both) sha256_blocks_pair(a->state, pa, b->state, pb, both);
        a->n_bytes += 64 * both;
        b->n_bytes += 64 * both;
        pa += 64 * both, n_a -= 64 * both, pb += 64 * both, n_b -= 64 * both;
    }
    sha256_add(a, pa, n_a);
    sha256_add(b, pb, n_b);
}

/* The end of the message: a bit, zeros, the length in bits. */
static void finish_blocks(struct sha256 *h, struct digest *out)
{
    uint8_t end[72] = {0x80};
    uint64_t n_bits = 8 * h->n_bytes;
    size_t zeros = (119 - h->n_bytes % 64) % 64;
    for (size_t i = 0; i < 8; i++) end[1 + zeros + i] = (uint8_t)(n_bits >> (56 - 8 * i));
    sha256_add(h, end, 1 + zeros + 8);
    for (size_t i = 0; i < DIGEST_BYTES; i++) out->bytes[i] = (uint8_t)(h->state[i / 4] >> (24 - 8 * (i % 4)));
}

bool sha256_close(struct sha256 *h, struct digest *out, struct error *err)
{
    if (!h) return true;
    bool ok = !out || (!h->failed && (!h->ctx || EVP_DigestFinal_ex(h->ctx, out->bytes, NULL) == 1));
    if (out && !h->ctx) finish_blocks(h, out);
    EVP_MD_CTX_free(h->ctx);
    free(h);
    return ok ? true : error_set(err, ERR_INTERNAL, "SHA-256 failed in the crypto library");
}

bool sha256_of(struct bytes data, struct digest *out, struct error *err)
{
    unsigned n = 0;
    const void *bytes = data.data ? (const void *)data.data : "";
    if (sha256_algorithm() && EVP_Digest(bytes, data.size, out->bytes, &n, sha256_algorithm(), NULL) == 1 &&
        n == DIGEST_BYTES)
        return true;
    return error_set(err, ERR_INTERNAL, "SHA-256 failed in the crypto library");
}

bool git_blob_id(struct bytes data, char out[GIT_ID_HEX_SIZE], struct error *err)
{
    char head[32];
    uint8_t id[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    int head_size = snprintf(head, sizeof head, "blob %zu", data.size) + 1;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) == 1 &&
              EVP_DigestUpdate(ctx, head, (size_t)head_size) == 1 &&
              (!data.size || EVP_DigestUpdate(ctx, data.data, data.size) == 1) &&
              EVP_DigestFinal_ex(ctx, id, &n) == 1 && 2 * n + 1 == GIT_ID_HEX_SIZE;
    EVP_MD_CTX_free(ctx);
    if (!ok) return error_set(err, ERR_INTERNAL, "SHA-1 failed in the crypto library");
    for (unsigned i = 0; i < n; i++) snprintf(out + 2 * i, 3, "%02x", id[i]);
    return true;
}

bool sha256_of_file(int fd, const char *name, uint64_t offset, uint64_t n, struct digest *out, struct error *err)
{
    CLEANUP(free) uint8_t *chunk = malloc(HASH_CHUNK_BYTES);
    struct sha256 *h;
    if (!chunk) return error_memory(err, HASH_CHUNK_BYTES);
    if (!sha256_open(&h, err)) return false;
    bool ok = true;
    for (uint64_t done = 0; ok && done < n;) {
        size_t k = (size_t)u64_min(n - done, HASH_CHUNK_BYTES);
        ok = file_read_at(fd, name, offset + done, chunk, k, err);
        if (ok) sha256_add(h, chunk, k);
        done += k;
    }
    return sha256_close(h, ok ? out : NULL, err) && ok;
}

void digest_hex(const struct digest *d, char out[DIGEST_HEX_SIZE])
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < DIGEST_BYTES; i++) {
        out[2 * i] = hex[d->bytes[i] >> 4];
        out[2 * i + 1] = hex[d->bytes[i] & 15];
    }
    out[2 * DIGEST_BYTES] = '\0';
}

bool digest_parse(const char *hex, struct digest *out)
{
    if (strlen(hex) != 2 * DIGEST_BYTES) return false;
    for (size_t i = 0; i < 2 * DIGEST_BYTES; i++) {
        char c = hex[i];
        int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (v < 0) return false;
        out->bytes[i / 2] = (uint8_t)(i % 2 ? out->bytes[i / 2] | v : v << 4);
    }
    return true;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
    return CRYPTO_memcmp(a->bytes, b->bytes, DIGEST_BYTES) == 0;
}

bool base64_encode(struct bytes data, char **out, struct error *err)
{
    *out = NULL;
    if (data.size > INT32_MAX / 2)
        return error_set(err, ERR_FORMAT, "%zu bytes are too many for base64 here", data.size);
    size_t n = (data.size + 2) / 3 * 4 + 1;
    char *text = malloc(n);
    if (!text) return error_memory(err, n);
    EVP_EncodeBlock((unsigned char *)text, data.data ? data.data : (const uint8_t *)"", (int)data.size);
    *out = text;
    return true;
}

bool base64_decode(const char *text, size_t max, uint8_t **out, size_t *out_size, struct error *err)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = strlen(text), body = strspn(text, alphabet), padding = n - body;
    *out = NULL;
    if (n % 4 != 0 || padding > 2 || strspn(text + body, "=") != padding || n / 4 * 3 > max + 2 || n > INT32_MAX)
        return error_set(err, ERR_FORMAT, "not a base64 text of at most %zu bytes", max);
    uint8_t *data = malloc(n / 4 * 3 + 1);
    if (!data) return error_memory(err, n);
    int got = n ? EVP_DecodeBlock(data, (const unsigned char *)text, (int)n) : 0;
    size_t size = got < 0 ? 0 : (size_t)got - padding;
    /* Bits behind the last byte must be zero, or two texts would mean the same bytes. */
    CLEANUP(free) char *again = NULL;
    bool ok = got >= 0 && size <= max && base64_encode(bytes_of(data, size), &again, err) && strcmp(again, text) == 0;
    if (!ok) {
        free(data);
        return error_set(err, ERR_FORMAT, "not a base64 text of at most %zu bytes", max);
    }
    *out = data;
    *out_size = size;
    return true;
}

bool base64url_encode(struct bytes data, char **out, struct error *err)
{
    if (!base64_encode(data, out, err)) return false;
    char *p = *out;
    for (; *p && *p != '='; p++) *p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
    *p = '\0';
    return true;
}

bool base64url_decode(const char *text, size_t max, uint8_t **out, size_t *out_size, struct error *err)
{
    size_t n = strlen(text);
    *out = NULL;
    if (n / 4 * 3 > max + 2 || strpbrk(text, "+/="))
        return error_set(err, ERR_FORMAT, "not a base64url text of at most %zu bytes", max);
    CLEANUP(free) char *padded = malloc(n + 4);
    if (!padded) return error_memory(err, n + 4);
    for (size_t i = 0; i < n; i++) padded[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
    while (n % 4) padded[n++] = '=';
    padded[n] = '\0';
    return base64_decode(padded, max, out, out_size, err);
}
