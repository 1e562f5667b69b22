/* What engine/footprint.h says beforehand is what the engine's scratch holds at most afterwards, in every kind of block,
 * in both arithmetics, one with two threads, for one text and for several that are cut into calls. Forecasts are
 * compared with counts that the allocator keeps, so nothing here depends on the machine; resident memory as the kernel
 * sees it: tests/golden/memory.py. */
#include "backends/cpu/kernel.h"
#include "core/memory.h"
#include "engine/block.h"
#include "engine/footprint.h"
#include "tests/tiny_model.h"

#define MOE ",\"n_routed_experts\":8,\"num_experts_per_tok\":2,\"n_group\":4,\"topk_group\":2,\"n_shared_experts\":2,"  \
    "\"moe_intermediate_size\":16,\"norm_topk_prob\":true,\"routed_scaling_factor\":2.5,"                              \
    "\"scoring_func\":\"sigmoid\",\"topk_method\":\"noaux_tc\""
#define NEXT(more)                                                                                                     \
    "{\"architectures\":[\"Qwen3NextForCausalLM\"],\"hidden_size\":64,\"vocab_size\":512,\"num_hidden_layers\":4,"       \
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":32,\"hidden_act\":\"silu\",\"linear_key_head_dim\":16," \
    "\"linear_value_head_dim\":8,\"linear_num_key_heads\":2,\"linear_num_value_heads\":6,\"linear_conv_kernel_dim\":4,"  \
    "\"num_experts\":8,\"num_experts_per_tok\":3,\"moe_intermediate_size\":48,\"shared_expert_intermediate_size\":40,"   \
    "\"partial_rotary_factor\":0.25,\"mlp_only_layers\":[1],\"intermediate_size\":96" more "}"
#define DEEPSEEK(q_rank)                                                                                               \
    "{\"architectures\":[\"DeepseekV3ForCausalLM\"],\"model_type\":\"deepseek_v3\",\"hidden_size\":32,"                  \
    "\"vocab_size\":64,\"num_hidden_layers\":2,\"num_attention_heads\":3,\"q_lora_rank\":" q_rank                         \
    ",\"kv_lora_rank\":40,\"qk_nope_head_dim\":12,\"qk_rope_head_dim\":8,\"v_head_dim\":20,\"intermediate_size\":48,"    \
    "\"first_k_dense_replace\":1,\"max_position_embeddings\":4096,\"rope_theta\":10000,\"rms_norm_eps\":1e-06,"          \
    "\"hidden_act\":\"silu\",\"tie_word_embeddings\":false" MOE "}"

/* A configuration, whose weights are made here, or the folder of a checkpoint that is there. */
static const struct {
    const char *name, *config, *folder;
} subjects[] = {
    {"hybrid", TINY_CONFIG, NULL},
    {"hybrid, wide", NULL, "examples/nano-hybrid/model"},
    {"delta by key head", NEXT(",\"full_attention_interval\":2"), NULL},
    {"latent", DEEPSEEK("16"), NULL},
    {"latent, queries direct", DEEPSEEK("null"), NULL},
    {"llama", NULL, "tests/vectors/engine/llama"},
    {"biases", NULL, "tests/vectors/engine/biases"},
    {"linear blocks", NULL, "tests/vectors/engine/deci"},
    {"gelu and windows", NULL, "tests/vectors/engine/gemma3"},
    {"sinks", NULL, "tests/vectors/engine/gpt_oss"},
    {"mxfp4", NULL, "tests/vectors/engine/gpt_oss_mxfp4"},
    {"int4, latent", NULL, "tests/vectors/engine/kimi_int4"},
    {"windows", NULL, "tests/vectors/engine/mistral"},
    {"experts", NULL, "tests/vectors/engine/qwen3_moe"},
    {"layer norms", NULL, "tests/vectors/engine/nemotron"},
};
#define N_SUBJECTS (sizeof subjects / sizeof *subjects)

#define N_IDS 3000u
static uint32_t ids[N_IDS];

static uint64_t worker_peak(const struct engine *e)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < pool_threads(e->pool); i++) need_most(&most, worker_scratch(e, i)->peak);
    return most;
}

/* Nothing more than was said, and not much less: a batch of experts may have fewer rows than there is room for, and of
 * the places where panels are made not every worker sees the largest. */
static void compare(const char *subject, const char *what, uint64_t was, uint64_t said)
{
    if (was > said || was * 10 < said * 9)
        fail_msg("%s: %s: %llu bytes, forecast %llu", subject, what, (unsigned long long)was, (unsigned long long)said);
}

static void forget(struct engine *e)
{
    for (uint32_t i = 0; i <= pool_threads(e->pool); i++) scratch_close(&e->scratch[i]);
}

static void run_stream(const char *name, struct engine *e, const struct text_ids *texts, uint32_t n)
{
    struct stream_footprint f;
    struct stream *s;
    float *logits;
    char what[80];
    forget(e);
    CHECK_OK(stream_footprint(&f, e, texts, n, NULL, e_));
    CHECK_OK(stream_open(&s, e, texts, n, NULL, e_));
    for (uint32_t b = 0; b < engine_config(e)->n_blocks; b++) CHECK_OK(stream_block(s, b, NULL, NULL, e_));
    uint64_t rows = stream_logit_rows(e, stream_rows(s));
    CHECK_OK(memory_alloc(&logits, rows * engine_config(e)->dims[DIM_VOCAB], sizeof *logits, e_));
    CHECK_OK(stream_logits(s, 0, rows, NULL, logits, e_));
    free(logits);
    stream_close(s);
    snprintf(what, sizeof what, "%u texts, %u threads, %s", n, pool_threads(e->pool), e->compute ? "bf16" : "fp32");
    compare(name, what, e->scratch[0].peak, f.calling);
    strcat(what, ", a worker");
    compare(name, what, worker_peak(e), f.worker);
}

static void run_session(const char *name, struct engine *e, uint32_t n)
{
    struct session_footprint f;
    struct session *s;
    float *logits;
    forget(e);
    CHECK_OK(session_footprint(&f, e, n, e_));
    CHECK_OK(session_open(&s, e, e_));
    CHECK_OK(memory_alloc(&logits, engine_config(e)->dims[DIM_VOCAB], sizeof *logits, e_));
    CHECK_OK(session_feed(s, ids, n - 1, logits, e_));
    CHECK_OK(session_feed(s, ids + n - 1, 1, logits, e_));
    free(logits);
    session_close(s);
    compare(name, "a session", e->scratch[0].peak, f.calling);
    compare(name, "a session, a worker", worker_peak(e), f.worker);
}

static void run_subject(size_t i, struct pool *pool, enum compute compute)
{
    struct model m;
    struct engine *e;
    const char *dir = subjects[i].folder ? subjects[i].folder : check_folder();
    struct engine_options o = {.pool = pool, .isa = isa_detected(), .compute = compute, .quantize_inputs = true};
    if (subjects[i].config) tiny_model_write(dir, subjects[i].config, (struct tiny_edit){.shapes = subjects[i].config});
    CHECK_OK(model_open(&m, dir, e_));
    CHECK_OK(engine_open(&e, m.inventory, &o, e_));
    for (uint32_t k = 0; k < N_IDS; k++) ids[k] = k * 37 % (uint32_t)m.inventory->config.dims[DIM_VOCAB];
    const struct text_ids one = {ids, 1000}, three[] = {{ids, 1200}, {ids + 5, 900}, {ids, 40}};
    run_stream(subjects[i].name, e, &one, 1);
    run_stream(subjects[i].name, e, three, 3);
    run_session(subjects[i].name, e, 600);
    engine_close(e);
    model_close(&m);
    if (subjects[i].config) check_folder_remove(dir);
}

static void with(uint32_t threads, enum compute compute)
{
    struct pool *pool;
    CHECK_OK(pool_open(&pool, threads, e_));
    for (size_t i = 0; i < N_SUBJECTS; i++) run_subject(i, pool, compute);
    pool_close(pool);
}

static void test_fp32(void **state)
{
    (void)state;
    with(1, COMPUTE_FP32);
}

static void test_bf16_two_threads(void **state)
{
    (void)state;
    with(2, COMPUTE_BF16);
}

/* The stack gives back what it took, keeps what it has, and grows to one piece. */
static void test_scratch(void **state)
{
    (void)state;
    struct scratch s = {0};
    uint8_t *first, *again, *other;
    for (int round = 0; round < 3; round++) {
        SCRATCH_SCOPE(&s);
        CHECK_OK(scratch_alloc(&s, &first, 100000, 1, e_));
        memset(first, round, 100000);
        struct scratch_mark inner = scratch_enter(&s);
        CHECK_OK(scratch_alloc(&s, &other, 300, 1000, e_));
        assert_int_equal((uintptr_t)other % MEMORY_ALIGN, 0);
        memset(other, 77, 300000);
        scratch_leave(&inner);
        CHECK_OK(scratch_alloc(&s, &again, 1, 1, e_));
        for (int i = 0; i < 100000; i++)
            if (first[i] != round) fail_msg("byte %d is %d", i, first[i]);
    }
    assert_int_equal(s.taken, 0);
    assert_int_equal(s.peak, scratch_bytes(100000, 1) + scratch_bytes(300, 1000));
    CHECK_FAILS(scratch_alloc(&s, &first, UINT64_MAX, 8, e_), ERR_MEMORY, "items");
    CHECK_FAILS(scratch_alloc(&s, &first, UINT64_MAX, 1, e_), ERR_MEMORY, "items");
    scratch_close(&s);
    assert_null(s.top);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scratch),
        cmocka_unit_test(test_fp32),
        cmocka_unit_test(test_bf16_two_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
