#include "tests/checks.h"

#include "core/arena.h"
#include "formats/name_match.h"
#include "formats/quant_config.h"
#include "formats/quant_exclude.h"

#include <time.h>

#define MODULES_MAX 16

struct row { const char *name, *container, *format; };

static uint32_t fill(struct quant_module *m, const struct row *rows)
{
    uint32_t n = 0;
    for (; rows[n].name; n++)
        m[n] = (struct quant_module){rows[n].name, rows[n].container, rows[n].format ? quant_format_find(rows[n].format) : NULL,
                                     false, false};
    return n;
}

static bool write_file(const struct row *rows, const char *kv, const char *excluded, json_t **out, struct error *err)
{
    struct quant_module m[MODULES_MAX];
    struct quant_config q = {m, fill(m, rows), kv, &excluded, excluded != NULL, NULL, false};
    return quant_config_file(&q, out, err);
}

/* exclude_modules, joined by spaces. */
static const char *exclusions(const struct row *rows, const char *excluded)
{
    static char text[512];
    CLEANUP(json) json_t *doc = NULL;
    CHECK_OK(write_file(rows, NULL, excluded, &doc, e_));
    const json_t *list = json_object_get(json_object_get(doc, "quantization"), "exclude_modules");
    text[0] = '\0';
    for (size_t i = 0; i < json_array_size(list); i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? " " : "", json_string_value(json_array_get(list, i)));
    return text;
}

/* The rule of ModelOpt, and what it must not hit. */
static void test_exclusions(void **state)
{
    (void)state;
    static const struct { struct row rows[6]; const char *excluded, *want; } cases[] = {
        {{{"m.a", NULL, "fp8"}}, NULL, ""},
        {{{"m.a", NULL, "fp8"}, {"lm_head", NULL, NULL}, {"embed", NULL, NULL}, {"m.b", NULL, NULL}}, NULL, "embed lm_head m.b"},
        {{{"m.0.x.a", NULL, "fp8"}, {"m.0.y.a", NULL, NULL}, {"m.0.y.b", NULL, NULL}, {"m.1.x", NULL, NULL}}, NULL, "m.0.y* m.1*"},
        /* layer 1 is plain, layer 10 is not */
        {{{"m.1.x", NULL, NULL}, {"m.10.x", NULL, "fp8"}, {"m.1.y.z", NULL, NULL}}, NULL, "m.1.*"},
        {{{"m.1", NULL, NULL}, {"m.1.y", NULL, NULL}, {"m.10", NULL, "fp8"}}, NULL, "m.1.* m.[1]"},
        {{{"v.a.x", NULL, NULL}, {"v.b", NULL, NULL}, {"m.a", NULL, "fp8"}}, NULL, "v*"},
        {{{"mtp.a.x", NULL, NULL}, {"v.b", NULL, NULL}, {"m.a", NULL, "fp8"}}, "mtp", "v* mtp*"},
        /* A router whose name begins the name of a quantized linear, a tower whose name stands inside one. */
        {{{"m.gate", NULL, NULL}, {"m.gate_proj", NULL, "fp8"}}, NULL, "m.gat[e]"},
        {{{"vision.a", NULL, NULL}, {"m.vision.b", NULL, "fp8"}}, NULL, "visio[n]*"},
        {{{"head", NULL, NULL}, {"m.lm_head", NULL, "fp8"}, {"m.x", NULL, NULL}}, NULL, "hea[d] m.x"},
        {{{"a", NULL, NULL}, {"ab", NULL, NULL}, {"m.cab", NULL, "fp8"}}, NULL, "[a] a[b]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(exclusions(cases[i].rows, cases[i].excluded), cases[i].want);
}

static void test_refuses(void **state)
{
    (void)state;
    static const struct { struct row rows[4]; const char *kv, *excluded; enum error_code code; const char *why; } cases[] = {
        {{{NULL, NULL, NULL}}, NULL, NULL, ERR_USAGE, "quantizes no linear"},
        {{{"m.a", NULL, NULL}}, NULL, NULL, ERR_USAGE, "quantizes no linear"},
        {{{"m.experts.0.a", "m.experts", "fp8"}, {"m.experts.1.a", "m.experts", NULL}}, NULL, NULL, ERR_UNSUPPORTED,
         "the linears of 'm.experts' would be stored as"},
        {{{"m.experts.0.a", "m.experts", "fp8"}, {"m.experts.0.b", "m.experts", "nvfp4"}}, NULL, NULL, ERR_UNSUPPORTED, "'m.experts'"},
        {{{"m.a", NULL, "fp8"}, {"m.a", NULL, "nvfp4"}}, NULL, NULL, ERR_UNSUPPORTED, "'m.a'"},
        {{{"m.a", NULL, "fp8"}}, "INT8", NULL, ERR_UNSUPPORTED, "a INT8 cache"},
        {{{"mtp.a", NULL, "fp8"}}, NULL, "mtp", ERR_INTERNAL, "its whole branch is excluded"},
        {{{"m.a", "x.experts", "fp8"}}, NULL, NULL, ERR_INTERNAL, "does not lie in"},
        {{{"m.a", "m.ab", "fp8"}}, NULL, NULL, ERR_INTERNAL, "does not lie in"},
        {{{"m.*", NULL, NULL}, {"m.a", NULL, "fp8"}}, NULL, NULL, ERR_UNSUPPORTED, "has a wildcard in its name"},
        {{{"m.[a]", NULL, "fp8"}}, NULL, NULL, ERR_UNSUPPORTED, "has a wildcard in its name"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *doc;
        CHECK_FAILS(write_file(cases[i].rows, cases[i].kv, cases[i].excluded, &doc, e_), cases[i].code, cases[i].why);
        assert_null(doc);
    }
}

/* The rule, slowly and without any of the code it checks. */
static void slow_rule(const char *name, const char (*quantized)[12], uint32_t n, char *out)
{
    for (const char *dot = name; (dot = strchr(dot, '.')); dot++) {
        size_t k = (size_t)(dot - name);
        bool begins = false, below = false;
        for (uint32_t i = 0; i < n; i++) {
            begins = begins || strncmp(quantized[i], name, k) == 0;
            below = below || (strncmp(quantized[i], name, k) == 0 && (quantized[i][k] == '.' || !quantized[i][k]));
        }
        if (!begins || !below) {
            sprintf(out, "%.*s%s", (int)k, name, begins ? ".*" : "*");
            return;
        }
    }
    strcpy(out, name);
}

static bool hits(const char *pattern, const char *name)
{
    char stem[16];
    size_t n = strlen(pattern);
    snprintf(stem, sizeof stem, "%.*s", (int)(n && pattern[n - 1] == '*' ? n - 1 : n), pattern);
    return glob_match(pattern, name) || (n && pattern[n - 1] == '*' && n > 1 && pattern[n - 2] == '.' ? false : strstr(name, stem) != NULL);
}

static void test_random_exclusions(void **state)
{
    (void)state;
    uint64_t seed = 11;
    for (int round = 0; round < 20000; round++) {
        char plain[8][12], quantized[8][12];
        const char *p[8], *q[8], *out[8];
        uint32_t n_plain = (uint32_t)(check_random(&seed) % 9), n_quantized = 1 + (uint32_t)(check_random(&seed) % 8), n_out;
        for (uint32_t i = 0; i < n_plain + n_quantized; i++) {
            char *t = i < n_plain ? plain[i] : quantized[i - n_plain];
            size_t n = 1 + check_random(&seed) % 9;
            for (size_t k = 0; k < n; k++) t[k] = k % 2 == 0 || check_random(&seed) % 3 == 0 ? "ab"[check_random(&seed) % 2] : '.';
            t[n] = '\0';
            if (t[n - 1] == '.') t[n - 1] = 'a';
            bool is_plain = i >= n_plain;
            for (uint32_t k = 0; is_plain && k < n_plain; k++)
                if (strcmp(plain[k], t) == 0) strcpy(t, "zz.z");        /* no name on both sides */
        }
        for (uint32_t i = 0; i < n_plain; i++) p[i] = plain[i];
        for (uint32_t i = 0; i < n_quantized; i++) q[i] = quantized[i];
        struct arena *a = arena_new();
        CHECK_OK(quant_exclude(a, p, n_plain, q, n_quantized, out, &n_out, e_));
        for (uint32_t i = 0; i < n_quantized; i++)
            for (uint32_t k = 0; k < n_out; k++)
                if (hits(out[k], quantized[i])) fail_msg("round %d: '%s' hits quantized '%s'", round, out[k], quantized[i]);
        for (uint32_t i = 0; i < n_plain; i++) {
            char want[16];
            bool matched = false, there = false;
            slow_rule(plain[i], (const char (*)[12])quantized, n_quantized, want);
            for (uint32_t k = 0; k < n_out; k++) {
                char bare[24], *b = bare;
                for (const char *s = out[k]; *s; s++)
                    if (*s != '[' && *s != ']') *b++ = *s;
                *b = '\0';
                matched = matched || glob_match(out[k], plain[i]);
                there = there || strcmp(bare, want) == 0;
            }
            if (!matched || !there) fail_msg("round %d: '%s' wants '%s'", round, plain[i], want);
        }
        arena_free(a);
    }
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* 50 000 modules, in the worst of orders: all different, half of them excluded one by one. */
static void test_many(void **state)
{
    (void)state;
    enum { N = 50000 };
    struct arena *a = arena_new();
    struct quant_module *m = calloc(N, sizeof *m);
    const struct quant_format *formats[2] = {quant_format_find("fp8"), quant_format_find("nvfp4")};
    for (int mixed = 0; mixed < 2; mixed++) {
        uint64_t seed = 3;
        for (uint32_t i = 0; i < N; i++)
            m[i] = (struct quant_module){.name = arena_printf(a, "backbone.layers.%llu.mixer.part.%u.%s",
                                                              (unsigned long long)check_random(&seed) % 90,
                                                              i, i % 2 ? "proj" : "gate"),
                                         .format = i % 2 ? formats[mixed && i % 4 == 1] : NULL};
        struct quant_config q = {.modules = m, .n_modules = N, .kv_algo = "FP8"};
        CLEANUP(json) json_t *file = NULL;
        CLEANUP(json) json_t *inl = NULL;
        double start = seconds();
        CHECK_OK(quant_config_file(&q, &file, e_));
        CHECK_OK(quant_config_inline(&q, &inl, e_));
        double took = seconds() - start;
        print_message("%d modules, %s: %.2f s\n", N, mixed ? "mixed" : "uniform", took);
        assert_true(took < 10);    /* a quadratic one takes minutes */
    }
    free(m);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_exclusions), cmocka_unit_test(test_refuses),
                                       cmocka_unit_test(test_random_exclusions),
                                       cmocka_unit_test(test_many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
