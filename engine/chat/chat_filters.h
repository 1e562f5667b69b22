/* The lists of filters, tests and global functions. One is a line in its list. */
#ifndef ENGINE_CHAT_FILTERS_H
#define ENGINE_CHAT_FILTERS_H

#include "engine/chat/chat_call.h"

/* NULL when there is none of this name. */
const struct chat_callable *chat_filter_find(const char *name);
const struct chat_callable *chat_test_find(const char *name);

/* Each ends with a NULL name. */
extern const struct chat_callable chat_filters_text[], chat_filters_seq[], chat_filters_lazy[], chat_filters_value[];
extern const struct chat_callable chat_tests[], chat_functions[];
extern const struct chat_callable chat_string_methods[], chat_string_cuts[], chat_list_methods[], chat_dict_methods[];

#endif
