#include "core/pkcs11.h"

#include "core/cleanup.h"
#include "core/file.h"
#include "core/pkcs11_uri.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <p11-kit/pkcs11.h>

#define SLOTS_MAX 64u
#define ATTRIBUTE_BYTES_MAX 256u

struct pkcs11_key {
    void *module;
    CK_FUNCTION_LIST_PTR f;
    bool initialized; /* by us: so it is ours to finalize */
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE key;
    bool asks_always; /* CKA_ALWAYS_AUTHENTICATE: the PIN is wanted before each signature */
    char pin[KEY_SECRET_MAX];
    uint8_t spki[PKCS11_DER_MAX];
    size_t spki_bytes;
};

static bool refuse(struct error *err, CK_RV rv, const char *what)
{
    static const struct {
        CK_RV rv;
        enum error_code code;
        const char *words;
    } rows[] = {
        {CKR_PIN_INCORRECT, ERR_USAGE, "the PIN is wrong; it is not tried again, tokens lock after a few"},
        {CKR_PIN_LOCKED, ERR_DEVICE, "the PIN is locked"},
        {CKR_PIN_LEN_RANGE, ERR_USAGE, "the PIN has a length that the token refuses"},
        {CKR_PIN_EXPIRED, ERR_DEVICE, "the PIN has expired"},
        {CKR_TOKEN_NOT_PRESENT, ERR_DEVICE, "the token is gone"},
        {CKR_DEVICE_REMOVED, ERR_DEVICE, "the token is gone"},
        {CKR_MECHANISM_INVALID, ERR_UNSUPPORTED, "the token has no ECDSA"},
        {CKR_KEY_FUNCTION_NOT_PERMITTED, ERR_USAGE, "the key may not sign"},
        {CKR_USER_NOT_LOGGED_IN, ERR_USAGE, "the token wants a PIN"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].rv == rv) return error_set(err, rows[i].code, "token: %s: %s", what, rows[i].words);
    return error_set(err, ERR_DEVICE, "token: %s: error 0x%lx", what, (unsigned long)rv);
}

/* ---- the module -----------------------------------------------------------------------------------------------------
 */

static bool open_module(struct pkcs11_key *k, const struct pkcs11_uri *uri, struct error *err)
{
    const char *path = uri->module_path.present ? (const char *)uri->module_path.data : getenv(PKCS11_MODULE_ENV);
    if (!path || !*path) path = PKCS11_MODULE_DEFAULT;
    k->module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!k->module) return error_set(err, ERR_DEVICE, "cannot open the PKCS#11 module: %.512s", dlerror());
    CK_RV (*list)(CK_FUNCTION_LIST_PTR_PTR);
    void *symbol = dlsym(k->module, "C_GetFunctionList");
    memcpy(&list, &symbol, sizeof list); /* C has no cast from an object's pointer to a function's */
    if (!symbol || list(&k->f) != CKR_OK || !k->f)
        return error_set(err, ERR_DEVICE, "'%.512s' is not a PKCS#11 module", path);
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
    CK_RV rv = k->f->C_Initialize(&args);
    k->initialized = rv == CKR_OK;
    return k->initialized || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED ? true : refuse(err, rv, "C_Initialize");
}

/* Token strings have fixed lengths, padded with blanks. */
static bool field_is(const struct pkcs11_value *want, const CK_UTF8CHAR *field, size_t n)
{
    if (!want->present) return true;
    if (want->size > n || memcmp(field, want->data, want->size) != 0) return false;
    for (size_t i = want->size; i < n; i++)
        if (field[i] != ' ' && field[i] != 0) return false;
    return true;
}

static bool token_fits(const struct pkcs11_uri *u, const CK_TOKEN_INFO *t)
{
    return field_is(&u->token, t->label, sizeof t->label) &&
           field_is(&u->manufacturer, t->manufacturerID, sizeof t->manufacturerID) &&
           field_is(&u->model, t->model, sizeof t->model) &&
           field_is(&u->serial, t->serialNumber, sizeof t->serialNumber);
}

static bool find_slot(struct pkcs11_key *k, const struct pkcs11_uri *u, CK_SLOT_ID *out, CK_TOKEN_INFO *info,
                      struct error *err)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG n = SLOTS_MAX;
    uint32_t found = 0;
    CK_RV rv = k->f->C_GetSlotList(CK_TRUE, slots, &n);
    if (rv != CKR_OK || n > SLOTS_MAX) return refuse(err, rv, "C_GetSlotList");
    for (CK_ULONG i = 0; i < n; i++) {
        CK_TOKEN_INFO t;
        if (u->slot.present && strtoul((const char *)u->slot.data, NULL, 10) != slots[i]) continue;
        if (k->f->C_GetTokenInfo(slots[i], &t) != CKR_OK || !(t.flags & CKF_TOKEN_INITIALIZED) || !token_fits(u, &t))
            continue;
        *out = slots[i];
        *info = t;
        found++;
    }
    if (found == 1) return true;
    return error_set(err, ERR_FORMAT,
                     found ? "key URI: %u tokens fit; say which by token=, serial= or slot-id="
                           : "key URI: no token fits (%u found)",
                     found);
}

/* ---- logging in -----------------------------------------------------------------------------------------------------
 */

static bool read_pin(struct pkcs11_key *k, const struct pkcs11_uri *u, const struct key_secret *secret,
                     struct error *err)
{
    if (!u->pin_source.present)
        return !secret || !secret->ask ? true : secret->ask(secret->ctx, "the token's PIN", k->pin, err);
    const char *path = (const char *)u->pin_source.data;
    CLEANUP_BUFFER struct buffer text = {0};
    if (strncmp(path, "file:", 5) == 0) path += 5;
    if (*path != '/')
        return error_set(err, ERR_USAGE, "key URI: pin-source: expected file:/PATH, found '%.256s'", path);
    if (!file_load(AT_FDCWD, path, KEY_SECRET_MAX - 1, &text, err)) return false;
    size_t n = strcspn((const char *)text.data, "\r\n");
    memcpy(k->pin, text.data, n);
    k->pin[n] = '\0';
    secret_wipe(text.data, text.size);
    return true;
}

static bool log_in(struct pkcs11_key *k, const CK_TOKEN_INFO *t, CK_USER_TYPE who, struct error *err)
{
    bool pad = (t && t->flags & CKF_PROTECTED_AUTHENTICATION_PATH) && !k->pin[0];
    CK_RV rv = k->f->C_Login(k->session, who, pad ? NULL : (CK_UTF8CHAR_PTR)k->pin, pad ? 0 : strlen(k->pin));
    return rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN ? true : refuse(err, rv, "log-in");
}

/* ---- the key --------------------------------------------------------------------------------------------------------
 */

static bool find_object(struct pkcs11_key *k, CK_ATTRIBUTE *a, CK_ULONG n_attributes, const char *what,
                        CK_OBJECT_HANDLE *out, struct error *err)
{
    CK_OBJECT_HANDLE found[2];
    CK_ULONG n = 0;
    CK_RV rv = k->f->C_FindObjectsInit(k->session, a, n_attributes);
    if (rv == CKR_OK) {
        rv = k->f->C_FindObjects(k->session, found, 2, &n);
        k->f->C_FindObjectsFinal(k->session);
    }
    if (rv != CKR_OK) return refuse(err, rv, "C_FindObjects");
    *out = found[0];
    if (n == 1) return true;
    return error_set(err, ERR_FORMAT, n ? "key URI: more than one %s fits; say which by id=" : "key URI: no %s fits",
                     what);
}

static bool find_key(struct pkcs11_key *k, const struct pkcs11_uri *u, CK_OBJECT_CLASS object_class, const char *what,
                     CK_OBJECT_HANDLE *out, struct error *err)
{
    CK_KEY_TYPE type = CKK_EC;
    CK_ATTRIBUTE a[4] = {{CKA_CLASS, &object_class, sizeof object_class}, {CKA_KEY_TYPE, &type, sizeof type}};
    CK_ULONG n = 2;
    if (u->object.present)
        a[n++] = (CK_ATTRIBUTE){CKA_LABEL, (void *)(uintptr_t)u->object.data, (CK_ULONG)u->object.size};
    if (u->id.present) a[n++] = (CK_ATTRIBUTE){CKA_ID, (void *)(uintptr_t)u->id.data, (CK_ULONG)u->id.size};
    return find_object(k, a, n, what, out, err);
}

static bool attribute(struct pkcs11_key *k, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_TYPE type, uint8_t *out, size_t *n,
                      struct error *err)
{
    CK_ATTRIBUTE a = {type, out, ATTRIBUTE_BYTES_MAX};
    CK_RV rv = k->f->C_GetAttributeValue(k->session, o, &a, 1);
    if (rv != CKR_OK || a.ulValueLen > ATTRIBUTE_BYTES_MAX || a.ulValueLen == 0)
        return refuse(err, rv, "reading the public key");
    *n = (size_t)a.ulValueLen;
    return true;
}

/* A DER element in front of what is at out + 4; returns where it begins. Contents below 64 KiB. */
static uint8_t *wrap(uint8_t tag, uint8_t *content, size_t *n)
{
    uint8_t *p = content;
    if (*n >= 256) *--p = (uint8_t)*n, *--p = (uint8_t)(*n >> 8), *--p = 0x82;
    else if (*n >= 128) *--p = (uint8_t)*n, *--p = 0x81;
    else *--p = (uint8_t)*n;
    *--p = tag;
    *n += (size_t)(content - p);
    return p;
}

/* SubjectPublicKeyInfo of CKA_EC_PARAMS (an object identifier) and CKA_EC_POINT (an OCTET STRING around the point; some
 * tokens give the bare point). The crypto library then checks what it says. */
static bool make_spki(struct pkcs11_key *k, const uint8_t *params, size_t n_params, const uint8_t *point,
                      size_t n_point, struct error *err)
{
    static const uint8_t ec_public_key[] = {0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01};
    uint8_t room[4 * ATTRIBUTE_BYTES_MAX], *end = room + sizeof room, *p;
    if (n_point > 2 && point[0] == 0x04 && point[1] == n_point - 2) point += 2, n_point -= 2;
    else if (n_point > 3 && point[0] == 0x04 && point[1] == 0x81 && point[2] == n_point - 3) point += 3, n_point -= 3;
    if (params[0] != 0x06 || point[0] != 0x04)
        return error_set(err, ERR_UNSUPPORTED, "token: the public key is not an uncompressed point on a named curve");
    p = end - n_point;
    memcpy(p, point, n_point);
    *--p = 0;
    size_t bits = n_point + 1, algorithm = sizeof ec_public_key + n_params;
    p = wrap(0x03, p, &bits);
    p -= n_params;
    memcpy(p, params, n_params);
    p -= sizeof ec_public_key;
    memcpy(p, ec_public_key, sizeof ec_public_key);
    p = wrap(0x30, p, &algorithm);
    size_t all = bits + algorithm;
    p = wrap(0x30, p, &all);
    if (all > sizeof k->spki) return error_set(err, ERR_UNSUPPORTED, "token: the public key is too long");
    memcpy(k->spki, p, all);
    k->spki_bytes = all;
    return true;
}

/* The public key object of the same name; some tokens keep the point with the private key only. */
static bool read_public(struct pkcs11_key *k, const struct pkcs11_uri *u, struct error *err)
{
    uint8_t params[ATTRIBUTE_BYTES_MAX], point[ATTRIBUTE_BYTES_MAX];
    size_t n_params, n_point;
    CK_OBJECT_HANDLE o;
    struct error absent = ERROR_INIT;
    if (!find_key(k, u, CKO_PUBLIC_KEY, "public key", &o, &absent)) o = k->key;
    return attribute(k, o, CKA_EC_PARAMS, params, &n_params, err) &&
           attribute(k, o, CKA_EC_POINT, point, &n_point, err) && make_spki(k, params, n_params, point, n_point, err);
}

static bool open_key(struct pkcs11_key *k, const char *text, const struct key_secret *secret, struct error *err)
{
    CK_SLOT_ID slot = 0;
    CK_TOKEN_INFO token = {0};
    CK_BBOOL always = CK_FALSE;
    CLEANUP(free) struct pkcs11_uri *u = malloc(sizeof *u);
    if (!u) return error_memory(err, sizeof *u);
    if (!pkcs11_uri_parse(text, u, err) || !open_module(k, u, err) || !find_slot(k, u, &slot, &token, err))
        return false;
    CK_RV rv = k->f->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &k->session);
    if (rv != CKR_OK) return refuse(err, rv, "C_OpenSession");
    if (token.flags & CKF_LOGIN_REQUIRED && (!read_pin(k, u, secret, err) || !log_in(k, &token, CKU_USER, err)))
        return false;
    if (!find_key(k, u, CKO_PRIVATE_KEY, "private key (elliptic curve)", &k->key, err)) return false;
    CK_ATTRIBUTE a = {CKA_ALWAYS_AUTHENTICATE, &always, sizeof always};
    k->asks_always = k->f->C_GetAttributeValue(k->session, k->key, &a, 1) == CKR_OK && always;
    if (!k->asks_always) secret_wipe(k->pin, sizeof k->pin);
    return read_public(k, u, err);
}

bool pkcs11_open(const char *uri, const struct key_secret *secret, struct pkcs11_key **out, struct error *err)
{
    struct pkcs11_key *k = calloc(1, sizeof *k);
    *out = NULL;
    if (!k) return error_memory(err, sizeof *k);
    if (!open_key(k, uri, secret, err)) {
        pkcs11_close(k);
        return false;
    }
    *out = k;
    return true;
}

void pkcs11_close(struct pkcs11_key *k)
{
    if (!k) return;
    if (k->session) k->f->C_CloseSession(k->session); /* the last session of a token logs out */
    if (k->initialized) k->f->C_Finalize(NULL);
    /* The module stays mapped: some register handlers for the program's end, which must not point nowhere. */
    secret_wipe(k, sizeof *k);
    free(k);
}

struct bytes pkcs11_public(const struct pkcs11_key *k)
{
    return bytes_of(k->spki, k->spki_bytes);
}

bool pkcs11_sign(const struct pkcs11_key *k, struct bytes digest, uint8_t out[PKCS11_RAW_MAX], size_t *out_size,
                 struct error *err)
{
    CK_MECHANISM m = {CKM_ECDSA, NULL, 0};
    CK_ULONG n = PKCS11_RAW_MAX;
    CK_RV rv = k->f->C_SignInit(k->session, &m, k->key);
    if (rv != CKR_OK) return refuse(err, rv, "C_SignInit");
    if (k->asks_always) {
        rv = k->f->C_Login(k->session, CKU_CONTEXT_SPECIFIC, (CK_UTF8CHAR_PTR)(uintptr_t)k->pin, strlen(k->pin));
        if (rv != CKR_OK) return refuse(err, rv, "log-in");
    }
    rv = k->f->C_Sign(k->session, (CK_BYTE_PTR)(uintptr_t)digest.data, (CK_ULONG)digest.size, out, &n);
    if (rv != CKR_OK || n == 0 || n % 2 || n > PKCS11_RAW_MAX) return refuse(err, rv, "C_Sign");
    *out_size = (size_t)n;
    return true;
}
