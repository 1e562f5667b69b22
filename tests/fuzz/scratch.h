/* A folder for fuzz entries whose reader wants files: made at first use, removed at exit. In memory where there is one. */
#ifndef TESTS_FUZZ_SCRATCH_H
#define TESTS_FUZZ_SCRATCH_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char scratch_path[64];

static void scratch_remove(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", scratch_path);
    if (system(command) != 0) perror("scratch folder");
}

static inline const char *scratch_folder(void)
{
    if (scratch_path[0]) return scratch_path;
    snprintf(scratch_path, sizeof scratch_path, "%s/ingot-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(scratch_path)) abort();
    atexit(scratch_remove);
    return scratch_path;
}

static inline void scratch_put(const char *name, const void *data, size_t size)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", scratch_folder(), name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size || close(fd) != 0) abort();
}

#endif
