/* Who computes. One row per backend in backends[]; a stage asks for one by name and never knows which it got.
 *
 * The unit of work is a lane: one piece of a tensor on its way through a device. The caller fills lane->src, submits a
 * few steps, does something else, waits, and reads the results. Several lanes of one device work at the same time, so a
 * caller that keeps two or three busy keeps disk, link and device busy. On the CPU submit() does the work before it
 * returns, with all threads of the pool, and one lane is enough.
 *
 * Threads: all calls of one opened backend and of its lanes come from the thread that opened it. Only lane->src may be
 * filled by another one, between wait and submit.
 *
 * Every backend gives the same bytes as the scalar CPU kernel of the operation (docs/numerics.md); which one computed
 * is never visible in an output.
 *
 * Errors: ERR_DEVICE (exit 7) with the device's name and what failed; when its memory is too small, how much is needed
 * and how much there is. After an error of a lane the backend can only be closed. */
#ifndef BACKENDS_BACKEND_H
#define BACKENDS_BACKEND_H

#include "backends/kernel_args.h"
#include "core/error.h"
#include "core/pool.h"

#define LANE_STEPS_MAX 4u

struct backend; /* one opened device */

/* What a backend is opened with; each takes what it needs. */
struct backend_config {
    struct pool *pool; /* CPU: who shares a piece's rows; NULL: the caller alone */
    uint64_t isa;      /* CPU: instruction sets (backends/cpu/kernel.h) */
};

struct backend_device {
    char name[128];          /* "NVIDIA H200", "AVX-512" */
    uint64_t memory, unused; /* bytes of the device's own memory, and how much of it is free now; 0: the host's */
};

/* Room of one lane, in bytes; 0 where a caller never uses it. */
struct lane_sizes {
    uint64_t src, dst, dst_scale, dst_f32, block_amax;
};

/* Host memory of one piece, page-locked where that pays. A backend's own struct begins with it. */
struct lane {
    const struct backend_ops *ops;
    struct lane_sizes sizes;
    uint8_t *src; /* the caller fills it before submit, may read it at any time, and changes it only after wait */
    uint8_t *dst; /* results: valid between wait and the next submit */
    uint8_t *dst_scale;
    float *dst_f32;
};

/* One operation of a submit. The pointers in args are not looked at: the lane knows them. SWEEP leaves its maxima in
 * the lane, where a later ENCODE_NVFP4_STATIC of the same submit finds them; they do not travel (FOUR_SIX likewise).
 * AMAX leaves one float per row in dst_f32. Decoders find their scales in src too, behind the codes at the next
 * multiple of LANE_ALIGN: floats or bytes; where there are both, the bytes behind the floats in the same way. */
struct lane_step {
    enum op op;
    struct kernel_args args;
};

#define LANE_ALIGN 256u

static inline uint64_t lane_align(uint64_t bytes)
{
    return (bytes + LANE_ALIGN - 1) / LANE_ALIGN * LANE_ALIGN;
}

/* Where the block scales of a packed NVFP4 source lie. */
static inline uint64_t lane_src_scale_at(const struct kernel_args *a)
{
    return lane_align(a->n_rows * a->n_cols / 2);
}

struct backend_ops {
    const char *name; /* "cpu", "cuda" */
    /* How many devices can be used; when 0, *why_not is one sentence without a full stop. Never fails, never starts
     * anything that is costly to stop. */
    uint32_t (*devices)(char *why_not, size_t why_size);
    bool (*has_op)(enum op op);
    bool (*open)(struct backend **out, uint32_t device, const struct backend_config *config, struct error *err);
    void (*close)(struct backend *be); /* after its lanes; NULL is fine */
    bool (*describe)(struct backend *be, struct backend_device *out, struct error *err);
    uint32_t lanes; /* how many a caller should keep busy */
    bool (*lane_open)(struct lane **out, struct backend *be, const struct lane_sizes *sizes, struct error *err);
    void (*lane_close)(struct lane *l); /* waits first; NULL is fine */
    /* upload false: the source is that of the lane's last submit (its first bytes), which is still on the device. */
    bool (*submit)(struct lane *l, const struct lane_step *steps, uint32_t n_steps, bool upload, struct error *err);
    bool (*wait)(struct lane *l, struct error *err); /* true at once when nothing was submitted */
};

/* The list, from the one that "auto" tries first; ends with NULL. "cpu" is its last and always has a device. */
extern const struct backend_ops *const backends[];
extern const struct backend_ops backend_cpu;  /* backends/cpu/backend_cpu.c */
extern const struct backend_ops backend_cuda; /* backends/cuda/; without a compiler for it, none.c there */

/* What a word chose: devices first .. first + n - 1 of a row of the list. */
struct backend_choice {
    const struct backend_ops *ops;
    uint32_t first, n;
    bool is_auto; /* nobody named it: where it lacks a kernel or cannot be opened, the caller may take the CPU */
};

/* "auto" (or NULL): the first of the list that has a device; a name: that one, ERR_DEVICE with its reason when it has
 * none. Both mean all its devices; "name:N" is its device N alone, ERR_DEVICE when there are fewer. ERR_USAGE for a
 * word that is not in the list. */
MUST_CHECK bool backend_find(const char *word, struct backend_choice *out, struct error *err);

#endif
