/* What SentencePiece does to a text before its model sees it, and to pieces when they become a text again, exactly as
 * the `sentencepiece` library (0.2) does. The models themselves are bpe.h and unigram.h. */
#ifndef ENGINE_SPM_H
#define ENGINE_SPM_H

#include "core/file.h"
#include "engine/added_tokens.h"
#include "engine/charsmap.h"

struct spm {
    struct buffer blob; /* what `map` lies in */
    struct charsmap map;
    bool dummy_prefix, remove_extra_spaces, escape_spaces, suffix;
    struct added_tokens user; /* user-defined pieces: in the set `normalized` */
    uint8_t *types;           /* [n_pieces] enum spm_type */
    uint32_t n_pieces;
    struct buffer unk_surface; /* what the unknown piece stands for */
};

void spm_close(struct spm *s); /* NULL is fine */

/* Appends what the model is to cut; nothing stays nothing. `in` is valid UTF-8. */
void spm_normalize(const struct spm *s, struct bytes in, struct text *out);

/* One call of decoding: pieces in order, then the end. */
struct spm_decoding {
    const struct spm *spm;
    struct text *out;
    struct text bytes; /* byte pieces that wait for those behind them */
    bool no_start, mark_seen;
};
void spm_decode_piece(struct spm_decoding *d, uint32_t id, struct bytes piece);
/* A text that is taken as it is. */
void spm_decode_text(struct spm_decoding *d, struct bytes text);
void spm_decode_end(struct spm_decoding *d);

#endif
