/* Every kernel on NEON. */
#include "backends/cpu/kernel_list.h"
#include "backends/cpu/words_neon.h"

#include "backends/cpu/vector_types_body.h"

#include "backends/cpu/observe_sweep_body.h"

#include "backends/cpu/four_six_body.h"

#include "backends/cpu/range_body.h"

/* f16_decode(f16_encode(x)); NaN stays a NaN. */
LANES_FN vf v_through_f16(vf x)
{
    return vcvt_f32_f16(vcvt_f16_f32(x));
}

#include "backends/cpu/vector_plain_body.h"

TYPES(neon)
PLAIN(neon)

void sweep_nvfp4_neon(const struct kernel_args *a)
{
    sweep(a);
}

void four_six_nvfp4_neon(const struct kernel_args *a)
{
    four_six(a);
}

void range_nvfp4_neon(const struct kernel_args *a)
{
    range(a);
}
