/* Which type each group gets, so that the sum of costs is smallest and the sum of bytes within a budget: the
 * multiple-choice knapsack problem, solved exactly.
 *
 * Method: dynamic programming over groups, keeping of all ways to choose for the groups so far only those that no other
 * beats in both bytes and cost (Nemhauser and Ullmann), and of these only the ones that can still beat the best
 * solution known: what the rest costs at least is the problem's linear relaxation, which a greedy walk along the convex
 * hulls of the groups solves (Dyer; Zemel). The same walk, rounded down, gives a solution for every state. Groups come
 * in order of how dearly another choice than the relaxation's would be paid, the dearest first, so that few states live
 * (Pisinger's core). All of it is integer arithmetic: what is dropped could not have been better, which is the proof.
 * Then the same again with bytes and costs exchanged, because of equal costs the fewest bytes are wanted.
 */
#ifndef PLAN_KNAPSACK_H
#define PLAN_KNAPSACK_H

#include "core/error.h"

#include <stdint.h>

#define KNAPSACK_CHOICES_MAX 16u
#define KNAPSACK_COST_MAX ((uint64_t)1 << 60) /* of the dearest choices of all groups together; of bytes likewise */

struct knapsack_choice {
    uint64_t bytes, cost;
    bool allowed;
};

struct knapsack {
    const struct knapsack_choice *choices; /* [n_groups][n_choices] */
    uint32_t n_groups, n_choices;
    uint64_t budget;
    uint64_t states_max; /* 0: 2^25, about a gigabyte */
};

struct knapsack_result {
    uint64_t bytes, cost;
    uint64_t bound;    /* no solution costs less: of the relaxation, or `cost` itself when proven */
    bool proven;       /* false: states_max was reached, and the best solution known is within cost - bound */
    uint64_t n_states; /* that were kept, over all groups */
};

/* picked[n_groups]: the choice of each group. Of equal solutions one of the fewest bytes, and always the same.
 * ERR_FORMAT when not even the smallest choices fit (r->bytes says how many they take), or a group allows nothing. */
MUST_CHECK bool knapsack_solve(const struct knapsack *k, uint32_t *picked, struct knapsack_result *r,
                               struct error *err);

#endif
