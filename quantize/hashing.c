/* Hashing of sources and of what is written. The hash of one tensor is a chain of its pieces, but two chains side by
 * side cost hardly more than one (core/crypto.h): whoever hashes takes a stretch of a second chain along when there is
 * one. Which two meet is chance; each chain has its order, so no digest shows it. */
#include "quantize/job.h"

#include "core/bytes.h"

/* So much of one chain alone, then another look for a second one. */
#define ALONE_BYTES ((uint64_t)512 << 10)

void slot_to_hash(struct slot *s, struct chain *chain, const void *data, uint64_t n)
{
    s->stretches[s->n_stretches++] = (struct stretch){.chain = chain, .data = data, .bytes = n};
    s->n_unhashed++;
}

/* A stretch that nobody is at: its chain is marked as taken. */
struct taken {
    struct slot *slot;
    struct stretch *of;
    const uint8_t *data;
    uint64_t bytes;
};

/* The oldest that can be hashed now. */
static bool take(struct ring *r, struct taken *out)
{
    for (uint64_t n = r->n_closed; n < r->n_claimed && n < r->n_closed + r->n_slots; n++) {
        struct slot *s = &r->slots[n % r->n_slots];
        for (uint32_t k = 0; s->full && s->n_unhashed && k < s->n_stretches; k++) {
            struct stretch *t = &s->stretches[k];
            if (t->done || t->chain->taken || t->chain->n_hashed != s->index) continue;
            t->chain->taken = true;
            *out = (struct taken){s, t, t->data + t->at, t->bytes - t->at};
            return true;
        }
    }
    return false;
}

static void give_back(struct job *j, struct taken *t, uint64_t n)
{
    struct slot *s = t->slot;
    t->of->at += n;
    t->of->chain->taken = false;
    t->of->done = t->of->at == t->of->bytes;
    if (t->of->done) {
        t->of->chain->n_hashed++;
        s->n_unhashed--;
        if (t->of == s->stretches && !piece_is_cast(j, s)) piece_drop_raw(s);
    }
    pthread_cond_broadcast(&j->ring.changed);
}

bool ring_hash_some(struct job *j)
{
    struct ring *r = &j->ring;
    struct taken a, b;
    if (!take(r, &a)) return false;
    bool two = take(r, &b);
    uint64_t n = u64_min(a.bytes, two ? b.bytes : ALONE_BYTES);
    pthread_mutex_unlock(&r->lock);
    if (two) sha256_add_pair(a.of->chain->hash, a.data, n, b.of->chain->hash, b.data, n);
    else sha256_add(a.of->chain->hash, a.data, n);
    pthread_mutex_lock(&r->lock);
    give_back(j, &a, n);
    if (two) give_back(j, &b, n);
    return true;
}

void job_hash(struct job *j, struct slot *s, struct chain *chain, const void *data, uint64_t n)
{
    pthread_mutex_lock(&j->ring.lock);
    slot_to_hash(s, chain, data, n);
    pthread_cond_broadcast(&j->ring.changed);
    pthread_mutex_unlock(&j->ring.lock);
}

bool job_is_hashed(struct job *j, const struct slot *s)
{
    pthread_mutex_lock(&j->ring.lock);
    bool is = s->n_unhashed == 0;
    pthread_mutex_unlock(&j->ring.lock);
    return is;
}

static void wait_for(struct job *j, const struct slot *s, bool source)
{
    struct ring *r = &j->ring;
    pthread_mutex_lock(&r->lock);
    while (source ? s->n_stretches && !s->stretches[0].done : s->n_unhashed > 0)
        if (!ring_hash_some(j)) pthread_cond_wait(&r->changed, &r->lock);
    pthread_mutex_unlock(&r->lock);
}

void job_wait_source(struct job *j, const struct slot *s)
{
    wait_for(j, s, true);
}

void job_wait_hashed(struct job *j, const struct slot *s)
{
    wait_for(j, s, false);
}
