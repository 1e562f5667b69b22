/* Private to plan/fold*.c: the table of who makes channels for whom, and a group on its way to becoming a fold. */
#ifndef PLAN_FOLD_IMPL_H
#define PLAN_FOLD_IMPL_H

#include "plan/fold.h"

/* Channels of readers that are not the maker's one by one. */
enum columns { AS_THEY_ARE, OF_KV_HEADS, OF_ONE_HEAD };

#define KIND(k) (1u << (k))

/* One row: in blocks of these kinds the maker feeds the readers, and nobody else. A role that a model lacks stands for
 * nothing; a reader that is not listed here would compute with other numbers, so every reader is. */
struct fold_row {
    uint32_t kinds;
    enum tensor_role maker;
    enum { BY_NORM, BY_PLAIN_NORM, BY_ROWS, BY_MLP } how; /* BY_MLP: what stands behind the maker decides */
    enum columns columns;
    enum { ALWAYS, WITH_LATENT, WITHOUT_LATENT } when;
    bool per_expert; /* maker and reader of one expert */
    enum tensor_role readers[8];
    uint32_t n_readers;
};

extern const struct fold_row fold_table[];
extern const uint32_t fold_table_rows;

struct folder {
    struct plan *p;
    uint32_t *by_block; /* items of the trunk's blocks, in order; [block] is where one begins */
    uint32_t *first;
    uint32_t capacity;
    bool noted[ROLE_COUNT];
    struct error *err;
};

/* Of one row in one block: who takes part. */
struct party {
    const struct fold_row *row;
    uint32_t block;
    int32_t expert; /* -1: of all */
    const char *why;
    const struct plan_item *bad; /* who cannot change, and why */
    const struct plan_item *first_maker, *asks;
    const struct plan_item *observed; /* a reader whose input an observer chooses the maximum of */
};

/* plan/fold_table.c */
bool fold_maker_kind(const struct party *q, const struct model_config *cfg, enum fold_maker *out);

/* plan/fold_party.c */
bool fold_reads(const struct party *q, const struct plan_item *item);
bool fold_makes(const struct party *q, const struct plan_item *item);
const char *fold_fixed(const struct plan *p, const struct plan_item *item);
const struct plan_item *fold_bias(const struct plan *p, const struct model_tensor *t);
void fold_refuse(struct party *q, const struct plan_item *who, const char *why);
MUST_CHECK bool fold_same_choice(struct folder *f, const struct party *q, const struct plan_item *item);
MUST_CHECK bool fold_look(struct folder *f, struct party *q);
bool fold_needs_exact(const struct folder *f, const struct party *q);
bool fold_in_trunk(const struct model_tensor *t);

/* plan/fold_join.c */
MUST_CHECK bool fold_reserve(struct folder *f);
MUST_CHECK bool fold_join(struct folder *f, struct party *q, enum fold_maker kind);
MUST_CHECK bool fold_note(struct folder *f, const struct party *q);

/* plan/fold_inputs.c */
const char *fold_no_pre_scale(const struct plan *p, const struct plan_item *item);
bool fold_better_beside(const struct folder *f, const struct party *q);
MUST_CHECK bool fold_settle_inputs(struct folder *f, uint32_t block, uint32_t i);

#endif
