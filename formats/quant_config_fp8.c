/* The configuration of DeepSeek's own FP8 (quant_method fp8): blocks of 128 x 128, activations quantized by the engine.
 * What is not converted stands in it by its whole name, which serves readers that compare names and those that look for
 * parts of them. Heads, tables and routers need no mention. */
#include "formats/quant_config_impl.h"

static bool put_unconverted(const struct quant_config *q, json_t *doc, struct error *err)
{
    json_t *list = json_array();
    if (!json_put(doc, "modules_to_not_convert", list, err)) return false;
    for (uint32_t i = 0; i < q->n_modules; i++) {
        const struct quant_module *m = &q->modules[i];
        if (m->format && m->table)
            return error_set(err, ERR_UNSUPPORTED, "'%.256s' is no linear: fp8 quantizes only those", m->name);
        if (m->format || m->table) continue;
        if (json_array_append_new(list, json_string(m->name)) != 0)
            return error_set(err, ERR_FORMAT, "module name '%.256s' is not valid UTF-8", m->name);
    }
    return true;
}

bool quant_config_fp8(const struct quant_config *q, json_t *doc, struct error *err)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < q->n_modules; i++) n += q->modules[i].format != NULL;
    if (n == 0) return error_set(err, ERR_USAGE, "the recipe quantizes no linear of this model");
    if (q->kv_algo)
        return error_set(err, ERR_UNSUPPORTED,
                         "the layout fp8 says nothing of caches; an %.16s cache cannot be described", q->kv_algo);
    return json_put(doc, "activation_scheme", json_string("dynamic"), err) &&
           json_put(doc, "fmt", json_string("e4m3"), err) && json_put(doc, "quant_method", json_string("fp8"), err) &&
           json_put(doc, "weight_block_size", json_pack("[i,i]", 128, 128), err) && put_unconverted(q, doc, err);
}
