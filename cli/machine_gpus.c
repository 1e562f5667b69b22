#include "cli/machine_gpus.h"

#include "backends/backend.h"
#include "core/cleanup.h"
#include "core/file.h"

#include <dirent.h>
#include <fcntl.h>

#define DRIVER_FOLDER "/proc/driver/nvidia/gpus" /* one folder per GPU, with a file "information" */
#define DRIVER_BYTES 4096u

/* One more GPU; the first says which kind counts. */
static void add(struct machine *m, const char *name, uint64_t memory)
{
    if (m->count && strcmp(m->gpu, name) != 0) return;
    snprintf(m->gpu, sizeof m->gpu, "%s", name);
    if (!m->count || memory < m->memory) m->memory = memory;
    m->count++;
}

static bool ask_backend(const struct backend_ops *ops, struct machine *m, struct error *err)
{
    char why[256];
    uint32_t n = ops->devices(why, sizeof why);
    for (uint32_t i = 0; i < n; i++) {
        struct backend *be = NULL;
        struct backend_device d;
        struct backend_config config = {0};
        if (!ops->open(&be, i, &config, err)) return false;
        bool ok = ops->describe(be, &d, err);
        ops->close(be);
        if (!ok) return false;
        add(m, d.name, d.memory);
    }
    return true;
}

/* "Model: \t\t NVIDIA H200". A file of /proc has no size, so it is read by hand. */
static void read_driver(int folder, const char *gpu, struct machine *m)
{
    char path[300], text[DRIVER_BYTES];
    snprintf(path, sizeof path, "%.200s/information", gpu);
    CLEANUP(fd) int fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (n <= 0) return;
    text[n] = '\0';
    char *name = strstr(text, "Model:");
    if (!name) return;
    name += strlen("Model:");
    name += strspn(name, " \t");
    name[strcspn(name, "\n")] = '\0';
    add(m, name, 0);
}

bool machine_gpus(struct machine *out, struct error *err)
{
    *out = (struct machine){.count_known = true};
    for (const struct backend_ops *const *b = backends; *b; b++)
        if (*b != &backend_cpu && !ask_backend(*b, out, err)) return false;
    DIR *d = out->count ? NULL : opendir(DRIVER_FOLDER);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.') read_driver(dirfd(d), e->d_name, out);
    if (d) closedir(d);
    return true;
}
