/* Speed of tokenizing, one thread: MB/s of a file's text, the best of several runs, loading apart. CPU time, because
 * other jobs disturb the clock. bench/tokenizer_peers.py puts other libraries beside it.
 * usage: bench_tokenizer FOLDER TEXTFILE [RUNS] */
#include "core/file.h"
#include "engine/tokenizer.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool run(const char *dir, const char *path, int runs, struct error *err)
{
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP(tokenizer) struct tokenizer *t = NULL;
    CLEANUP_BUFFER struct buffer text = {0};
    double start = now_s(), best = 1e9;
    size_t n = 0;
    if (!folder_open(&f, dir, err) || !tokenizer_open(&t, f, err)) return false;
    printf("load     %8.1f ms\n", (now_s() - start) * 1e3);
    if (!file_load(AT_FDCWD, path, TOKENIZER_TEXT_MAX, &text, err)) return false;
    for (int i = 0; i < runs; i++) {
        uint32_t *ids;
        start = now_s();
        if (!tokenizer_encode(t, buffer_view(&text), false, &ids, &n, err)) return false;
        if (now_s() - start < best) best = now_s() - start;
        free(ids);
    }
    printf("tokenize %8.1f ms, %.1f MB/s, %zu bytes, %zu tokens\n", best * 1e3, (double)text.size / best * 1e-6,
           text.size, n);
    return true;
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    if (argc < 3) {
        fprintf(stderr, "usage: bench_tokenizer FOLDER TEXTFILE [RUNS]\n");
        return 2;
    }
    if (run(argv[1], argv[2], argc > 3 ? atoi(argv[3]) : 9, &err)) return 0;
    fprintf(stderr, "%s\n", err.text);
    return 1;
}
