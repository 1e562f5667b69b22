/* Token ids on the command line: "1,2,3". */
#ifndef CLI_ID_LIST_H
#define CLI_ID_LIST_H

#include "core/error.h"

#include <stdint.h>

MUST_CHECK bool id_list_parse(const char *text, uint32_t **ids, size_t *n, struct error *err); /* caller frees */

#endif
