/* A tokenizer.json, a byte 0x1e, a text: what opens must encode the text and decode the ids, in bounded time. A text
 * that is not UTF-8 is refused; a document that does not open is broken or asks for what is not done. */
#include "engine/tokenizer.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_decode(const struct tokenizer *t, const uint32_t *ids, size_t n)
{
    for (int skip = 0; skip < 2; skip++) {
        struct error e = ERROR_INIT;
        CLEANUP(free) char *text = NULL;
        size_t n_text;
        if (!tokenizer_decode(t, ids, n, skip, &text, &n_text, &e) || text[n_text] != '\0') abort();
        /* What comes out is a text again; it need not be the same one. */
        uint32_t *again = NULL;
        size_t n_again;
        if (!tokenizer_encode(t, bytes_of(text, n_text), false, &again, &n_again, &e) && strstr(e.text, "UTF-8"))
            abort();
        free(again);
    }
}

static void check_encode(const struct tokenizer *t, struct bytes text)
{
    uint32_t *special = NULL, *plain = NULL;
    size_t n = 0, n_plain = 0;
    struct error e = ERROR_INIT;
    bool ok = tokenizer_encode(t, text, true, &special, &n, &e);
    if (!ok && e.code != ERR_FORMAT && e.code != ERR_UNSUPPORTED) abort();
    if (ok != tokenizer_encode(t, text, false, &plain, &n_plain, &e)) abort();
    if (ok && (!plain || n < n_plain)) abort();
    if (ok) check_decode(t, special, n);
    free(special);
    free(plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size ? memchr(data, 0x1e, size) : NULL;
    size_t n = end ? (size_t)(end - data) : size, rest = end ? size - n - 1 : 0;
    struct error e = ERROR_INIT;
    CLEANUP(tokenizer) struct tokenizer *t = NULL;
    if (!tokenizer_open_bytes(&t, bytes_of(data, n), "fuzz", &e)) {
        if (t || !e.text[0] || (e.code != ERR_FORMAT && e.code != ERR_UNSUPPORTED)) abort();
        return 0;
    }
    check_encode(t, bytes_of(rest ? end + 1 : (const uint8_t *)"", rest));
    return 0;
}

#include "tests/fuzz/replay.h"
