/* The bytes of a block on their way into the page cache while the block before it computes. Advice only: what it cannot
 * do is read later, and no error comes of it. Memory of the process does not grow by it. */
#ifndef ENGINE_READ_AHEAD_H
#define ENGINE_READ_AHEAD_H

#include "models/inventory.h"

struct read_ahead;

/* Its thread takes the blocks of the trunk in order, then the head, each when it is allowed to. n_rows: tokens of the
 * batch; experts are left out when these are too few to need most of them. NULL when there can be none. */
struct read_ahead *read_ahead_open(const struct inventory *inv, uint64_t n_rows);
/* File bytes that it reads for a block. */
uint64_t read_ahead_bytes(const struct inventory *inv, uint64_t n_rows, uint32_t block);
void read_ahead_allow(struct read_ahead *r, uint32_t block); /* up to this one; n_blocks: the head. NULL is fine */
void read_ahead_close(struct read_ahead *r);                 /* waits for its thread; NULL is fine */

#endif
