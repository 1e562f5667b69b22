/* The file of a SentencePiece model (tokenizer.model): a protobuf message, read field by field. What tokenizing needs
 * is kept, borrowed from the file; everything else is skipped. A stranger may have written it: every length is checked,
 * nothing recurses. */
#ifndef ENGINE_SPM_FILE_H
#define ENGINE_SPM_FILE_H

#include "core/bytes.h"
#include "core/error.h"

/* Bytes of one piece; the trainer's default limit is 16 characters. */
#define SPM_PIECE_BYTES_MAX 4096u

/* The numbers are the file's (sentencepiece_model.proto). */
enum spm_type { SPM_NORMAL = 1, SPM_UNKNOWN, SPM_CONTROL, SPM_USER_DEFINED, SPM_UNUSED, SPM_BYTE };
enum spm_model { SPM_UNIGRAM = 1, SPM_BPE, SPM_WORD, SPM_CHAR };

struct spm_piece {
    struct bytes text; /* UTF-8, not empty; an unused one may be NUL, others hold none */
    float score;
    enum spm_type type;
};
struct spm_file {
    struct spm_piece *pieces; /* [n_pieces]; owned */
    uint32_t n_pieces, capacity;
    /* trainer_spec */
    enum spm_model model;
    bool suffix; /* the mark of a space belongs behind a word */
    bool byte_fallback;
    struct bytes unk_surface, bos, eos;
    /* normalizer_spec */
    struct bytes charsmap;
    bool dummy_prefix, remove_extra_spaces, escape_spaces;
    bool denormalizer; /* it has rules */
};

/* `data` must live as long as the result. Exactly one piece is the unknown one. */
MUST_CHECK bool spm_file_read(struct spm_file *f, struct bytes data, struct error *err);
void spm_file_free(struct spm_file *f);

#endif
