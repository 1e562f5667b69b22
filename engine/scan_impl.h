/* Between engine/scan.c (texts and chunks), engine/scan_keys.c (what heads share) and engine/scan_head.c (one head). */
#ifndef ENGINE_SCAN_IMPL_H
#define ENGINE_SCAN_IMPL_H

#include "engine/scan.h"

/* One chunk of a piece: tokens lo .. hi of the chunk. */
struct scan_slot {
    uint32_t piece;
    uint32_t row; /* of the piece: token lo */
    uint32_t lo, hi;
    bool zero;   /* the text's first chunk: there is no state yet */
    uint64_t at; /* of the call's scratch: per group transposed keys (unless lo > 0), then scores */
};

struct scan_call {
    const struct scan *s;
    const struct scan_piece *pieces;
    const struct scan_slot *slots;
    const uint64_t *first_slot; /* [n_pieces + 1] */
    uint64_t from, to;          /* slots of this round */
    float *scratch;             /* of these slots */
    float *worker;              /* [threads, worker_floats] */
    uint64_t worker_floats;
};

/* Floats of one head's state, and of the parts of `open`: per head, then per group. */
uint64_t scan_head_floats(const struct scan *s);
uint64_t scan_open_head_floats(const struct scan *s);
uint64_t scan_open_group_floats(const struct scan *s);

/* Keys of a chunk for one group: transposed [key_dim, SCAN_CHUNK], and as panels of 32 tokens. */
float *scan_open_keys(const struct scan *s, const struct scan_state *state, uint64_t group);
float *scan_open_head(const struct scan *s, const struct scan_state *state, uint64_t head);
float *scan_slot_keys(const struct scan_call *c, const struct scan_slot *slot, uint64_t group);
/* [hi - lo, SCAN_CHUNK]: q k, and for delta `which` 1: k k. */
float *scan_slot_scores(const struct scan_call *c, const struct scan_slot *slot, uint64_t group, uint32_t which);

uint64_t scan_keys_floats(const struct scan *s);                /* of one group's transposed keys */
void scan_keys_item(void *ctx, uint64_t item, uint32_t worker); /* item: slot of the round * n_groups + group */
/* A chunk that began in this call and stays open: its keys move to the state. */
void scan_keep_keys(const struct scan_call *c, const struct scan_slot *slot);

uint64_t scan_worker_floats(const struct scan *s);
/* Item: piece * n_heads + head, counted from the piece of the round's first slot. */
void scan_head_item(void *ctx, uint64_t item, uint32_t worker);

/* What a chunk's tokens so far have given to one head; lies in `open` or in a worker's scratch. */
struct scan_head {
    float *values; /* panels [SCAN_CHUNK][GEMM_PANEL]: u / w, for delta u */
    float *w;      /* [SCAN_CHUNK] */
    float *total;
};
struct scan_head scan_head_at(const struct scan *s, float *at);

/* state <- total state + sum over the first n tokens; destroys h->values; scratch [key_dim, GEMM_PANEL]. */
void scan_fold(const struct scan *s, float *state, const struct scan_head *h, const float *keys, uint32_t n,
               float *scratch);

#endif
