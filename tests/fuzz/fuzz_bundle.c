/* Bundles. Nothing that comes in is signed by the key, which is not in the corpus: an envelope that verifies is a defect. */
#include "core/file.h"
#include "formats/envelope.h"

#include <fcntl.h>

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

static void look_at(struct bytes text)
{
    CLEANUP(envelope) struct envelope e = {0};
    struct error err = ERROR_INIT;
    bool valid = true;
    if (!envelope_parse(text, "bundle", &e, &err)) {
        MUST(err.code == ERR_FORMAT || err.code == ERR_UNSUPPORTED);
        return;
    }
    MUST(e.signature_bytes <= ENVELOPE_SIGNATURE_BYTES_MAX && e.payload_bytes <= ENVELOPE_BYTES_MAX && *e.predicate_type);
    MUST(envelope_verify(&e, the_key(), &valid, &err) && !valid);
}

/* The input as a statement inside a sound bundle: base64 hides it from random changes otherwise. */
static void as_statement(const uint8_t *data, size_t size)
{
    CLEANUP(free) char *payload = NULL;
    CLEANUP(free) char *text = NULL;
    if (!base64_encode(bytes_of(data, size), &payload, NULL)) return;
    size_t n = strlen(payload) + 512;
    text = malloc(n);
    MUST(text);
    int k = snprintf(text, n, "{\"mediaType\":\"" ENVELOPE_BUNDLE_MEDIA "\",\"verificationMaterial\":{\"publicKey\":{}},\"dsseEnvelope\":{\"payload\":\"%s\","
                     "\"payloadType\":\"" ENVELOPE_PAYLOAD_TYPE "\",\"signatures\":[{\"sig\":\"MAYCAQECAQE=\"}]}}", payload);
    look_at(bytes_of(text, (size_t)k));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    look_at(bytes_of(data, size));
    as_statement(data, size);
    return 0;
}

#include "tests/fuzz/replay.h"
