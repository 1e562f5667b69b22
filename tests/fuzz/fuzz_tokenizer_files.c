/* A letter, the bytes of a tokenizer's file, 0x1e, tokenizer_config.json, 0x1e, a text; the last two 0x1e count. m:
 * tokenizer.model, k: tekken.json, t: tiktoken.model. What opens must encode the text, also as a prompt, and decode the
 * ids, in bounded time. */
#include "engine/tokenizer.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_decode(const struct tokenizer *t, const uint32_t *ids, size_t n)
{
    for (int skip = 0; skip < 2; skip++) {
        struct error e = ERROR_INIT;
        CLEANUP(free) char *text = NULL;
        uint32_t *again = NULL;
        size_t n_text, n_again;
        if (!tokenizer_decode(t, ids, n, skip, &text, &n_text, &e) || text[n_text] != '\0') abort();
        if (!tokenizer_encode(t, bytes_of(text, n_text), false, &again, &n_again, &e) && strstr(e.text, "UTF-8"))
            abort();
        free(again);
    }
}

static void check_encode(const struct tokenizer *t, struct bytes text)
{
    static const uint32_t strange[] = {0, 3, 300, 4000000, 4294967295u, 65, 1, 2};
    uint32_t *ids = NULL, *prompt = NULL;
    size_t n = 0, n_prompt = 0;
    struct error e = ERROR_INIT;
    bool ok = tokenizer_encode(t, text, true, &ids, &n, &e);
    if (!ok && e.code != ERR_FORMAT && e.code != ERR_UNSUPPORTED) abort();
    if (ok != tokenizer_encode_prompt(t, text, &prompt, &n_prompt, &e)) abort();
    if (ok) check_decode(t, ids, n);
    if (ok) check_decode(t, prompt, n_prompt);
    check_decode(t, strange, sizeof strange / sizeof *strange);
    free(ids);
    free(prompt);
}

static struct bytes cut(struct bytes *from)
{
    const uint8_t *end = from->size ? memrchr(from->data, 0x1e, from->size) : NULL;
    struct bytes last = bytes_of((const uint8_t *)"", 0);
    if (!end) return last;
    last = bytes_of(end + 1, from->size - (size_t)(end - from->data) - 1);
    from->size = (size_t)(end - from->data);
    return last;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = ERROR_INIT;
    CLEANUP(tokenizer) struct tokenizer *t = NULL;
    if (size == 0) return 0;
    const char *name = *data == 'm' ? "tokenizer.model" : *data == 'k' ? "tekken.json" : "tiktoken.model";
    struct bytes file = bytes_of(data + 1, size - 1), text = cut(&file), config = cut(&file);
    if (!tokenizer_open_file(&t, name, file, config, "fuzz", &e)) {
        if (t || !e.text[0] || (e.code != ERR_FORMAT && e.code != ERR_UNSUPPORTED)) abort();
        return 0;
    }
    check_encode(t, text);
    return 0;
}

#include "tests/fuzz/replay.h"
