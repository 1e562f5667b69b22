/* Configuration files: the JSON layer itself, then what is read from config.json, generation_config.json and the two
 * quantization configs, and what a family makes of config.json. The parts of an input are separated by a byte 0x1e;
 * after the third come names to ask for. The first part is read as Mistral's params.json too. */
#include "core/json_scan.h"
#include "formats/name_match.h"
#include "formats/quant_config.h"
#include "models/expected.h"

#include <stdlib.h>

#define PARTS 4u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Written out and read again a document is the same; a splice that changes nothing keeps its value too. */
static void check_round_trip(struct bytes text, const json_t *doc)
{
    struct error e = ERROR_INIT;
    CLEANUP(free) char *pretty = NULL;
    CLEANUP(free) char *canonical = NULL;
    CLEANUP(free) char *spliced = NULL;
    CLEANUP(json) json_t *a = NULL;
    CLEANUP(json) json_t *b = NULL;
    CLEANUP(json) json_t *c = NULL;
    CLEANUP(json) json_t *nothing = json_object();
    size_t n = 0, k = 0, s = 0;
    if (!json_pretty(doc, &pretty, &n, &e) || !json_canonical(doc, &canonical, &k, &e)) return;
    if (!json_parse(bytes_of(pretty, n), JSON_DIALECT_STRICT, "pretty", &a, &e) || !json_equal(a, doc)) abort();
    if (!json_parse(bytes_of(canonical, k), JSON_DIALECT_STRICT, "canonical", &b, &e) || !json_equal(b, doc)) abort();
    if (!json_is_object(doc)) return;
    if (!json_splice(text, JSON_DIALECT_HF, nothing, "spliced", &spliced, &s, &e)) abort();
    if (!json_parse(bytes_of(spliced, s), JSON_DIALECT_HF, "spliced", &c, &e) || !json_equal(c, doc)) abort();
}

/* Scanner and tree must agree on what a document is. */
static json_t *parse(struct bytes text)
{
    struct error e = ERROR_INIT;
    json_t *doc = NULL;
    struct json_scan s;
    json_scan_begin(&s, text, true);
    bool whole = json_scan_skip(&s) && json_scan_next(&s) == JSON_TOKEN_END;
    if (!json_parse(text, JSON_DIALECT_HF, "doc", &doc, &e)) {
        if (e.code != ERR_FORMAT || !e.text[0]) abort();
        return NULL;
    }
    if (!whole) abort();
    check_round_trip(text, doc);
    return doc;
}

static void ask(const struct quant_rules *r, struct bytes names)
{
    char name[256];
    size_t n = names.size < sizeof name ? names.size : sizeof name - 1;
    if (n) memcpy(name, names.data, n);
    name[n] = '\0';
    const char *asked[64], *first;
    uint32_t n_asked = 0;
    for (char *p = strtok(name, "\n"); p; p = strtok(NULL, "\n")) {
        const struct quant_format *f = quant_rules_resolve(r, p), *by_name = quant_rules_named(r, p);
        if ((f && !quant_format_find(f->name)) || (by_name && by_name != f)) abort();
        if (n_asked < 64) asked[n_asked++] = p;
    }
    if (quant_rules_idle(r, asked, texts_sort(asked, n_asked), &first) != 0 && !first) abort();
    quant_rules_kv_algo(r);
}

/* Shapes that a family expects have no zero, and there are as many as its rule says; a few thousand are enough. */
static bool look(void *ctx, const struct expected_tensor *t, struct error *err)
{
    uint32_t *n = ctx;
    if (!t->name[0] || t->n_dims == 0 || strchr(t->name, '{') || strchr(t->name, '%')) abort();
    for (uint32_t i = 0; i < t->n_dims; i++)
        if (t->dims[i] == 0) abort();
    return ++*n < 4000 || error_set(err, ERR_CANCELLED, "enough");
}

static void read_family(const struct hf_config *c)
{
    struct error e = ERROR_INIT;
    struct model_config cfg;
    struct arena *arena = arena_new();
    uint32_t n = 0;
    if (!arena) return;
    if (!model_config_read(&cfg, c, arena, &e)) {
        if ((e.code != ERR_FORMAT && e.code != ERR_UNSUPPORTED) || !e.text[0]) abort();
    } else {
        for (uint32_t i = 0; i < cfg.n_blocks; i++) {
            const struct attention_config *a = block_attention_config(&cfg, &cfg.blocks[i]);
            if (cfg.blocks[i].kind != BLOCK_ATTENTION) continue;
            if (!a->n_heads || !a->n_kv_heads || a->n_heads % a->n_kv_heads || a->rope.dim > a->head_dim) abort();
        }
        if (!model_expect(&cfg, arena, look, &n, &e) && e.code != ERR_CANCELLED) abort();
    }
    arena_free(arena);
}

static void read_all(json_t *const docs[3], struct bytes names)
{
    struct error e = ERROR_INIT;
    struct hf_config c = {.config = docs[0], .generation = docs[1], .quant = docs[2]};
    CLEANUP(quant_rules) struct quant_rules *r = NULL;
    uint32_t ids[8], n, bos;
    bool has;
    if (!json_is_object(c.config) || (c.generation && !json_is_object(c.generation)) || (c.quant && !json_is_object(c.quant))) return;
    if (hf_config_eos(&c, ids, 8, &n, &e) && n > 8) abort();
    if (!hf_config_bos(&c, &bos, &has, &e) && e.code != ERR_FORMAT) abort();
    if (!quant_rules_open(&r, &c, &e) && e.code != ERR_FORMAT && e.code != ERR_UNSUPPORTED) abort();
    if (r) ask(r, names);
    read_family(&c);
    c.name = "params.json";
    read_family(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes parts[PARTS] = {0};
    for (uint32_t i = 0; i < PARTS; i++) {
        const uint8_t *end = size && i + 1 < PARTS ? memchr(data, 0x1e, size) : NULL;
        size_t n = end ? (size_t)(end - data) : size;
        parts[i] = bytes_of(data, n);
        data += n + (end != NULL);
        size -= n + (end != NULL);
    }
    json_t *docs[3] = {NULL, NULL, NULL};
    for (uint32_t i = 0; i < 3; i++)
        if (parts[i].size) docs[i] = parse(parts[i]);
    read_all(docs, parts[3]);
    for (uint32_t i = 0; i < 3; i++) json_decref(docs[i]);
    return 0;
}

#include "tests/fuzz/replay.h"
