/* make_checkpoint DIR GIB [SEED]: a synthetic nemotron_h checkpoint of about GIB GiB for measuring memory and speed:
 * Mamba-2, attention, MLP and MoE layers in the proportions of the published hybrids, bf16 weights drawn from a normal
 * distribution with a few outlier columns. Written through the program's own writer, a piece at a time.
 *
 * make_checkpoint DIR CONFIG.json [SEED]: the same for whatever the configuration says. */
#include "core/file.h"
#include "core/json.h"
#include "formats/checkpoint.h"
#include "models/expected.h"

#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>

#define TABLE_BITS 12
#define PIECE_ELEMS ((size_t)1 << 20)

static uint16_t table[1 << TABLE_BITS]; /* bf16 quantiles of the standard normal distribution */

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u); /* SplitMix64 */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint16_t bf16_of(float v)
{
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* Inverse of the normal distribution function by bisection: slow, and run once. */
static void fill_table(void)
{
    for (int i = 0; i < 1 << TABLE_BITS; i++) {
        double p = (i + 0.5) / (1 << TABLE_BITS), lo = -6, hi = 6;
        for (int k = 0; k < 60; k++) {
            double mid = (lo + hi) / 2;
            if (0.5 * erfc(-mid / sqrt(2)) < p) lo = mid;
            else hi = mid;
        }
        table[i] = bf16_of((float)(lo * 0.02));
    }
}

/* Five values per random number; column 7 of every matrix is eight times as loud. */
static void fill_piece(uint16_t *out, size_t n, uint64_t first, uint64_t cols, uint64_t *state)
{
    for (size_t i = 0; i < n;) {
        uint64_t r = next_random(state);
        for (int k = 0; k < 5 && i < n; k++, i++, r >>= TABLE_BITS) out[i] = table[r & ((1 << TABLE_BITS) - 1)];
    }
    if (cols < 64) return;
    for (uint64_t at = first % cols <= 7 ? 7 - first % cols : cols - first % cols + 7; at < n; at += cols)
        if (out[at] & 0x7f80) out[at] = (uint16_t)(out[at] + (3 << 7));
}

static const char config_head[] = "{\n  \"architectures\": [\"NemotronHForCausalLM\"],\n  \"model_type\": "
                                  "\"nemotron_h\",\n  \"hidden_size\": 2048,\n  \"vocab_size\": 16384,\n"
                                  "  \"num_attention_heads\": 32,\n  \"num_key_value_heads\": 2,\n  \"head_dim\": "
                                  "128,\n  \"intermediate_size\": 8192,\n"
                                  "  \"mamba_num_heads\": 64,\n  \"mamba_head_dim\": 64,\n  \"ssm_state_size\": 128,\n "
                                  " \"n_groups\": 8,\n  \"conv_kernel\": 4,\n"
                                  "  \"n_routed_experts\": 32,\n  \"num_experts_per_tok\": 6,\n  \"n_shared_experts\": "
                                  "1,\n  \"moe_intermediate_size\": 1856,\n"
                                  "  \"moe_shared_expert_intermediate_size\": 3712,\n  \"n_group\": 1,\n  "
                                  "\"topk_group\": 1,\n  \"norm_topk_prob\": true,\n"
                                  "  \"routed_scaling_factor\": 2.5,\n  \"layer_norm_epsilon\": 1e-05,\n  "
                                  "\"mlp_hidden_act\": \"relu2\",\n  \"tie_word_embeddings\": false,\n"
                                  "  \"time_step_limit\": [0.0, Infinity],\n  \"max_position_embeddings\": 262144,\n  "
                                  "\"mamba_ssm_cache_dtype\": \"float32\",\n"
                                  "  \"bos_token_id\": 1,\n  \"eos_token_id\": 2,\n  \"torch_dtype\": \"bfloat16\",\n  "
                                  "\"hybrid_override_pattern\": \"%s\"\n}\n";

struct listing {
    struct tensor_spec *specs;
    uint32_t n, capacity;
};

static bool list_one(void *ctx, const struct expected_tensor *t, struct error *err)
{
    struct listing *l = ctx;
    if (l->n == l->capacity) {
        uint32_t capacity = l->capacity ? 2 * l->capacity : 1024;
        struct tensor_spec *p = realloc(l->specs, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        l->specs = p;
        l->capacity = capacity;
    }
    struct tensor_spec *s = &l->specs[l->n++];
    *s = (struct tensor_spec){.name = t->name, .dtype = DTYPE_BF16, .n_dims = t->n_dims};
    memcpy(s->dims, t->dims, sizeof s->dims);
    return true;
}

static bool write_tensors(const char *dir, const struct tensor_spec *specs, uint32_t n, uint64_t seed,
                          struct error *err)
{
    struct shard_layout l;
    uint16_t *piece = malloc(PIECE_ELEMS * sizeof *piece);
    if (!piece) return error_memory(err, PIECE_ELEMS * sizeof *piece);
    if (!shard_layout_make(&l, specs, n, 1000000000, err)) return false;
    bool ok = true;
    for (uint32_t s = 0; ok && s < l.n_shards; s++) {
        struct shard_writer *w;
        ok = shard_writer_open(&w, dir, specs, &l, s, err);
        for (uint32_t i = l.first[s]; ok && i < l.first[s + 1]; i++)
            for (uint64_t at = 0, elems = l.bytes[i] / 2; ok && at < elems; at += PIECE_ELEMS) {
                size_t m = elems - at < PIECE_ELEMS ? (size_t)(elems - at) : PIECE_ELEMS;
                fill_piece(piece, m, at, specs[i].dims[specs[i].n_dims - 1], &seed);
                ok = shard_writer_write(w, i, at * 2, piece, m * 2, err);
            }
        ok = ok && shard_writer_commit(w, err);
    }
    ok = ok && shard_index_write(dir, specs, &l, err);
    shard_layout_free(&l);
    free(piece);
    return ok;
}

static uint64_t total_bytes(const struct tensor_spec *specs, uint32_t n)
{
    uint64_t sum = 0, elems, bytes;
    for (uint32_t i = 0; i < n; i++)
        if (tensor_size(specs[i].name, specs[i].dtype, specs[i].n_dims, specs[i].dims, &elems, &bytes, NULL))
            sum += bytes;
    return sum;
}

/* The tensors of a configuration; false and an error when it is none. */
static bool list_all(struct listing *list, const char *text, struct arena *arena, struct error *err)
{
    struct hf_config hf = {0};
    struct model_config cfg;
    bool ok = json_parse(bytes_text(text), JSON_DIALECT_HF, "config", &hf.config, err) &&
              model_config_read(&cfg, &hf, arena, err) && model_expect(&cfg, arena, list_one, list, err);
    json_decref(hf.config);
    return ok;
}

static bool write_all(const char *dir, const char *text, const struct listing *list, uint64_t seed, struct error *err)
{
    CLEANUP(free) char *path = NULL;
    mkdir(dir, 0777);
    if (!path_join(&path, dir, "config.json", err) || !file_save(path, bytes_text(text), 0666, err) ||
        !write_tensors(dir, list->specs, list->n, seed, err))
        return false;
    printf("%s: %u tensors, %.2f GiB\n", dir, list->n, (double)total_bytes(list->specs, list->n) / 1073741824.0);
    return true;
}

static bool make_from(const char *dir, const char *config, uint64_t seed, struct error *err)
{
    struct arena *arena = arena_new();
    struct listing list = {0};
    struct buffer text = {0};
    bool ok = arena && file_load(AT_FDCWD, config, 1u << 20, &text, err) &&
              list_all(&list, (char *)text.data, arena, err) && write_all(dir, (char *)text.data, &list, seed, err);
    free(list.specs);
    buffer_free(&text);
    arena_free(arena);
    return ok;
}

static bool make(const char *dir, double gib, uint64_t seed, struct error *err)
{
    static const char unit[] = "MEM*E-";
    char pattern[sizeof unit * 512] = "";
    struct arena *arena = arena_new();
    bool ok = arena != NULL, done = false;
    for (uint32_t repeats = 1; ok && !done && repeats < 512; repeats++) {
        strcat(pattern, unit);
        CLEANUP(free) char *text = NULL;
        struct listing list = {0};
        ok = asprintf(&text, config_head, pattern) >= 0 && list_all(&list, text, arena, err);
        done = ok && (double)total_bytes(list.specs, list.n) >= gib * 1024 * 1024 * 1024;
        if (done) ok = write_all(dir, text, &list, seed, err);
        free(list.specs);
    }
    arena_free(arena);
    return ok && (done || error_set(err, ERR_USAGE, "%g GiB are too many", gib));
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    if (argc < 3) {
        fprintf(stderr, "usage: make_checkpoint DIR GIB|CONFIG.json [SEED]\n");
        return 2;
    }
    fill_table();
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    size_t n = strlen(argv[2]);
    bool from = n > 5 && strcmp(argv[2] + n - 5, ".json") == 0;
    if (from ? make_from(argv[1], argv[2], seed, &err) : make(argv[1], atof(argv[2]), seed, &err)) return 0;
    fprintf(stderr, "make_checkpoint: %s\n", err.text);
    return error_exit_status(&err);
}
