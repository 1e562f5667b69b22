#include "cli/commands.h"
#include "verify/diff.h"

struct diff_args {
    struct common_args common;
    uint64_t limit;
};

#define LIMIT_DEFAULT 50u

static const struct option options[] = {
    {"limit", 0, OPTION_NUMBER, offsetof(struct diff_args, limit), "N", "differences that are printed (default 50)", 1,
     1000000},
    COMMON_OPTIONS(struct diff_args),
};

static const char *text_of(const json_t *row, const char *key)
{
    const char *s = json_string_value(json_object_get(row, key));
    return s ? s : "";
}

static void print_shape(const json_t *side)
{
    size_t i;
    json_t *n;
    print_text("%s [", text_of(side, "dtype"));
    json_array_foreach (json_object_get(side, "shape"), i, n)
        print_text("%s%lld", i ? ", " : "", (long long)json_integer_value(n));
    print_text("]");
}

static void print_row(const json_t *row)
{
    const char *what = text_of(row, "what"), *how = text_of(row, "how");
    const json_t *a = json_object_get(row, "a"), *b = json_object_get(row, "b"), *n;
    print_text("%-6s %s: ", what, text_of(row, "name"));
    if (strncmp(how, "only", 4) == 0) print_text("%s", how);
    else if (strcmp(what, "key") == 0) print_text("%s, %s", json_string_value(a), json_string_value(b));
    else if (strcmp(what, "file") == 0)
        print_text("%lld bytes sha256:%.12s, %lld bytes sha256:%.12s",
                   (long long)json_integer_value(json_object_get(a, "bytes")), text_of(a, "sha256"),
                   (long long)json_integer_value(json_object_get(b, "bytes")), text_of(b, "sha256"));
    else {
        if (strcmp(how, "values") != 0) {
            print_shape(a);
            print_text(", ");
            print_shape(b);
            print_text("; ");
        }
        bool numbers = (n = json_object_get(row, "numbers_differ")) != NULL;
        if (!n) n = json_object_get(row, "bytes_differ");
        if (n)
            print_text("%lld of %lld %s differ", (long long)json_integer_value(n),
                       (long long)json_integer_value(json_object_get(row, "of")), numbers ? "numbers" : "bytes");
        if ((n = json_object_get(row, "largest"))) print_text(", by %.4g at most", json_number_value(n));
        if ((n = json_object_get(row, "relative_error"))) print_text(", relative error %.4g", json_number_value(n));
    }
    print_text("\n");
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct diff_args *a = args;
    CLEANUP(json) json_t *doc = NULL;
    if (!diff_run(operands[0], operands[1], env->pool, env->isa, env->progress, &doc, err)) return false;
    const json_t *rows = json_object_get(doc, "differences");
    unsigned long long n = json_array_size(rows) +
                           (unsigned long long)json_integer_value(json_object_get(doc, "left_off")),
                       limit = a->limit ? a->limit : LIMIT_DEFAULT;
    if (env->common->json) {
        if (!print_json(json_incref(doc), err)) return false;
    } else {
        for (size_t i = 0; i < json_array_size(rows) && i < limit; i++) print_row(json_array_get(rows, i));
        if (n > limit) print_text("and %llu more (--limit)\n", n - limit);
        print_text("%lld of %lld tensors and %lld of %lld files are the same\n",
                   (long long)json_integer_value(json_object_get(doc, "tensors_same")),
                   (long long)json_integer_value(json_object_get(doc, "tensors")),
                   (long long)json_integer_value(json_object_get(doc, "files_same")),
                   (long long)json_integer_value(json_object_get(doc, "files")));
    }
    return n == 0 ||
           error_class(err, "difference", "'%.256s' and '%.256s' differ in %llu places", operands[0], operands[1], n);
}

const struct command command_diff = {
    .name = "diff",
    .operands = "A B",
    .summary = "compares two models or packages: tensors, keys, files",
    .details = "A and B are folders, .gguf files, hf://ORG/NAME@REVISION or oci:DIR:TAG. Every value is read. The exit "
               "status is 0 when\n"
               "nothing differs and 1 when something does.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct diff_args),
    .min_operands = 2,
    .max_operands = 2,
    .run = run,
};
