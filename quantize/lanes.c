/* Devices and lanes of a run. */
#include "quantize/job.h"

#include "core/bytes.h"
#include "core/memory.h"
#include "core/text.h"
#include "plan/scale_method.h"

#define PIECE_BYTES_MIN ((uint64_t)1 << 20) /* below this, calls cost more than they carry */

static const struct backend_choice only_cpu = {.ops = &backend_cpu, .n = 1};

static struct lane_sizes sizes_of(const struct plan_workspace *w)
{
    return (struct lane_sizes){
        .src = w->src, .dst = w->dst, .dst_scale = w->dst_scale, .dst_f32 = w->dst_f32, .block_amax = w->block_amax};
}

/* The operations that the plan needs. */
static bool has_ops(const struct job *j, const struct backend_ops *ops, enum op *missing)
{
    for (uint32_t i = 0; i < j->plan->n_items; i++) {
        const struct plan_item *item = &j->plan->items[i];
        if (item->action != ACTION_QUANTIZE) continue;
        enum op chooses = plan_item_scale_op(item);
        const enum op wanted[] = {OP_AMAX, chooses == OP_COUNT ? OP_AMAX : chooses,
                                  chooses == OP_COUNT ? quant_format_encoder(item->format, item->zero)
                                                      : OP_ENCODE_NVFP4_STATIC};
        for (size_t k = 0; k < sizeof wanted / sizeof *wanted; k++) {
            *missing = wanted[k];
            if (!ops->has_op(wanted[k])) return false;
        }
    }
    return true;
}

static bool choose(struct job *j, struct backend_choice *out, struct error *err)
{
    enum op missing;
    *out = j->opt->backend.ops ? j->opt->backend : only_cpu;
    if (has_ops(j, out->ops, &missing)) return true;
    if (!out->is_auto)
        return error_set(err, ERR_UNSUPPORTED,
                         "backend '%s' has no kernel for operation %d of this plan; --backend cpu has", out->ops->name,
                         (int)missing);
    progress_note(j->pr, "quantize", "backend '%s' lacks a kernel that this plan needs: on the CPU", out->ops->name);
    *out = only_cpu;
    return true;
}

/* Slots go round the devices. */
static bool open_lanes(struct job *j, const struct backend_choice *b, struct error *err)
{
    struct ring *r = &j->ring;
    struct lane_sizes sizes = sizes_of(&j->workspace);
    uint32_t share = j->workspace.n_lanes / b->ops->lanes, room = sizeof r->devices / sizeof *r->devices;
    uint32_t n = b->n < share ? b->n : share ? share : 1;
    if (n > room) n = room;
    struct backend_config config = {.pool = j->opt->pool, .isa = j->opt->isa};
    for (uint32_t i = 0; i < n; i++) {
        if (!b->ops->open(&r->devices[i], b->first + i, &config, err)) return false;
        r->n_devices++;
    }
    r->depth = n * b->ops->lanes;
    if (!memory_zalloc(&r->slots, j->workspace.n_lanes, sizeof *r->slots, err)) return false;
    r->n_slots = j->workspace.n_lanes;
    for (uint32_t i = 0; i < r->n_slots; i++)
        if (!b->ops->lane_open(&r->slots[i].lane, r->devices[i % n], &sizes, err)) return false;
    return true;
}

static bool describe(struct job *j, struct error *err)
{
    struct backend_device d;
    struct quantize_result *result = j->result;
    if (!j->ops->describe(j->ring.devices[0], &d, err)) return false;
    result->backend = j->ops->name;
    result->n_devices = j->ring.n_devices;
    result->piece_bytes = j->workspace.piece_bytes;
    snprintf(result->device, sizeof result->device, "%s", d.name);
    if (j->ops != &backend_cpu)
        progress_note(j->pr, "quantize", "on %u x %s, pieces of %llu KiB", result->n_devices, result->device,
                      (unsigned long long)j->workspace.piece_bytes >> 10);
    return true;
}

/* How much of each device's memory the lanes take; an error of opening the smallest ones says it. */
static bool too_small(const struct job *j, uint32_t n_devices, struct error *err)
{
    char needs[32];
    text_bytes(needs, u64_div_up(j->workspace.n_lanes, n_devices) *
                          (plan_workspace_bytes(&j->workspace) / j->workspace.n_lanes));
    return error_wrap(err, "quantize needs %s of each device's memory for its smallest pieces", needs);
}

/* In smaller pieces when the devices open, but have no room for the lanes. After a failure nothing is open. */
static bool open_backend(struct job *j, const struct backend_choice *b, struct error *err)
{
    uint64_t piece = j->opt->piece_bytes ? j->opt->piece_bytes : PLAN_PIECE_BYTES;
    uint64_t hold = j->opt->hold_bytes ? j->opt->hold_bytes : PLAN_HOLD_BYTES;
    j->ops = b->ops;
    for (;; piece /= 2, hold /= 2) {
        struct error e = ERROR_INIT;
        j->workspace = plan_workspace_for(j->plan, piece, hold);
        bool lanes = open_lanes(j, b, &e);
        if (lanes && describe(j, &e)) return true;
        bool no_room = !lanes && j->ring.n_slots > 0 && e.code == ERR_DEVICE;
        uint32_t n_devices = j->ring.n_devices;
        job_close_lanes(j);
        if (no_room && piece / 2 >= PIECE_BYTES_MIN) continue;
        if (no_room) too_small(j, n_devices, &e);
        if (err) *err = e;
        return false;
    }
}

bool job_open_lanes(struct job *j, struct error *err)
{
    struct backend_choice b;
    struct error e = ERROR_INIT;
    if (!choose(j, &b, err)) return false;
    if (open_backend(j, &b, &e)) return true;
    if (b.is_auto && b.ops != &backend_cpu && e.code == ERR_DEVICE) { /* nobody asked for it */
        progress_note(j->pr, "quantize", "on the CPU, because: %s", e.text);
        return open_backend(j, &only_cpu, err);
    }
    if (err) *err = e;
    return false;
}

void job_close_lanes(struct job *j)
{
    struct ring *r = &j->ring;
    for (uint32_t i = 0; i < r->n_slots; i++) {
        piece_drop_raw(&r->slots[i]);
        j->ops->lane_close(r->slots[i].lane);
    }
    for (uint32_t i = 0; i < r->n_devices; i++) j->ops->close(r->devices[i]);
    free(r->slots);
    r->slots = NULL;
    r->n_slots = r->n_devices = 0;
}
