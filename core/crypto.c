/* Hashing and base64; keys and signatures are in crypto_key.c. */
#include "core/crypto.h"

#include "core/cleanup.h"
#include "core/file.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>

#define HASH_CHUNK_BYTES ((size_t)1 << 20)

struct sha256 {
    EVP_MD_CTX *ctx;
    bool failed;
};

static const EVP_MD *algorithm;
static pthread_once_t algorithm_once = PTHREAD_ONCE_INIT;

static void fetch_algorithm(void)
{
    algorithm = EVP_MD_fetch(NULL, "SHA2-256", NULL);
}

/* Fetched once and kept: a fetch per hash (what EVP_sha256() means inside) costs more than hashing a small tensor. */
static const EVP_MD *sha256_algorithm(void)
{
    pthread_once(&algorithm_once, fetch_algorithm);
    return algorithm;
}

bool sha256_open(struct sha256 **out, struct error *err)
{
    struct sha256 *h = calloc(1, sizeof *h);
    *out = NULL;
    if (h) h->ctx = EVP_MD_CTX_new();
    if (!h || !h->ctx) {
        free(h);
        return error_memory(err, sizeof *h);
    }
    h->failed = !sha256_algorithm() || EVP_DigestInit_ex(h->ctx, sha256_algorithm(), NULL) != 1;
    *out = h;
    return true;
}

void sha256_add(struct sha256 *h, const void *data, size_t n)
{
    if (n && !h->failed) h->failed = EVP_DigestUpdate(h->ctx, data, n) != 1;
}

bool sha256_close(struct sha256 *h, struct digest *out, struct error *err)
{
    if (!h) return true;
    bool ok = !out || (!h->failed && EVP_DigestFinal_ex(h->ctx, out->bytes, NULL) == 1);
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
