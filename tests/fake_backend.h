/* A backend that behaves like a GPU without being one: each device is a thread that takes submits in order, after a
 * delay, and computes with the CPU backend in memory of its own. It is strict: results are garbage until they are waited
 * for, the source is copied late, and every breach of backends/backend.h is counted. Failures can be ordered. */
#ifndef TESTS_FAKE_BACKEND_H
#define TESTS_FAKE_BACKEND_H

#include "backends/backend.h"
#include "backends/cpu/kernel.h"
#include "tests/checks.h"

#include <pthread.h>
#include <stdatomic.h>

#define FAKE_DEVICES_MAX 8u
#define FAKE_QUEUE 64u

/* What the test orders (0: nothing; counts begin with 1), and what it is told afterwards. */
static struct fake {
    uint32_t n_devices, delay_us;             /* longest delay of a submit */
    uint32_t fail_open, fail_lane, fail_submit, fail_wait;
    uint64_t lane_src_max;                    /* a lane with more room for its source is out of memory */
    enum op lacks;                            /* OP_COUNT: no operation */
    /* told */
    uint32_t opens, lane_opens, submits, waits, uploads, breaches;
    uint32_t open_devices, open_lanes, lanes_most;
    uint32_t used[FAKE_DEVICES_MAX];          /* submits per device */
    const char *breach;                       /* the last one */
} fake;

static void fake_breach(const char *what)
{
    fake.breaches++;
    fake.breach = what;
}

struct fake_lane {
    struct lane lane;
    struct backend *device;
    struct lane *memory; /* the device's side */
    struct lane_step steps[LANE_STEPS_MAX];
    uint32_t n_steps;
    bool upload, busy, has_source; /* busy: submitted and not waited for */
    bool done;                     /* the device is through; under its lock */
};

struct backend {
    uint32_t number;
    bool failed;
    pthread_t opener, thread;
    struct backend *cpu;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct fake_lane *queue[FAKE_QUEUE];
    uint32_t n_queued;
    bool closing;
};

/* The CPU backend has a struct of the same name: its pointers pass through here unlooked at. */
static void fake_compute(struct fake_lane *l)
{
    struct error e = ERROR_INIT;
    if (l->upload) memcpy(l->memory->src, l->lane.src, l->lane.sizes.src);
    if (!backend_cpu.submit(l->memory, l->steps, l->n_steps, true, &e)) fake_breach("steps that the CPU refuses");
    memcpy(l->lane.dst, l->memory->dst, l->lane.sizes.dst);
    memcpy(l->lane.dst_scale, l->memory->dst_scale, l->lane.sizes.dst_scale);
    memcpy(l->lane.dst_f32, l->memory->dst_f32, l->lane.sizes.dst_f32);
}

static void *fake_main(void *arg)
{
    struct backend *be = arg;
    uint64_t seed = be->number;
    pthread_mutex_lock(&be->lock);
    for (;;) {
        while (!be->n_queued && !be->closing) pthread_cond_wait(&be->changed, &be->lock);
        if (!be->n_queued) break;
        struct fake_lane *l = be->queue[0];
        memmove(be->queue, be->queue + 1, --be->n_queued * sizeof *be->queue);
        pthread_mutex_unlock(&be->lock);
        if (fake.delay_us) usleep((useconds_t)(check_random(&seed) % fake.delay_us));
        fake_compute(l);
        pthread_mutex_lock(&be->lock);
        l->done = true;
        pthread_cond_broadcast(&be->changed);
    }
    pthread_mutex_unlock(&be->lock);
    return NULL;
}

static uint32_t fake_devices(char *why_not, size_t why_size)
{
    if (!fake.n_devices) snprintf(why_not, why_size, "nobody made one");
    return fake.n_devices;
}

static bool fake_has_op(enum op op)
{
    return op != fake.lacks;
}

static bool fake_open(struct backend **out, uint32_t device, const struct backend_config *config, struct error *err)
{
    (void)config;
    *out = NULL;
    if (device >= fake.n_devices) fake_breach("a device that is not there");
    if (++fake.opens == fake.fail_open) return error_set(err, ERR_DEVICE, "fake device %u: is asleep", device);
    struct backend *be = calloc(1, sizeof *be);
    be->number = device;
    be->opener = pthread_self();
    CHECK_OK(backend_cpu.open(&be->cpu, 0, &(struct backend_config){.isa = isa_detected()}, e_));
    pthread_mutex_init(&be->lock, NULL);
    pthread_cond_init(&be->changed, NULL);
    if (pthread_create(&be->thread, NULL, fake_main, be) != 0) fail_msg("no thread");
    fake.open_devices++;
    *out = be;
    return true;
}

static void fake_close(struct backend *be)
{
    if (!be) return;
    pthread_mutex_lock(&be->lock);
    if (be->n_queued) fake_breach("closed before its lanes");
    be->closing = true;
    pthread_cond_broadcast(&be->changed);
    pthread_mutex_unlock(&be->lock);
    pthread_join(be->thread, NULL);
    backend_cpu.close(be->cpu);
    pthread_cond_destroy(&be->changed);
    pthread_mutex_destroy(&be->lock);
    free(be);
    fake.open_devices--;
}

static bool fake_describe(struct backend *be, struct backend_device *out, struct error *err)
{
    (void)err;
    *out = (struct backend_device){.memory = (uint64_t)1 << 30};
    snprintf(out->name, sizeof out->name, "fake %u", be->number);
    return true;
}

static void fake_may_call(struct backend *be)
{
    if (!pthread_equal(be->opener, pthread_self())) fake_breach("called from another thread");
    if (be->failed) fake_breach("called after an error");
}

static void fake_settle(struct fake_lane *l)
{
    pthread_mutex_lock(&l->device->lock);
    while (l->busy && !l->done) pthread_cond_wait(&l->device->changed, &l->device->lock);
    pthread_mutex_unlock(&l->device->lock);
    l->busy = false;
}

static void fake_lane_close(struct lane *lane)
{
    if (!lane) return;
    struct fake_lane *l = (struct fake_lane *)lane;
    fake_settle(l);
    backend_cpu.lane_close(l->memory);
    free(lane->src);
    free(lane->dst);
    free(lane->dst_scale);
    free(lane->dst_f32);
    free(l);
    fake.open_lanes--;
}

static bool fake_lane_open(struct lane **out, struct backend *be, const struct lane_sizes *z, struct error *err)
{
    *out = NULL;
    fake_may_call(be);
    bool fails = ++fake.lane_opens == fake.fail_lane, full = fake.lane_src_max && z->src > fake.lane_src_max;
    if (fails || full) {
        be->failed = true;
        return error_set(err, ERR_DEVICE, "fake device %u: a lane needs %llu bytes, %llu are free", be->number,
                         (unsigned long long)z->src, (unsigned long long)fake.lane_src_max);
    }
    struct fake_lane *l = calloc(1, sizeof *l);
    *l = (struct fake_lane){.lane = {.sizes = *z}, .device = be};
    CHECK_OK(backend_cpu.lane_open(&l->memory, be->cpu, z, e_));
    l->lane.src = calloc(1, z->src + 1);
    l->lane.dst = calloc(1, z->dst + 1);
    l->lane.dst_scale = calloc(1, z->dst_scale + 1);
    l->lane.dst_f32 = calloc(1, z->dst_f32 + 4);
    if (++fake.open_lanes > fake.lanes_most) fake.lanes_most = fake.open_lanes;
    *out = &l->lane;
    return true;
}

static bool fake_submit(struct lane *lane, const struct lane_step *steps, uint32_t n, bool upload, struct error *err)
{
    struct fake_lane *l = (struct fake_lane *)lane;
    struct backend *be = l->device;
    fake_may_call(be);
    if (l->busy) fake_breach("submitted twice without a wait");
    if (n == 0 || n > LANE_STEPS_MAX) fake_breach("a wrong number of steps");
    if (!upload && !l->has_source) fake_breach("a source that was never uploaded");
    if (++fake.submits == fake.fail_submit) {
        be->failed = true;
        return error_set(err, ERR_DEVICE, "fake device %u: submit %u fell over", be->number, fake.submits);
    }
    fake.used[be->number]++;
    fake.uploads += upload;
    memcpy(l->steps, steps, n * sizeof *steps);
    l->n_steps = n;
    l->upload = upload;
    l->busy = l->has_source = true;
    l->done = false;
    memset(lane->dst, 0xAA, lane->sizes.dst);
    memset(lane->dst_scale, 0xAA, lane->sizes.dst_scale);
    memset(lane->dst_f32, 0x7f, lane->sizes.dst_f32);
    pthread_mutex_lock(&be->lock);
    be->queue[be->n_queued++] = l;
    pthread_cond_broadcast(&be->changed);
    pthread_mutex_unlock(&be->lock);
    return true;
}

static bool fake_wait(struct lane *lane, struct error *err)
{
    struct fake_lane *l = (struct fake_lane *)lane;
    fake_may_call(l->device);
    fake_settle(l);
    if (++fake.waits != fake.fail_wait) return true;
    l->device->failed = true;
    return error_set(err, ERR_DEVICE, "fake device %u: wait %u: the kernel failed", l->device->number, fake.waits);
}

static const struct backend_ops backend_fake = {
    .name = "fake",
    .devices = fake_devices,
    .has_op = fake_has_op,
    .open = fake_open,
    .close = fake_close,
    .describe = fake_describe,
    .lanes = 3,
    .lane_open = fake_lane_open,
    .lane_close = fake_lane_close,
    .submit = fake_submit,
    .wait = fake_wait,
};

#endif
