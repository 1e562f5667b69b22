/* quant_config: a JSON document on stdin, one on stdout.
 *   {"modules": [[name, container or null, format or null], ...], "kv": "FP8" or null, "excluded": [...]}
 *     -> {"file": hf_quant_config.json, "inline": quantization_config}
 *   {"config": config.json, "quant": hf_quant_config.json or null, "names": [...]}
 *     -> {"kv": ..., "algos": [...]}
 * or {"error": word, "text": sentence}. */
#include "core/text.h"
#include "formats/quant_config.h"

static bool read_stdin(json_t **out, struct error *err)
{
    __attribute__((cleanup(cleanup_text))) struct text t = TEXT_INIT;
    char piece[65536];
    for (size_t n; (n = fread(piece, 1, sizeof piece, stdin)) > 0;) text_put(&t, piece, n);
    return json_parse(bytes_of(t.data, t.size), JSON_DIALECT_HF, "stdin", out, err);
}

static bool write_both(const json_t *in, json_t *out, struct error *err)
{
    const json_t *list = json_object_get(in, "modules"), *ex = json_object_get(in, "excluded");
    uint32_t n = (uint32_t)json_array_size(list), n_ex = (uint32_t)json_array_size(ex);
    CLEANUP(free) struct quant_module *m = calloc(n + 1, sizeof *m);
    CLEANUP(free) const char **excluded = calloc(n_ex + 1, sizeof *excluded);
    for (uint32_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(list, i);
        const char *format = json_string_value(json_array_get(row, 2));
        m[i] = (struct quant_module){json_string_value(json_array_get(row, 0)), json_string_value(json_array_get(row, 1)),
                                     format ? quant_format_by_algo(format, 0) : NULL, false, false};
        if (format && !m[i].format) return error_set(err, ERR_USAGE, "no format %s", format);
    }
    for (uint32_t i = 0; i < n_ex; i++) excluded[i] = json_string_value(json_array_get(ex, i));
    struct quant_config q = {m, n, json_string_value(json_object_get(in, "kv")), excluded, n_ex, NULL, false};
    json_t *file, *inl;
    return quant_config_file(&q, &file, err) && json_put(out, "file", file, err) && quant_config_inline(&q, &inl, err) &&
           json_put(out, "inline", inl, err);
}

static bool resolve_all(const json_t *in, json_t *out, struct error *err)
{
    json_t *quant = json_object_get(in, "quant"), *algos = json_array();
    struct hf_config c = {.config = json_object_get(in, "config"), .quant = json_is_null(quant) ? NULL : quant};
    CLEANUP(quant_rules) struct quant_rules *rules = NULL;
    if (!quant_rules_open(&rules, &c, err)) {
        json_decref(algos);
        return false;
    }
    size_t i;
    json_t *name;
    json_array_foreach(json_object_get(in, "names"), i, name) {
        const struct quant_format *f = rules ? quant_rules_resolve(rules, json_string_value(name)) : NULL;
        json_array_append_new(algos, f ? json_string(f->algo) : json_null());
    }
    const char *kv = rules ? quant_rules_kv_algo(rules) : NULL;
    return json_put(out, "algos", algos, err) && json_put(out, "kv", kv ? json_string(kv) : json_null(), err);
}

int main(void)
{
    struct error e = ERROR_INIT;
    CLEANUP(json) json_t *in = NULL;
    CLEANUP(json) json_t *out = json_object();
    if (!read_stdin(&in, &e) || !(json_has(in, "modules") ? write_both(in, out, &e) : resolve_all(in, out, &e))) {
        json_object_clear(out);
        json_object_set_new(out, "error", json_string(error_code_name(e.code)));
        json_object_set_new(out, "text", json_string(e.text));
    }
    CLEANUP(free) char *text = NULL;
    if (!json_pretty(out, &text, NULL, &e)) return 1;
    fputs(text, stdout);
    return 0;
}
