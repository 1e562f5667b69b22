/* model_weights.ckpt: one file of torch.save, or one for each rank: mp_rank_TT, tp_rank_TT_pp_rank_PPP. Ranks of tensor
 * parallelism have parts of each matrix; ranks of pipeline parallelism have layers, counted from 0 in each. */
#include "formats/megatron.h"

#include <stdio.h>

#define WEIGHTS "model_weights.ckpt"
#define RANKS_MAX 4096u

struct rank {
    uint32_t member, tp, pp;
};

static bool rank_of(const char *name, uint32_t *tp, uint32_t *pp)
{
    int end = 0;
    *tp = *pp = 0;
    const char *file = strrchr(name, '/');
    if (strcmp(file ? file + 1 : name, WEIGHTS) != 0) return false;
    if (!file) return true;
    if (sscanf(name, "tp_rank_%4u_pp_rank_%4u/%n", tp, pp, &end) == 2 && name + end == file + 1) return true;
    *pp = 0;
    end = 0;
    if (sscanf(name, "mp_rank_%4u_%4u/%n", tp, pp, &end) == 2 && name + end == file + 1) return true;
    *pp = 0;
    end = 0;
    return sscanf(name, "mp_rank_%4u/%n", tp, &end) == 1 && name + end == file + 1;
}

bool mega_shards_probe(const struct folder *f)
{
    uint32_t tp, pp;
    for (uint32_t i = 0; i < folder_count(f); i++)
        if (rank_of(folder_name(f, i), &tp, &pp)) return true;
    return false;
}

struct shards {
    struct mega_set *set;
    const struct folder *folder;
    struct checkpoint *ck;
    const struct mega_config *c;
    uint32_t n_tp, n_pp;
    uint64_t first_layer; /* of this pipeline rank */
    struct error *err;
};

/* Where this rank's part of an array lies in the whole; gate and up are each cut, so a rank has two parts of them. */
static bool add_part(struct shards *s, const struct torch_tensor *t, const char *name, uint32_t tp, int cut,
                     bool halves)
{
    struct mega_array whole = {.name = name, .dtype = t->dtype, .n_dims = t->n_dims};
    struct mega_chunk c = {.part = *t};
    memcpy(whole.dims, t->dims, sizeof whole.dims);
    if (cut >= 0 && (uint32_t)cut < t->n_dims && !u64_mul(t->dims[cut], s->n_tp, &whole.dims[cut]))
        return error_set(s->err, ERR_FORMAT, "tensor '%.256s': its size over all ranks overflows", name);
    struct mega_array *a = mega_set_array(s->set, &whole, s->err);
    if (!a) return false;
    if (a->n_dims != whole.n_dims || memcmp(a->dims, whole.dims, sizeof a->dims) != 0)
        return error_set(s->err, ERR_FORMAT, "tensor '%.256s' has other sizes in other ranks", name);
    if (cut < 0 || (uint32_t)cut >= t->n_dims) return tp || mega_add_chunk(s->set, a, &c, s->err);
    uint64_t n = t->dims[cut];
    if (!halves || s->n_tp == 1) {
        c.at[cut] = tp * n;
        return mega_add_chunk(s->set, a, &c, s->err);
    }
    if (n % 2) return error_set(s->err, ERR_FORMAT, "tensor '%.256s' has an odd number of rows", name);
    for (uint64_t k = 0; k < 2; k++) {
        c.part.dims[0] = n / 2;
        c.part.offset = t->offset + k * (n / 2) * t->steps[0];
        c.at[0] = k * (n / 2) * s->n_tp + tp * (n / 2);
        if (!mega_add_chunk(s->set, a, &c, s->err)) return false;
    }
    return true;
}

/* *top: one more than the highest layer of this file. */
static bool read_rank(struct shards *s, const struct rank *r, uint64_t *top)
{
    const struct folder *f = s->folder;
    struct torch_list list = {0};
    struct digest digest;
    struct file_range range = {f, r->member, 0, folder_size(f, r->member), folder_name(f, r->member)};
    bool ok = torch_file_read(&list, s->ck, &range, &digest, s->err) &&
              (!s->ck || checkpoint_add_file(s->ck, r->member, &digest, s->err));
    *top = 0;
    for (uint32_t i = 0; ok && i < list.n; i++) {
        int64_t layer;
        bool fc1;
        const char *name = mega_name(s->set->arena, list.tensors[i].name, &layer);
        if (!name) continue;
        int cut = mega_cut(name, &fc1);
        if (layer >= 0 && (uint64_t)layer >= *top) *top = (uint64_t)layer + 1;
        if (layer >= 0) name = mega_layer_name(s->set->arena, name, layer + (int64_t)s->first_layer);
        ok = name ? add_part(s, &list.tensors[i], name, r->tp, cut, fc1 && s->c && s->c->gated)
                  : error_memory(s->err, 0);
    }
    torch_list_free(&list);
    return ok;
}

static const struct rank *find_rank(const struct rank *r, uint32_t n, uint32_t tp, uint32_t pp)
{
    for (uint32_t i = 0; i < n; i++)
        if (r[i].tp == tp && r[i].pp == pp) return &r[i];
    return NULL;
}

static bool list_ranks(struct shards *s, struct rank *ranks, uint32_t *n)
{
    const struct folder *f = s->folder;
    *n = 0;
    for (uint32_t i = 0; i < folder_count(f); i++) {
        struct rank r = {.member = i};
        if (!rank_of(folder_name(f, i), &r.tp, &r.pp)) continue;
        if (*n == RANKS_MAX || find_rank(ranks, *n, r.tp, r.pp))
            return error_set(s->err, ERR_FORMAT, "'%.256s': a second file of the same rank", folder_name(f, i));
        ranks[(*n)++] = r;
        if (r.tp >= s->n_tp) s->n_tp = r.tp + 1;
        if (r.pp >= s->n_pp) s->n_pp = r.pp + 1;
    }
    if ((uint64_t)s->n_tp * s->n_pp == *n) return true;
    return error_set(s->err, ERR_FORMAT, "folder '%.256s': %u files of ranks are there, %u x %u are expected",
                     folder_path(f), *n, s->n_tp, s->n_pp);
}

bool mega_shards_read(struct mega_set *set, const struct folder *f, struct checkpoint *ck, const struct mega_config *c,
                      struct error *err)
{
    struct shards s = {.set = set, .folder = f, .ck = ck, .c = c, .err = err};
    CLEANUP(free) struct rank *ranks = calloc(RANKS_MAX, sizeof *ranks);
    uint32_t n;
    if (!ranks) return error_memory(err, RANKS_MAX * sizeof *ranks);
    if (!list_ranks(&s, ranks, &n)) return false;
    for (uint32_t pp = 0; pp < s.n_pp; pp++) {
        uint64_t layers = 0, top;
        for (uint32_t tp = 0; tp < s.n_tp; tp++) {
            if (!read_rank(&s, find_rank(ranks, n, tp, pp), &top)) return false;
            if (top > layers) layers = top;
        }
        s.first_layer += layers;
    }
    return true;
}
