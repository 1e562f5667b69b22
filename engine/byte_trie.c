#include "engine/byte_trie.h"

#include <stdlib.h>

/* From so many children on a node has a table: four bytes of table for each byte of a child's node at most. */
#define TABLE_LEAST 12u

struct keyed {
    struct bytes text;
    uint32_t id;
};
/* The texts below a node: keys[lo..hi), which have their first `depth` bytes in common. */
struct range {
    uint32_t lo, hi, depth;
};
struct builder {
    struct byte_trie *t;
    struct keyed *keys; /* sorted */
    struct range *ranges;
    uint32_t n_keys, capacity, n_table_room;
};

static int by_text(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;
    size_t n = x->text.size < y->text.size ? x->text.size : y->text.size;
    int c = memcmp(x->text.data, y->text.data, n);
    if (c) return c;
    if (x->text.size != y->text.size) return x->text.size < y->text.size ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static bool reserve(struct builder *b, struct error *err)
{
    struct byte_trie *t = b->t;
    if (t->n_nodes + 256 <= b->capacity) return true;
    uint32_t capacity = b->capacity ? 2 * b->capacity : 4096;
    struct trie_node *nodes = realloc(t->nodes, capacity * sizeof *nodes);
    if (nodes) t->nodes = nodes;
    uint8_t *labels = realloc(t->labels, capacity);
    if (labels) t->labels = labels;
    struct range *ranges = realloc(b->ranges, capacity * sizeof *ranges);
    if (ranges) b->ranges = ranges;
    if (!nodes || !labels || !ranges) return error_memory(err, capacity * (sizeof *nodes + sizeof *ranges + 1));
    b->capacity = capacity;
    return true;
}

/* The children of node `at`, appended to the nodes. */
static bool expand(struct builder *b, uint32_t at, struct error *err)
{
    struct byte_trie *t = b->t;
    struct range r = b->ranges[at];
    uint32_t id = ID_NONE;
    if (!reserve(b, err)) return false;
    for (; r.lo < r.hi && b->keys[r.lo].text.size == r.depth; r.lo++) id = b->keys[r.lo].id;
    t->nodes[at] = (struct trie_node){.first = t->n_nodes, .id = r.depth ? id : ID_NONE, .table = TRIE_NONE};
    while (r.lo < r.hi) {
        uint8_t label = b->keys[r.lo].text.data[r.depth];
        uint32_t lo = r.lo;
        while (r.lo < r.hi && b->keys[r.lo].text.data[r.depth] == label) r.lo++;
        t->labels[t->n_nodes] = label;
        b->ranges[t->n_nodes++] = (struct range){lo, r.lo, r.depth + 1};
        t->nodes[at].n++;
    }
    return true;
}

static bool add_table(struct builder *b, uint32_t at, struct error *err)
{
    struct byte_trie *t = b->t;
    struct trie_node *node = &t->nodes[at];
    if (t->n_tables == b->n_table_room) {
        uint32_t room = b->n_table_room ? 2 * b->n_table_room : 64;
        uint32_t *tables = realloc(t->tables, (size_t)room * 256 * sizeof *tables);
        if (!tables) return error_memory(err, (size_t)room * 256 * sizeof *tables);
        t->tables = tables;
        b->n_table_room = room;
    }
    uint32_t *table = t->tables + (size_t)t->n_tables * 256;
    memset(table, 0xff, 256 * sizeof *table);
    for (uint32_t i = 0; i < node->n; i++) table[t->labels[node->first + i]] = node->first + i;
    node->table = t->n_tables++;
    return true;
}

static bool build(struct builder *b, struct error *err)
{
    struct byte_trie *t = b->t;
    if (!reserve(b, err)) return false;
    b->ranges[t->n_nodes++] = (struct range){0, b->n_keys, 0};
    for (uint32_t at = 0; at < t->n_nodes; at++)
        if (!expand(b, at, err) || (t->nodes[at].n >= TABLE_LEAST && !add_table(b, at, err))) return false;
    return true;
}

bool byte_trie_build(struct byte_trie *t, const struct token_texts *texts, bool (*takes)(const void *ctx, uint32_t id),
                     const void *ctx, const char *what, struct error *err)
{
    struct builder b = {.t = t};
    *t = (struct byte_trie){0};
    if (texts->pool_size > TRIE_BYTES_MAX)
        return error_set(err, ERR_UNSUPPORTED, "%s: %u bytes of texts are not supported, at most %zu", what,
                         texts->pool_size, TRIE_BYTES_MAX);
    b.keys = malloc((texts->n + 1u) * sizeof *b.keys);
    if (!b.keys) return error_memory(err, (texts->n + 1u) * sizeof *b.keys);
    for (uint32_t id = 0; id < texts->n; id++) {
        struct bytes text = token_text(texts, id);
        if (text.data && (!takes || takes(ctx, id))) b.keys[b.n_keys++] = (struct keyed){text, id};
    }
    qsort(b.keys, b.n_keys, sizeof *b.keys, by_text);
    bool ok = build(&b, err);
    free(b.keys);
    free(b.ranges);
    return ok;
}

void byte_trie_free(struct byte_trie *t)
{
    free(t->nodes);
    free(t->labels);
    free(t->tables);
    *t = (struct byte_trie){0};
}
