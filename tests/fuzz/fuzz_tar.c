/* Layers. What our strict reader takes must be what libarchive sees: one archive, not two. */
#include "core/cleanup.h"
#include "formats/tar.h"

#include <fcntl.h>
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Both readers on the same bytes, as a file in memory. */
static void compare(const uint8_t *data, size_t size)
{
    struct tar_layer layer;
    struct error e = ERROR_INIT;
    CLEANUP(fd) int fd = memfd_create("layer", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) return;
    bool taken = tar_layer_read(&(struct file_place){fd, 0, size}, "layer", &layer, &e);
    if (taken && (layer.data_offset % TAR_PAGE_BYTES != 0 || layer.total_bytes != size)) abort();
    if (taken && !tar_layer_check(&(struct file_place){.fd = fd}, "layer", &layer, &e)) abort();
    if (taken) return;
    /* libarchive on what we refuse: it must not crash either; the claim is the first file that a lenient look finds. */
    layer = (struct tar_layer){.path = "models/config.json", .data_bytes = 1, .data_offset = TAR_PAGE_BYTES, .total_bytes = size};
    if (tar_layer_check(&(struct file_place){.fd = fd}, "layer", &layer, &e) && size < TAR_PAGE_BYTES) abort();
}

/* A layer whose headers are sound and whose path, size and one byte come from the input: random bytes alone would stop
 * at the first checksum. */
static void mutate_sound(const uint8_t *data, size_t size)
{
    char path[256];
    struct tar_layer layer;
    struct error e = ERROR_INIT;
    CLEANUP_BUFFER struct buffer head = {0};
    size_t n = size - 8 < sizeof path - 1 ? size - 8 : sizeof path - 1;
    uint64_t bytes = load_le32(data) % 5000;
    memcpy(path, data + 8, n);
    path[n] = '\0';
    if (!tar_layer_header(path, bytes, &head, &layer, &e)) return;
    size_t at = load_le16(data + 4) % head.size;
    uint8_t *h = head.data + at / TAR_BLOCK_BYTES * TAR_BLOCK_BYTES;
    uint8_t before = head.data[at];
    head.data[at] = data[6];
    if (memcmp(h + 257, "ustar", 5) == 0 && (at % TAR_BLOCK_BYTES < 148 || at % TAR_BLOCK_BYTES >= 156)) {
        unsigned sum = 0;
        for (size_t i = 0; i < TAR_BLOCK_BYTES; i++) sum += i >= 148 && i < 156 ? ' ' : h[i];
        snprintf((char *)h + 148, 8, "%06o", sum & 0777777u);
    }
    struct tar_layer seen;
    bool taken = tar_layer_parse(buffer_view(&head), layer.total_bytes, "layer", &seen, &e);
    /* A changed name may be another sound layer of the same length; any other change must be refused. */
    if (taken && before != data[6] && strcmp(seen.path, path) == 0) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 8) return 0;
    compare(data, size);
    mutate_sound(data, size);
    return 0;
}

#include "tests/fuzz/replay.h"
