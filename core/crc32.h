/* CRC-32 of zip, gzip and PNG (polynomial 0xedb88320, reflected). */
#ifndef CORE_CRC32_H
#define CORE_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* The sum of what `crc` is the sum of (0: nothing yet) and n more bytes. */
uint32_t crc32_add(uint32_t crc, const void *data, size_t n);

#endif
