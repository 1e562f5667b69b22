/* Data files that travel inside the program: the YAML files of recipes/ and profiles/, by their path in the source
 * tree. The table is written by core/embed.sh at build time and ends with a row whose path is NULL. */
#ifndef CORE_EMBED_H
#define CORE_EMBED_H

#include <stddef.h>

struct embedded_file {
    const char *path;
    const unsigned char *data;
    size_t size;
};
extern const struct embedded_file embedded_files[];

#endif
