/* The table of replacements that a SentencePiece model and the normalizer Precompiled of a tokenizer.json carry: a
 * double array over bytes (as darts-clone lays it out), then the texts it points at, each with a NUL behind it. It is
 * used in place; what a stranger put into it leads to a wrong text at worst, and always to valid UTF-8. */
#ifndef ENGINE_CHARSMAP_H
#define ENGINE_CHARSMAP_H

#include "core/bytes.h"
#include "core/error.h"

/* The largest published one (nmt_nfkc) has 240 kB. */
#define CHARSMAP_BYTES_MAX ((size_t)16 << 20)

struct charsmap {
    const uint8_t *units; /* [n_units] of four bytes, little-endian */
    const char *texts;    /* [texts_size] */
    uint32_t n_units, texts_size;
};

/* `blob` is borrowed. An empty one is a map without rules. */
MUST_CHECK bool charsmap_open(struct charsmap *m, struct bytes blob, struct error *err);

/* The rule for the beginning of `in`, valid UTF-8: how many bytes it replaces, whole characters, and by what. 0: there
 * is none. The longest rule, or the shortest. */
size_t charsmap_find(const struct charsmap *m, struct bytes in, bool longest, struct bytes *to);

#endif
