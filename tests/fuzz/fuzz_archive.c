/* Archives of image layouts. Whatever is taken has its blobs within the file, and gives out what it lists. */
#include "core/cleanup.h"
#include "formats/oci_archive.h"
#include "formats/tar.h"

#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_archive(const uint8_t *data, size_t size)
{
    struct oci_archive *a = NULL;
    struct error e = ERROR_INIT;
    int fd = memfd_create("archive", MFD_CLOEXEC);
    if (fd < 0) return;
    if (write(fd, data, size) != (ssize_t)size) {
        close(fd);
        return;
    }
    if (!oci_archive_read(&a, fd, size, "archive", &e)) {
        if (e.code == ERR_NONE || e.text[0] == '\0') abort();
        return;
    }
    for (uint32_t i = 0; i < oci_archive_count(a); i++) {
        const struct digest *d;
        CLEANUP(file_place) struct file_place at = FILE_PLACE_INIT;
        uint64_t bytes = oci_archive_size(a, i, &d);
        if (!oci_archive_blob(a, d, "blob", &at, &e)) abort();
        if (at.size != bytes || at.offset > size || at.size > size - at.offset) abort();
    }
    oci_archive_close(a);
}

/* The same with the checksums of whatever looks like a header put right: random bytes alone stop at the first one. */
static void read_summed(const uint8_t *data, size_t size)
{
    uint8_t copy[16 * TAR_BLOCK_BYTES] = {0};
    size_t n = size < sizeof copy ? size : sizeof copy;
    memcpy(copy, data, n);
    for (size_t at = 0; at + TAR_BLOCK_BYTES <= n; at += TAR_BLOCK_BYTES) {
        uint8_t *h = copy + at;
        unsigned sum = 0;
        if (memcmp(h + 257, "ustar", 5) != 0) continue;
        for (size_t i = 0; i < TAR_BLOCK_BYTES; i++) sum += i >= 148 && i < 156 ? ' ' : h[i];
        snprintf((char *)h + 148, 8, "%06o", sum & 0777777u);
    }
    read_archive(copy, sizeof copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_archive(data, size);
    read_summed(data, size);
    return 0;
}

#include "tests/fuzz/replay.h"
