/* The whole program with backends/cuda/ on the runtime of fake_runtime.c: linked with cli/ it is ingot on a machine with
 * fake GPUs, for tests/cli/cuda.py. FAKE_CUDA in the environment says what machine that is:
 *
 *   FAKE_CUDA="devices=3 memory=8388608 driver=12080 sm=75 fail=cudaMalloc after=2 with=unknown run=5"
 *
 * memory: bytes of each device; fail, after, with: that call fails once, after so many that went well; run: the kernel
 * with this number (from 1) ends in an illegal address. Says what it was asked for on standard error when that is not
 * understood, and what is still open at the end. */
#include "tests/cuda/emulate.h"

#include "tests/cuda/fake_runtime.h"

static cudaError_t error_of(const char *word)
{
    if (strcmp(word, "memory") == 0) return cudaErrorMemoryAllocation;
    if (strcmp(word, "unknown") == 0) return cudaErrorUnknown;
    emulate_stop("FAKE_CUDA: with=memory or with=unknown");
    return cudaErrorUnknown;
}

static void set(const char *key, char *value)
{
    long n = strtol(value, NULL, 10);
    if (strcmp(key, "devices") == 0) fake.n_devices = (int)n;
    else if (strcmp(key, "memory") == 0) fake.memory = (size_t)n;
    else if (strcmp(key, "driver") == 0) fake.driver = (int)n;
    else if (strcmp(key, "sm") == 0) fake.sm[0] = fake.sm[1] = fake.sm[2] = fake.sm[3] = (int)n;
    else if (strcmp(key, "fail") == 0) fake.fail_call = value;
    else if (strcmp(key, "after") == 0) fake.fail_after = (int)n;
    else if (strcmp(key, "with") == 0) fake.fail_with = error_of(value);
    else if (strcmp(key, "run") == 0) fake.fail_run = (int)n;
    else emulate_stop("FAKE_CUDA: an unknown word");
}

__attribute__((constructor)) static void make_machine(void)
{
    static char words[256]; /* fail_call points into it */
    fake_reset();
    fake.fail_with = cudaErrorUnknown;
    snprintf(words, sizeof words, "%s", getenv("FAKE_CUDA") ? getenv("FAKE_CUDA") : "");
    for (char *save = NULL, *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        char *value = strchr(w, '=');
        if (!value) emulate_stop("FAKE_CUDA: a word without '='");
        *value++ = '\0';
        set(w, value);
    }
}

__attribute__((destructor)) static void look_back(void)
{
    if (!fake.used && !fake.host && !fake.streams && !fake.events) return;
    fprintf(stderr, "LEFT %zu bytes, %d host areas, %d streams, %d events\n", fake.used, fake.host, fake.streams,
            fake.events);
}
