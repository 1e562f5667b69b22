/* The memory that a forward pass takes, said beforehand. Every number comes from the functions by which the code itself
 * allocates (struct need in engine/block.h): there is no second list of sizes.
 *
 * What is counted is what becomes resident, beside the process as it was before. The two large things that are not:
 * files in the page cache, which the system takes back when it needs room (`page_cache`), and activations in a spill
 * file. */
#ifndef ENGINE_FOOTPRINT_H
#define ENGINE_FOOTPRINT_H

#include "engine/engine.h"
#include "models/arch.h"

#define STREAM_ROWS 2048u /* rows of a stream's call */
/* Tokens of an encoder's text, which is one call whatever its length: what the largest published embedders take. */
#define ENCODER_TOKENS_MAX 32768u

struct stream_footprint {
    uint64_t residual;        /* activations between blocks; 0 when they are in a spill file */
    uint64_t weights, state;  /* at most of a block: what is packed or loaded of it; what texts of a call carry */
    uint64_t calling, worker; /* scratch of the calling thread, and of each of n_threads workers */
    uint64_t head, logits;    /* while logits are made: packed head, and the rows of stream_logit_rows */
    uint64_t page_cache;      /* file bytes of a block and of the next one, which is read ahead */
    uint64_t blocks_peak;     /* bytes at most without logits, */
    uint64_t peak;            /* and with them */
    uint32_t n_threads;
    bool keep_head;
    bool keeps_blocks; /* some block's weights stay packed from call to call */
};
/* What stream_open, stream_block of every block and stream_logits take. Texts are not looked into, only their lengths.
 * Fails for want of what a broken inventory lacks. */
MUST_CHECK bool stream_footprint(struct stream_footprint *out, const struct engine *e, const struct text_ids *texts,
                                 uint32_t n_texts, const char *spill_dir, struct error *err);
/* The call whose first row is the first of texts[0], or somewhere in it where texts may be cut; n_left rows come from
 * there on. Encoders: as many whole texts as STREAM_ROWS holds, at least one. Else STREAM_ROWS. */
uint64_t stream_call_rows(const struct model_config *cfg, const struct text_ids *texts, uint32_t n_texts,
                          uint64_t n_left);
/* Rows of the largest such call. */
uint64_t stream_call_rows_max(const struct model_config *cfg, const struct text_ids *texts, uint32_t n_texts);
/* Bytes that one more token of the batch costs, beyond the first call. */
uint64_t stream_token_bytes(const struct engine *e);
/* Whether a stream of n_rows packs this block's weights. */
MUST_CHECK bool stream_keeps(bool *out, const struct engine *e, const struct block_config *b, uint64_t n_rows,
                             struct error *err);

struct session_footprint {
    uint64_t weights;         /* all blocks and the head, packed, with norms and biases */
    uint64_t state;           /* of n_tokens tokens */
    uint64_t calling, worker; /* scratch of the calling thread, and of each of n_threads workers */
    uint64_t logits;          /* of one token */
    uint64_t token_bytes;     /* of `state`, what each token adds */
    uint64_t peak;
    uint32_t n_threads;
};
/* What a session takes that is fed n_tokens, at most SESSION_ROWS_MAX at a time. */
MUST_CHECK bool session_footprint(struct session_footprint *out, const struct engine *e, uint64_t n_tokens,
                                  struct error *err);

#endif
