/* SWEEP_NVFP4, FOUR_SIX_NVFP4 and RANGE_NVFP4 on AVX2. */
#include "backends/cpu/kernel_list.h"
#include "backends/cpu/words_avx2.h"

#include "backends/cpu/observe_sweep_body.h"

#include "backends/cpu/four_six_body.h"

#include "backends/cpu/range_body.h"

void sweep_nvfp4_avx2(const struct kernel_args *a)
{
    sweep(a);
}

void four_six_nvfp4_avx2(const struct kernel_args *a)
{
    four_six(a);
}

void range_nvfp4_avx2(const struct kernel_args *a)
{
    range(a);
}
