/* Names of keys in tokens: PKCS#11 URIs (RFC 7512), "pkcs11:token=release;object=signer?module-path=/usr/lib/x.so".
 *
 * Every attribute at most once, percent encoding decoded, lengths capped; one that is not known is refused, because a
 * key must not be chosen by a rule that was not understood. A PIN in the URI (pin-value) is refused: the command line
 * is seen by every user of the machine. */
#ifndef CORE_PKCS11_URI_H
#define CORE_PKCS11_URI_H

#include "core/bytes.h"
#include "core/error.h"

#define PKCS11_SCHEME "pkcs11:"
#define PKCS11_URI_BYTES_MAX 4096u
#define PKCS11_VALUE_BYTES_MAX 1024u

struct pkcs11_value {
    bool present;
    size_t size;
    uint8_t data[PKCS11_VALUE_BYTES_MAX + 1]; /* terminated; no NUL inside but in `id` */
};

struct pkcs11_uri {
    struct pkcs11_value token, manufacturer, model, serial; /* of the token */
    struct pkcs11_value object, id;                         /* of the key: CKA_LABEL, CKA_ID */
    struct pkcs11_value slot;                               /* slot-id, decimal digits */
    struct pkcs11_value type;                               /* "private" or absent */
    struct pkcs11_value module_path;                        /* the module to open, or absent */
    struct pkcs11_value pin_source;                         /* "file:/path" or "/path", or absent */
};

/* ERR_USAGE. */
MUST_CHECK bool pkcs11_uri_parse(const char *text, struct pkcs11_uri *out, struct error *err);

#endif
