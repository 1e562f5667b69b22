/* Names and files of keys: a PKCS#11 URI, cosign's own form, a public key. The first byte says which. */
#include "core/crypto_kind.h"
#include "core/pkcs11_uri.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition) do { if (!(condition)) abort(); } while (0)

static void look_at_uri(const uint8_t *data, size_t size)
{
    char text[PKCS11_URI_BYTES_MAX + 8];
    struct error err = ERROR_INIT;
    static struct pkcs11_uri u;
    if (size >= sizeof text) return;
    memcpy(text, data, size);
    text[size] = '\0';
    if (!pkcs11_uri_parse(text, &u, &err)) {
        MUST(err.code == ERR_USAGE && err.text[0]);
        return;
    }
    MUST(u.object.present || u.id.present);
    MUST(u.token.size <= PKCS11_VALUE_BYTES_MAX && strlen((char *)u.token.data) == u.token.size);
}

/* Nothing that comes in was sealed with this passphrase. (An input that gets as far as scrypt takes a tenth of a second.) */
static void look_at_cosign(const uint8_t *data, size_t size)
{
    uint8_t *der = NULL;
    size_t n = 0;
    struct error err = ERROR_INIT;
    MUST(!cosign_key_open(bytes_of(data, size), "key", "?", &der, &n, &err));
    MUST(err.code == ERR_FORMAT || err.code == ERR_UNSUPPORTED || err.code == ERR_USAGE);
}

static void look_at_public(const uint8_t *data, size_t size)
{
    struct key *k;
    struct error err = ERROR_INIT;
    if (key_read_public(bytes_of(data, size), "key", &k, &err)) {
        MUST(*key_kind_name(k));
        key_close(k);
    } else MUST(err.code == ERR_FORMAT || err.code == ERR_UNSUPPORTED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) return 0;
    if (data[0] == 'u') look_at_uri(data + 1, size - 1);
    if (data[0] == 'c') look_at_cosign(data + 1, size - 1);
    if (data[0] == 'p') look_at_public(data + 1, size - 1);
    return 0;
}

#include "tests/fuzz/replay.h"
