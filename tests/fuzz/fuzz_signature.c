/* Other forms of signatures: a legacy payload, a notation envelope, an OMS statement in a bundle, a certificate. The first byte says
 * which. Nothing that comes in is signed by the key, which is made here. */
#include "core/cert.h"
#include "formats/notation.h"
#include "formats/oms.h"
#include "formats/simple_signing.h"

#include <fcntl.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition) do { if (!(condition)) abort(); } while (0)

static const struct key *the_key(void)
{
    static struct key *key;
    char folder[] = "/tmp/ingot-fuzz-XXXXXX", a[64], b[64];
    if (key) return key;
    MUST(mkdtemp(folder));
    snprintf(a, sizeof a, "%s/a.pem", folder);
    snprintf(b, sizeof b, "%s/a.pub", folder);
    MUST(key_generate(a, b, NULL, NULL) && key_load_public(b, &key, NULL));
    dir_remove_tree(AT_FDCWD, folder, NULL);
    return key;
}

static void refused(const struct error *err)
{
    MUST((err->code == ERR_FORMAT || err->code == ERR_UNSUPPORTED) && err->text[0]);
}

static void look_at_simple(struct bytes text)
{
    CLEANUP(simple_signing) struct simple_signing s = {0};
    struct error err = ERROR_INIT;
    if (!simple_parse(text, &s, &err)) refused(&err);
    else MUST(s.reference);
}

static void look_at_notation(struct bytes text)
{
    CLEANUP(notation) struct notation n = {0};
    struct error err = ERROR_INIT;
    bool valid = true;
    char why[CERT_WHY_SIZE];
    if (!notation_parse(text, "notation", &n, &err)) {
        refused(&err);
        return;
    }
    MUST(cert_chain_count(n.chain) >= 1 && cert_chain_count(n.chain) <= CERT_CHAIN_MAX && n.input);
    MUST(notation_fits(&n, the_key(), &valid, &err) && !valid);
    MUST(notation_verify(&n, n.chain, 1800000000, &valid, why, &err)); /* its own root: whatever the answer, it comes */
}

/* As the statement inside a sound bundle, which base64 would hide from random changes. */
static void look_at_oms(const uint8_t *data, size_t size)
{
    CLEANUP(free) char *payload = NULL;
    CLEANUP(free) char *text = NULL;
    CLEANUP(envelope) struct envelope e = {0};
    __attribute__((cleanup(cleanup_oms_list))) struct oms_list list = {0};
    struct error err = ERROR_INIT;
    if (!base64_encode(bytes_of(data, size), &payload, NULL)) return;
    MUST(asprintf(&text, "{\"mediaType\":\"" ENVELOPE_BUNDLE_MEDIA "\",\"verificationMaterial\":{\"publicKey\":{}},\"dsseEnvelope\":{\"payload\":\"%s\","
                         "\"payloadType\":\"" ENVELOPE_PAYLOAD_TYPE "\",\"signatures\":[{\"sig\":\"MAYCAQECAQE=\"}]}}", payload) > 0);
    if (!envelope_parse(bytes_text(text), "bundle", &e, &err) || !oms_read(&e, "oms", &list, &err)) {
        refused(&err);
        return;
    }
    MUST(list.n_files >= 1 && list.n_files <= OMS_FILES_MAX);
    for (uint32_t i = 0; i < list.n_files; i++) MUST(path_is_safe(list.files[i].name));
}

static void look_at_certificate(struct bytes der)
{
    struct cert_chain *c = NULL;
    struct error err = ERROR_INIT;
    char subject[CERT_SUBJECT_SIZE], why[CERT_WHY_SIZE];
    bool valid;
    if (!cert_chain_add(&c, der, "certificate", &err)) {
        refused(&err);
        MUST(!c);
        return;
    }
    cert_chain_subject(c, subject);
    MUST(cert_chain_verify(c, c, 1800000000, &valid, why, &err) && (valid || why[0]));
    cert_chain_close(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) return 0;
    struct bytes rest = bytes_of(data + 1, size - 1);
    if (data[0] == 's') look_at_simple(rest);
    if (data[0] == 'n') look_at_notation(rest);
    if (data[0] == 'o') look_at_oms(rest.data, rest.size);
    if (data[0] == 'c') look_at_certificate(rest);
    return 0;
}

#include "tests/fuzz/replay.h"
