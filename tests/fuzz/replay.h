/* The main of a fuzz entry when it is built as an ordinary test: replays every file of a folder. Included at the end. */
#ifndef TESTS_FUZZ_REPLAY_H
#define TESTS_FUZZ_REPLAY_H

#ifndef FUZZING
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    DIR *d = argc == 2 ? opendir(argv[1]) : NULL;
    unsigned n = 0;
    if (!d) {
        fprintf(stderr, "FAIL cannot read the corpus\n");
        return 1;
    }
    for (struct dirent *e; (e = readdir(d));) {
        char path[4096];
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", argv[1], e->d_name);
        FILE *f = fopen(path, "rb");
        if (!f || fseek(f, 0, SEEK_END) != 0) return 1;
        size_t size = (size_t)ftell(f);
        rewind(f);
        uint8_t *data = malloc(size + 1);
        if (!data || fread(data, 1, size, f) != size) return 1;
        fclose(f);
        LLVMFuzzerTestOneInput(data, size);
        free(data);
        n++;
    }
    closedir(d);
    printf("ok %u inputs\n", n);
    return n ? 0 : 1;
}
#endif

#endif
