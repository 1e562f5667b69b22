/* Recurrent layers as matrix products over chunks of SCAN_CHUNK tokens: Mamba-2 and the gated delta rule.
 *
 * Per head, with a state S [key_dim, value_dim] that begins at 0, a decay d in [0, 1] and a weight w >= 0:
 *     Mamba-2:  S <- d S + w k (x) v;                          o = S^T q + skip v      (k = B, q = C, w = dt)
 *     delta:    S <- d S;  S <- S + k (x) w (v - S^T k);       o = S^T q               (w = beta)
 * Inside of a chunk the state is never formed. With D[i, j] = the product of the decays of tokens j + 1 .. i and S0 the
 * state before the chunk, token i gives
 *     o_i = sum over j <= i of D[i, j] (q_i k_j) u_j + D[i, -1] S0^T q_i,
 * u_j being w v_j, or for delta w_j (v_j - D[j, -1] S0^T k_j - sum over l < j of D[j, l] (k_j k_l) u_l): a triangular
 * system that is solved by forward substitution. At the end of a chunk S0 becomes D[last, -1] S0 + sum D[last, j] k_j
 * (x) u_j. D is a running product of numbers up to 1: nothing overflows, whatever dt and the length.
 *
 * Chunks begin at multiples of SCAN_CHUNK from the start of the text, not of the call, and every row of a chunk has a
 * fixed order of sums that only looks back. So a text gives the same bits in any pieces, down to single tokens: the
 * inputs of the chunk that is still open wait in the state. */
#ifndef ENGINE_SCAN_H
#define ENGINE_SCAN_H

#include "backends/cpu/math.h"
#include "core/pool.h"
#include "engine/scratch.h"

#define SCAN_CHUNK 64u

struct scan {
    const struct math_ops *math;
    struct pool *pool;          /* borrowed; NULL: one thread */
    struct scratch *scratch;    /* borrowed; NULL: its own each time */
    uint32_t n_heads, n_groups; /* head h uses the keys and queries of group h / (n_heads / n_groups) */
    uint32_t key_dim, value_dim;
    bool delta;
    const float *skip; /* [n_heads] or NULL; not for delta */
};

/* What one text carries. Zeroed at its start. */
struct scan_state {
    float *state; /* at the last multiple of SCAN_CHUNK tokens: per head, columns in panels as gemm_panel wants them */
    float *open;  /* what the tokens since then have given; NULL when no piece of the text ended inside of a chunk */
    uint64_t state_floats, open_floats; /* how long these are */
};
void scan_state_close(struct scan_state *s);

/* A piece of one text. Row t of an array begins at t times its stride. */
struct scan_piece {
    uint32_t n, first;           /* tokens first .. first + n of the text */
    bool keep;                   /* more pieces or scan_export may follow */
    const float *k, *q;          /* [n, n_groups * key_dim]; for delta of length 1 */
    const float *v;              /* [n, n_heads * value_dim] */
    const float *decay, *weight; /* [n, n_heads] */
    float *o;                    /* [n, n_heads * value_dim], written */
    uint64_t k_stride, q_stride, v_stride, decay_stride, weight_stride, o_stride;
    struct scan_state *state;
};

/* Fails only for want of memory. Parallel over chunks and groups, then over texts and heads. */
MUST_CHECK bool scan_run(const struct scan *s, const struct scan_piece *pieces, uint32_t n_pieces, struct error *err);

/* What scan_run takes of the scratch when the pieces have n_rows tokens in all. */
uint64_t scan_need(const struct scan *s, uint64_t n_rows, uint64_t n_pieces);
/* What a text keeps: its state, and of an open chunk. */
uint64_t scan_state_floats(const struct scan *s);
uint64_t scan_open_floats(const struct scan *s);

/* The state after n tokens, all of them fed with `keep`: Mamba-2 [heads, value_dim, key_dim], delta [heads, key_dim,
 * value_dim]. */
MUST_CHECK bool scan_export(const struct scan *s, const struct scan_state *state, uint64_t n, float *out,
                            struct error *err);

#endif
