/* The benchmark of the CUDA kernels on the fake runtime, at a small size: that every kernel gets what it needs and
 * touches nothing beyond it, and that what was opened is closed. Its figures mean nothing here. */
#include <stdbool.h>

#include "tests/cuda/fake_runtime.h"

#define ROWS 64u
#define COLS 1024u
#define LARGE_PIECE ((size_t)1 << 20)
int bench_main(int argc, char **argv);
#define main bench_main
#include "bench/cuda/bench_cuda.c"
#undef main

int main(void)
{
    char *argv[] = {(char[]){"bench_cuda"}, NULL};
    fake_reset();
    if (bench_main(1, argv) == 0 && !fake.used && !fake.host && !fake.streams && !fake.events)
        printf("ok bench_cuda runs through\n");
    else printf("FAIL bench_cuda: %zu bytes, %d streams, %d events are left\n", fake.used, fake.streams, fake.events);
    return 0;
}
