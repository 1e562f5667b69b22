#include "cli/backend_args.h"
#include "cli/build_job.h"

#include <string.h>

struct build_args {
    struct common_args common;
    const char *output;
};

static const struct option options[] = {
    {"output", 'o', OPTION_TEXT, offsetof(struct build_args, output), "DIR", "everything goes here (default: build)", 0,
     0},
    BACKEND_OPTION(struct build_args),
    COMMON_OPTIONS(struct build_args),
};

static bool stage_line(const struct build_job *j, const struct build_stage *s, bool skipped, struct error *err)
{
    if (!j->env->common->json) return true;
    return print_json(json_pack("{s:s,s:b}", "stage", s->name, "skipped", skipped), err);
}

static bool run_stages(struct build_job *j, struct error *err)
{
    for (const struct build_stage *s = build_stages; s->run; s++) {
        bool skipped = false;
        progress_update(j->env->progress, s->name, NULL, 0, 0);
        if (!progress_go_on(j->env->progress, err) || !s->run(j, &skipped, err)) return error_wrap(err, "%s", s->name);
        if (skipped) progress_note(j->env->progress, s->name, "was there and is still right");
        if (!stage_line(j, s, skipped, err)) return false;
    }
    return true;
}

static void print_parity(const struct parity *p)
{
    if (p->n_tokens == 0) return;
    if (p->output == OUTPUT_EMBEDDING)
        print_text("parity     cosine %.6f, of the worst text %.6f (%llu texts)\n", p->cosine_mean, p->cosine_least,
                   (unsigned long long)p->n_texts);
    if (p->output == OUTPUT_SCORES)
        print_text("parity     scores %.6f apart, at most %.6f (%llu texts)\n", p->score_difference_mean,
                   p->score_difference_max, (unsigned long long)p->n_texts);
    if (p->output != OUTPUT_LOGITS) return;
    print_text("parity     KL %.5f nats per token, top-1 %.2f %%, perplexity %.3f -> %.3f (%llu tokens)\n", p->kl.mean,
               100 * p->top1.mean, p->ppl_original, p->ppl_quantized, (unsigned long long)p->n_tokens);
}

/* A word of a command line that the user may copy: in quotes where a shell would not take it as one word. */
static void print_word(const char *w)
{
    if (*w && !w[strspn(w, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:@%+=,-")]) {
        print_text(" %s", w);
        return;
    }
    print_text(" '");
    for (; *w; w++) print_text(*w == '\'' ? "'\\''" : "%c", *w);
    print_text("'");
}

static void print_command(const char *const *words)
{
    print_text(" ");
    for (; *words; words++) print_word(*words);
    print_text("\n");
}

static void print_next(const struct build_job *j, const char *key)
{
    const struct release *r = &j->release;
    const char *me = j->env->program, *policy = r->policy;
    print_text("\nnext:\n");
    print_command((const char *const[]){me, "verify", j->ref, "--key", key, "--against", r->source,
                                        policy ? "--policy" : NULL, policy, NULL});
    if (j->parity.output == OUTPUT_LOGITS)
        print_command((const char *const[]){me, "generate", j->ref, "--prompt", r->prompt, "-n", "40", NULL});
    print_command((const char *const[]){me, "plan", r->source, "--recipe", r->recipe, NULL});
}

/* What the JSON says of parity. */
struct two_figures {
    const char *names[2];
    double values[2];
};

static struct two_figures figures_of(const struct parity *p)
{
    switch (p->output) {
    case OUTPUT_EMBEDDING:
        return (struct two_figures){{"cosine_mean", "cosine_least"}, {p->cosine_mean, p->cosine_least}};
    case OUTPUT_SCORES:
        return (struct two_figures){{"score_difference_mean", "score_difference_max"},
                                    {p->score_difference_mean, p->score_difference_max}};
    case OUTPUT_LOGITS: break;
    }
    return (struct two_figures){{"kl_mean", "top1_agreement"}, {p->kl.mean, p->top1.mean}};
}

static bool summary(const struct build_job *j, struct error *err)
{
    char was[32], is[32], image[DIGEST_HEX_SIZE];
    digest_hex(&j->image, image);
    const struct two_figures f = figures_of(&j->parity);
    if (j->env->common->json)
        return print_json(json_pack("{s:s,s:s+,s:I,s:I,s:s,s:s,s:f,s:f}", "package", j->ref, "image", "sha256:", image,
                                    "source_bytes", (json_int_t)j->source_bytes, "bytes",
                                    (json_int_t)j->quantized_bytes, "quantized", j->quantized, "report", j->report_path,
                                    f.names[0], f.values[0], f.names[1], f.values[1]),
                          err);
    const char *key = j->release.public_key ? j->release.public_key : j->public_key;
    text_bytes(was, j->source_bytes);
    text_bytes(is, j->quantized_bytes);
    print_text("\n%s is built, signed and verified\n", j->release.name);
    print_text("size       %s -> %s\n", was, is);
    print_parity(&j->parity);
    print_text("package    %s\nimage      sha256:%s\nreport     %s\n", j->ref, image, j->report_path);
    print_next(j, key);
    return true;
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct build_args *a = args;
    struct build_job j;
    /* Every build ends with a parity run. */
    if (!backend_forward(env->common, "verify", err)) return false;
    bool ok = build_open(&j, env, operands[0], a->output ? a->output : "build", err) && run_stages(&j, err) &&
              summary(&j, err);
    build_close(&j);
    return ok;
}

const struct command command_build = {
    .name = "build",
    .operands = "RELEASE.yaml|DIR",
    .summary = "runs every stage of a release file, from inspect to verify",
    .details = "A stage whose result is there and still right is skipped. A folder stands for the release.yaml in it.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct build_args),
    .min_operands = 1,
    .max_operands = 1,
    .resumes = true,
    .run = run,
};
