/* Inside of quantize: one run's state.
 *
 * The plan becomes a list of passes over tensors (passes.c), cut into pieces, all in one order. Pieces wait in a ring
 * of slots, each with a lane of a device. Readers (reader.c) fill slots in that order, and hash; the
 * thread that runs the stage (pipeline.c) takes every piece through four steps, each in that order too:
 *
 *     measure    submit AMAX                    passes that look for a maximum
 *     collect    wait, keep the maximum         the same
 *     encode     submit the encoders            passes that write, once their group's maximum is known
 *     retire     wait, hash, write, free the slot
 *
 * (encode.c). Sources are hashed by whoever has nothing better to do, two tensors at a time where two are there
 * (hashing.c). Because everything that decides or writes is done by one thread in plan order, neither the number of
 * readers nor of devices shows in the output. */
#ifndef QUANTIZE_JOB_H
#define QUANTIZE_JOB_H

#include "backends/backend.h"
#include "core/staging.h"
#include "plan/fp8_range.h"
#include "plan/plan_stack.h"
#include "plan/workspace.h"
#include "quantize/given.h"
#include "quantize/quantize.h"

#include <pthread.h>

/* What ingot.json says of one written tensor. `source` is all zero for tensors that have none (scales). */
struct tensor_digests {
    struct digest written, source;
    bool has_source;
};

/* One reading of one source tensor. */
struct pass {
    enum pass_kind {
        PASS_COPY,   /* written as it is */
        PASS_FOLD,   /* the same, with scales per channel in it */
        PASS_SCAN,   /* only its maximum is wanted */
        PASS_KEEP,   /* its maximum, and then it is encoded from where it lies */
        PASS_ENCODE, /* encoded; its group's maximum is known by then */
        PASS_DECODE, /* written as plain numbers: the source is quantized */
        PASS_EACH,   /* each piece is looked through and encoded: the type has no scale of the whole tensor */
    } kind;
    bool ends_item, collected; /* collected: all its maxima are in */
    uint32_t item, source;     /* source: of the checkpoint */
    uint32_t output;           /* first tensor it writes */
    struct sha256 *hash;       /* of the source; NULL until its first piece is there, and for PASS_SCAN */
    uint64_t n_hashed;         /* pieces whose hashing is over */
    bool hashing;              /* somebody is at it */
};

struct slot {
    struct lane *lane;
    /* the piece in it */
    struct pass *pass;
    struct plan_piece at;
    uint8_t *raw, *raw_scales;     /* as they lie on disk, while they are needed: what is turned or scaled in the lane,
                                     or decoded
                                     there     (codes, and scales); or NULL: the lane holds what was read */
    uint64_t raw_bytes;            /* of raw */
    uint64_t offset, bytes, index; /* of the source tensor; index: of the piece in its pass */
    bool first, last;              /* of its pass */
    bool full, failed;             /* it has been read; failed: and could not be */
    uint64_t n_hashed;             /* bytes, of raw or of the lane */
    bool hashed;                   /* or there is nothing to hash: it may be retired */
    struct error err;
};

#define READERS_MAX 4u

struct ring {
    struct slot *slots;
    uint32_t n_slots;
    struct backend *devices[16];
    uint32_t n_devices, depth; /* depth: pieces that keep the devices busy */
    pthread_t readers[READERS_MAX];
    uint32_t n_readers;
    pthread_mutex_t lock; /* of what follows, of slots' full, n_hashed and hashed, of passes' n_hashed and hashing */
    pthread_cond_t changed;
    uint64_t n_claimed, n_retired, n_pieces; /* piece number n is in slot n % n_slots */
    uint32_t next_pass;                      /* of the piece that is claimed next */
    uint64_t next_index;
    bool stop;
};

struct job {
    struct plan *plan;
    const struct model *model;
    const struct stats *stats;
    struct given *given; /* NULL: scales are made here */
    const struct quantize_options *opt;
    const struct quantize_again *again; /* NULL: a folder is written */
    const struct progress *pr;
    struct staging *staging;
    struct shard_layout layout;
    struct shard_writer **writers;  /* [n_shards], NULL when not open */
    bool *shard_done;               /* [n_shards] found complete from an earlier run */
    struct tensor_digests *digests; /* [n_outputs] */
    float *input_amax;              /* [n_items] */
    float *group_amax;              /* [n_groups], NaN until known */
    struct plan_workspace workspace;
    struct pass *passes;
    uint32_t n_passes;
    struct ring ring;
    const struct backend_ops *ops;
    uint64_t n_lost;                               /* blocks of the pass that is being written (quantize/lost.c) */
    float pass_amax;                               /* of the pass that is being collected */
    struct fp8_counts *pass_counts;                /* the same, where a scale is chosen by them; or NULL */
    struct sha256 *solved_hashes[QUANT_PARTS_MAX]; /* of what calibration solved, as it comes */
    struct sha256 *part_hashes[QUANT_PARTS_MAX];   /* of the pass that is being written; NULL for scalars */
    void *gathered[QUANT_PARTS_MAX];               /* parts of the weight that is being written on its side */
    uint32_t progress_item;                        /* items in front of it are done, with progress_bytes */
    uint64_t progress_bytes;
    struct quantize_result *result;
};

/* Digests are made without the statistics that the plan needs: what they alone know is left out. */
static inline bool job_lacks_stats(const struct job *j)
{
    return j->again && !j->stats && !j->given;
}

/* quantize/passes.c */
MUST_CHECK bool job_make_passes(struct job *j, struct error *err);
struct plan_cut pass_cut(const struct job *j, const struct pass *p);
const struct tensor_info *pass_source(const struct job *j, const struct pass *p);

/* quantize/lanes.c: the devices and the ring's lanes, in smaller pieces where a device's memory is short; fills
 * j->workspace and what the result says of devices. */
MUST_CHECK bool job_open_lanes(struct job *j, struct error *err);
void job_close_lanes(struct job *j); /* also after a failure */

/* quantize/reader.c */
MUST_CHECK bool job_start_readers(struct job *j, struct error *err);
void job_stop_readers(struct job *j);
/* Piece number n, when it has been read: waits for it, or returns NULL when `wait` is false and it has not. */
struct slot *job_piece(struct job *j, uint64_t n, bool wait);
void job_retired(struct job *j, uint64_t n);

/* quantize/hashing.c */
/* Hashes some of what has been read, and returns true; false when there is nothing that nobody is at. Called and
 * returns with the ring's lock, which it lets go meanwhile. */
bool ring_hash_some(struct job *j);
/* Adds to a hash of what is written, and to one of a source beside it. Called without the lock. */
void job_hash(struct job *j, struct sha256 *h, const void *data, size_t n);
/* Waits until the piece's source is hashed, and helps. */
void job_wait_hashed(struct job *j, const struct slot *s);
/* quantize/source.c: reads a piece of a quantized source into s->raw, and decodes it to BF16 in the lane. */
MUST_CHECK bool piece_read_quantized(const struct job *j, struct slot *s, struct error *err);
void piece_drop_raw(struct slot *s);

/* quantize/mxfp4_cast.c: scales: mxfp4_cast. What a piece adds to its group's g; codes and scales into the lane. */
bool piece_is_cast(const struct job *j, const struct slot *s);
MUST_CHECK bool piece_cast_amax(const struct job *j, const struct slot *s, float *amax, struct error *err);
void piece_cast(const struct slot *s, float g);

/* quantize/sideways.c: pieces of stacks whose blocks run along the columns; true when the piece is one. [rows, cols] to
 * [cols, rows]. */
bool is_sideways(const struct job *j, const struct slot *s);
void turn_rows(const uint8_t *from, uint64_t rows, uint64_t cols, uint64_t elem, uint8_t *to);
MUST_CHECK bool turn_in_place(uint8_t *data, uint64_t rows, uint64_t cols, uint64_t elem, struct error *err);
/* Reads a piece into s->raw and turns it into the lane. */
MUST_CHECK bool piece_read_sideways(const struct job *j, struct slot *s, struct error *err);

/* quantize/encode.c: one piece through its steps. */
MUST_CHECK bool piece_measure(struct job *j, struct slot *s, struct error *err);
MUST_CHECK bool piece_collect(struct job *j, struct slot *s, struct error *err);
MUST_CHECK bool piece_encode(struct job *j, struct slot *s, struct error *err);
MUST_CHECK bool piece_retire(struct job *j, struct slot *s, struct error *err);
/* quantize/solved.c: what calibration has solved. Shapes are checked before the first piece, digests behind the last.
 */
bool job_is_solved(const struct job *j, uint32_t item);
MUST_CHECK bool job_check_solved(const struct job *j, struct error *err);
MUST_CHECK bool piece_take_solved(struct job *j, const struct slot *s, struct error *err);
/* NULL, with an error, when the statistics have none. */
const struct solved_tensor *job_find_solved(const struct job *j, uint32_t item, enum tensor_part part,
                                            struct error *err);
/* quantize/solved_stack.c: the same of a stack of experts, whose pieces are one expert each. */
MUST_CHECK bool piece_take_stack(const struct job *j, const struct slot *s, struct error *err);
/* At the end of a pass; of others it is true. */
MUST_CHECK bool job_believe_solved(struct job *j, const struct pass *p, struct error *err);
/* quantize/folded.c: scales per channel. Vectors are checked before the first piece. */
bool piece_is_folded(const struct job *j, const struct pass *p);
MUST_CHECK bool job_check_folds(const struct job *j, struct error *err);
/* An item's pre_quant_scale, where one is written; else true. */
MUST_CHECK bool job_write_pre_scale(struct job *j, uint32_t item, struct error *err);
/* Reads a piece into s->raw, and as it is with its scales into the lane. */
MUST_CHECK bool piece_read_folded(const struct job *j, struct slot *s, struct error *err);
/* quantize/lost.c: ERR_FORMAT for a block of a written piece that was not zero and is. Before piece_repack. */
MUST_CHECK bool piece_check_lost(struct job *j, const struct slot *s, struct error *err);
/* quantize/repack.c: an encoded piece in its layout's order; weights that lie on their side are put together, and
 * written with their last piece. */
MUST_CHECK bool piece_repack(struct job *j, struct slot *s, struct error *err);
MUST_CHECK bool piece_gather(struct job *j, struct slot *s, struct error *err);
/* quantize/gain.c: adds up what was gained over scales: max, when the piece's results are there. */
MUST_CHECK bool piece_gain(struct job *j, const struct slot *s, struct error *err);
/* quantize/scalars.c: what stands behind a weight; weight_scale and weight_scale_2, input_scale, k_scale, v_scale. */
MUST_CHECK bool job_weight_scale(struct job *j, uint32_t item, float *g, float *scale, struct error *err);
MUST_CHECK bool job_write_scalars(struct job *j, uint32_t item, struct error *err);
MUST_CHECK bool job_write_cache_scale(struct job *j, uint32_t item, struct error *err);

/* quantize/pipeline.c: all pieces. */
MUST_CHECK bool job_stream(struct job *j, struct error *err);

/* quantize/files.c: config.json, hf_quant_config.json, ingot.json, and every other file of the source byte for byte. */
MUST_CHECK bool job_write_files(struct job *j, struct error *err);
/* quantize/audit.c: source, plan and what was written agree, tensor by tensor and entry by entry. */
MUST_CHECK bool job_audit(struct job *j, struct error *err);
/* quantize/shards.c: bytes of output o from `offset` on; ignored when its shard is done already. */
MUST_CHECK bool job_write(struct job *j, uint32_t output, uint64_t offset, const void *data, size_t n,
                          struct error *err);
bool job_needs_item(const struct job *j, uint32_t i); /* false when all its outputs are in finished shards */
MUST_CHECK bool job_shards_open(struct job *j, struct error *err); /* layout; what an earlier run finished */
MUST_CHECK bool job_shards_done_before(struct job *j, uint32_t output,
                                       struct error *err); /* commits shards that end before output */
void job_shards_close(struct job *j);

#endif
