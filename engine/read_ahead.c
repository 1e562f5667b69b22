#include "engine/read_ahead.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <unistd.h>

#define STEP_BYTES ((uint64_t)8 << 20) /* so long does a close wait */

struct range {
    int fd;
    uint64_t offset, bytes;
};

struct read_ahead {
    const struct inventory *inv;
    struct range *ranges; /* of the block at hand */
    uint32_t n, capacity;
    bool experts;
    int nowhere; /* /dev/null, or -1 */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t allowed; /* under lock: blocks up to this one */
    bool stop;        /* under lock */
};

static bool stopped(struct read_ahead *r)
{
    pthread_mutex_lock(&r->lock);
    bool stop = r->stop;
    pthread_mutex_unlock(&r->lock);
    return stop;
}

/* False when it is time to end. */
static bool wait_for(struct read_ahead *r, uint32_t block)
{
    pthread_mutex_lock(&r->lock);
    while (!r->stop && r->allowed < block) pthread_cond_wait(&r->changed, &r->lock);
    bool go = !r->stop;
    pthread_mutex_unlock(&r->lock);
    return go;
}

static bool in_block(const struct model_config *cfg, const struct model_tensor *t, uint32_t block)
{
    if (block == cfg->n_blocks) return t->place.role == ROLE_LM_HEAD || (t->place.role == ROLE_EMBED && cfg->tied_head);
    return t->place.block == (int32_t)block && !t->place.mtp;
}

static bool add_range(struct read_ahead *r, const struct tensor_info *info)
{
    struct error ignored = ERROR_INIT;
    struct range g = {.bytes = info->bytes};
    if (r->n == r->capacity) {
        uint32_t capacity = r->capacity ? 2 * r->capacity : 64;
        struct range *grown = realloc(r->ranges, capacity * sizeof *grown);
        if (!grown) return false;
        r->ranges = grown;
        r->capacity = capacity;
    }
    if (!folder_place(checkpoint_folder(r->inv->checkpoint), info->member, &g.fd, &g.offset, &ignored)) return false;
    g.offset += info->offset;
    r->ranges[r->n++] = g;
    return true;
}

static bool list_block(struct read_ahead *r, uint32_t block)
{
    r->n = 0;
    for (uint32_t i = 0; i < r->inv->n_tensors; i++) {
        const struct model_tensor *t = &r->inv->tensors[i];
        if (!in_block(&r->inv->config, t, block) || (t->place.expert >= 0 && !r->experts)) continue;
        for (int part = 0; part < PART_COUNT; part++)
            if (t->parts[part] != NAME_NONE && !add_range(r, checkpoint_tensor(r->inv->checkpoint, t->parts[part])))
                return false;
    }
    return true;
}

/* Into the page cache. A plain read brings large pieces and goes on in larger ones, where advice brings single pages
 * (half as fast, measured); sent to where nothing is kept, not a byte is copied. */
static void fetch(const struct read_ahead *r, int fd, uint64_t offset, uint64_t bytes)
{
    off_t at = (off_t)offset;
    uint64_t done = 0;
    while (r->nowhere >= 0 && done < bytes) {
        ssize_t n = sendfile(r->nowhere, fd, &at, (size_t)(bytes - done));
        if (n <= 0) break;
        done += (uint64_t)n;
    }
    if (done < bytes) (void)posix_fadvise(fd, (off_t)(offset + done), (off_t)(bytes - done), POSIX_FADV_WILLNEED);
}

static void *work(void *arg)
{
    struct read_ahead *r = arg;
    for (uint32_t block = 0; block <= r->inv->config.n_blocks; block++) {
        if (!wait_for(r, block) || !list_block(r, block)) return NULL;
        for (uint32_t i = 0; i < r->n; i++)
            for (uint64_t at = 0; at < r->ranges[i].bytes; at += STEP_BYTES) {
                uint64_t n = u64_min(STEP_BYTES, r->ranges[i].bytes - at);
                if (stopped(r)) return NULL;
                fetch(r, r->ranges[i].fd, r->ranges[i].offset + at, n);
            }
    }
    return NULL;
}

static bool wants_experts(const struct inventory *inv, uint64_t n_rows)
{
    return n_rows * inv->config.moe.top_k >= inv->config.moe.n_experts;
}

uint64_t read_ahead_bytes(const struct inventory *inv, uint64_t n_rows, uint32_t block)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < inv->n_tensors; i++) {
        const struct model_tensor *t = &inv->tensors[i];
        if (!in_block(&inv->config, t, block) || (t->place.expert >= 0 && !wants_experts(inv, n_rows))) continue;
        for (int part = 0; part < PART_COUNT; part++)
            if (t->parts[part] != NAME_NONE) sum += checkpoint_tensor(inv->checkpoint, t->parts[part])->bytes;
    }
    return sum;
}

struct read_ahead *read_ahead_open(const struct inventory *inv, uint64_t n_rows)
{
    struct read_ahead *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    *r = (struct read_ahead){.inv = inv,
                             .experts = wants_experts(inv, n_rows),
                             .nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC),
                             .lock = PTHREAD_MUTEX_INITIALIZER,
                             .changed = PTHREAD_COND_INITIALIZER};
    if (pthread_create(&r->thread, NULL, work, r) == 0) return r;
    if (r->nowhere >= 0) close(r->nowhere);
    free(r);
    return NULL;
}

void read_ahead_allow(struct read_ahead *r, uint32_t block)
{
    if (!r) return;
    pthread_mutex_lock(&r->lock);
    if (block > r->allowed) r->allowed = block;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

void read_ahead_close(struct read_ahead *r)
{
    if (!r) return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    if (r->nowhere >= 0) close(r->nowhere);
    free(r->ranges);
    free(r);
}
