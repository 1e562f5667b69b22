/* Hashing of sources and of what is written. The hash of one tensor is a chain of its pieces, but two chains side by
 * side cost hardly more than one (core/crypto.h): whoever hashes takes a piece of a second tensor along when one has
 * been read. Which two meet is chance; each chain has its order, so no digest shows it. */
#include "quantize/job.h"

#include "core/bytes.h"

/* So much of one tensor alone, then another look for a second one. */
#define ALONE_BYTES ((uint64_t)512 << 10)

/* A stretch of a slot's source that nobody hashes: its pass is marked as taken. */
struct stretch {
    struct slot *slot;
    const uint8_t *data;
    uint64_t bytes;
};

static uint64_t source_bytes(const struct slot *s)
{
    return s->raw ? s->raw_bytes : s->bytes;
}

/* The oldest piece that can be hashed now. */
static bool take_stretch(struct ring *r, struct stretch *out)
{
    for (uint64_t n = r->n_retired; n < r->n_claimed && n < r->n_retired + r->n_slots; n++) {
        struct slot *s = &r->slots[n % r->n_slots];
        struct pass *p = s->pass;
        if (!s->full || s->hashed || p->hashing || p->n_hashed != s->index) continue;
        p->hashing = true;
        const uint8_t *data = s->raw ? s->raw : s->lane->src;
        *out = (struct stretch){s, data + s->n_hashed, source_bytes(s) - s->n_hashed};
        return true;
    }
    return false;
}

static void give_back(struct job *j, struct stretch *t, uint64_t n)
{
    struct ring *r = &j->ring;
    struct slot *s = t->slot;
    s->n_hashed += n;
    s->pass->hashing = false;
    s->hashed = s->n_hashed == source_bytes(s);
    if (s->hashed) s->pass->n_hashed++;
    if (s->hashed && !piece_is_cast(j, s)) piece_drop_raw(s);
    pthread_cond_broadcast(&r->changed);
}

bool ring_hash_some(struct job *j)
{
    struct ring *r = &j->ring;
    struct stretch a, b;
    if (!take_stretch(r, &a)) return false;
    bool two = take_stretch(r, &b);
    uint64_t n = u64_min(a.bytes, two ? b.bytes : ALONE_BYTES);
    pthread_mutex_unlock(&r->lock);
    if (two) sha256_add_pair(a.slot->pass->hash, a.data, n, b.slot->pass->hash, b.data, n);
    else sha256_add(a.slot->pass->hash, a.data, n);
    pthread_mutex_lock(&r->lock);
    give_back(j, &a, n);
    if (two) give_back(j, &b, n);
    return true;
}

void job_hash(struct job *j, struct sha256 *h, const void *data, size_t n)
{
    struct ring *r = &j->ring;
    struct stretch a;
    pthread_mutex_lock(&r->lock);
    bool two = n && take_stretch(r, &a);
    pthread_mutex_unlock(&r->lock);
    if (!two) {
        sha256_add(h, data, n);
        return;
    }
    uint64_t k = u64_min(a.bytes, n);
    sha256_add_pair(h, data, n, a.slot->pass->hash, a.data, k);
    pthread_mutex_lock(&r->lock);
    give_back(j, &a, k);
    pthread_mutex_unlock(&r->lock);
}

void job_wait_hashed(struct job *j, const struct slot *s)
{
    struct ring *r = &j->ring;
    pthread_mutex_lock(&r->lock);
    while (!s->hashed)
        if (!ring_hash_some(j)) pthread_cond_wait(&r->changed, &r->lock);
    pthread_mutex_unlock(&r->lock);
}
