/* What calibration has solved (plan/solve.h): codes and scales of the result as encoders leave them
 * (plan/solved_parts.h), with the digest of the source tensor that each was made from. They are large, so they wait on
 * disk: in a work file while calibration runs, in the statistics file afterwards, read from there piece by piece. */
#ifndef PLAN_SOLVED_H
#define PLAN_SOLVED_H

#include "core/crypto.h"
#include "core/dtype.h"

/* One part of one weight. */
struct solved_tensor {
    const char *name; /* "<module>.<suffix of the part>" */
    enum dtype dtype;
    uint32_t n_dims;
    uint64_t dims[2];
    uint64_t bytes;
    struct digest digest; /* of the bytes */
    struct digest source; /* of the source's weight; all zero: of none */
    uint64_t at;          /* private: offset in the work file, or number in the statistics file */
};

/* What solving a linear was worth on the calibration data. Errors are sums over outputs and the linear's own tokens of
 * squared differences (W - Q) x, divided by the number of tokens. */
struct solve_gain {
    const char *module;
    double before; /* weights rounded to the format as scales: max does it */
    double after;  /* as they are written */
    double output; /* the same sum of W x, which the errors can be measured by */
    double damp;   /* that was needed; 0: no solution, the weights were rounded (unseen experts, moments of no use) */
};

#endif
