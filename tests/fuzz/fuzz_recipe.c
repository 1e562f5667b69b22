/* Recipes, ours, ModelOpt's and llm-compressor's: what is read comes out the same from its own JSON, and every line can be
 * asked about a module. Imports find only standard units: the file's folder does not exist. */
#include "plan/recipe.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(const struct recipe *r)
{
    static const struct recipe_target targets[] = {
        {"backbone.layers.1.mixer.experts.0.up_proj", ROLE_EXPERT_UP, 1, false, BLOCK_ATTENTION},
        {"backbone.layers.0.mixer.conv1d", ROLE_SSM_CONV, 0, false, -1},
        {"lm_head", ROLE_LM_HEAD, -1, false, -1},
        {"mtp.layers.0.mixer.q_proj", ROLE_ATTN_Q, 0, true, -1},
    };
    uint32_t hits = 0, n = r->n_lines < 64 ? r->n_lines : 64;
    for (uint32_t i = 0; i < n; i++)
        for (size_t k = 0; k < sizeof targets / sizeof *targets; k++)
            hits += recipe_line_selects(&r->lines[i], &targets[k], "weight_quantizer") &&
                    recipe_line_speaks(&r->lines[i], r->lines[i].weights);
    if (hits > 4 * 64) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = ERROR_INIT;
    CLEANUP(recipe) struct recipe *r = NULL;
    CLEANUP(recipe) struct recipe *again = NULL;
    if (!recipe_from_text(&r, bytes_of(data, size), "no-such-folder/fuzz.yaml", &e)) {
        if (e.code == ERR_NONE || e.code == ERR_INTERNAL || !e.text[0]) abort();
        return 0;
    }
    if (!r->name || (!r->copies && r->n_lines == 0)) abort();
    ask(r);
    if (!recipe_from_json(&again, r->json, "again", &e)) abort();
    if (!digest_equal(&r->digest, &again->digest) || again->n_lines != r->n_lines) abort();
    return 0;
}

#include "tests/fuzz/replay.h"
