/* vLLM's own files: vllm.yaml for `vllm serve --config`, the same as a command line, and the environment. One list of
 * options makes the first two, so that they cannot differ. */
#include "pack/profile_parts.h"

/* A word is plain in YAML (row_word_is_plain), a map is JSON text, which YAML reads too. */
enum option_kind { OPTION_WORD, OPTION_NUMBER, OPTION_TRUE, OPTION_MAP };
struct option {
    const char *key, *value;
    enum option_kind kind;
};

#define OPTIONS_MAX 32u
#define ENV_MAX 16u

struct options {
    struct option options[OPTIONS_MAX];
    struct setting env[ENV_MAX];
    uint32_t n, n_env;
    const struct engine_row *engine;
    struct arena *arena;
};

/* A spelling that the row does not list is a mistake of this file, not of the user. */
static bool put(struct options *o, const char *key, enum option_kind kind, const char *value, struct error *err)
{
    if (!row_lists(o->engine->flags, key))
        return error_set(err, ERR_INTERNAL, "profile: flag '%s' is not in the row of %s %s", key, o->engine->name,
                         o->engine->version);
    if (!value || o->n == OPTIONS_MAX) return error_memory(err, 0);
    o->options[o->n++] = (struct option){key, value, kind};
    return true;
}

static bool put_number(struct options *o, const char *key, uint64_t value, struct error *err)
{
    return put(o, key, OPTION_NUMBER, arena_printf(o->arena, "%llu", (unsigned long long)value), err);
}

static bool put_env(struct options *o, const char *key, const char *value, struct error *err)
{
    if (!value || o->n_env == ENV_MAX) return error_memory(err, 0);
    o->env[o->n_env++] = (struct setting){key, value};
    return true;
}

/* True when a linear outside, or one inside the routed experts is stored so. */
static bool stored_as(const struct profile_facts *f, const char *algo, bool experts)
{
    for (uint32_t i = 0; i < f->inv->n_tensors; i++) {
        const struct model_tensor *t = &f->inv->tensors[i];
        if (t->format && strcmp(t->format->algo, algo) == 0 && (t->place.expert >= 0) == experts) return true;
    }
    return false;
}

static bool holds(const struct profile_facts *f, const struct setting_row *s)
{
    return (!s->gpus || row_lists(s->gpus, f->gpu->id)) && (!s->experts || stored_as(f, s->experts, true)) &&
           (!s->linears || stored_as(f, s->linears, false));
}

static bool put_settings(struct options *o, const struct profile_facts *f, struct error *err)
{
    for (uint32_t i = 0; i < f->engine->n_settings; i++) {
        const struct setting_row *s = &f->engine->settings[i];
        if (!holds(f, s)) continue;
        for (uint32_t k = 0; k < s->n_flags; k++)
            if (!put(o, s->flags[k].key, OPTION_WORD, s->flags[k].value, err)) return false;
        for (uint32_t k = 0; k < s->n_env; k++)
            if (!put_env(o, s->env[k].key, s->env[k].value, err)) return false;
    }
    return !f->long_context || put_env(o, f->engine->context_env, "1", err);
}

static bool put_all(struct options *o, const struct profile_facts *f, struct error *err)
{
    if (f->has_auto_map && !f->missing_code && row_lists(f->engine->remote_code, f->model_type) &&
        !put(o, "trust-remote-code", OPTION_TRUE, "", err))
        return false;
    if (!put_number(o, "tensor-parallel-size", f->tp, err)) return false;
    if (f->expert_parallel && !put(o, "enable-expert-parallel", OPTION_TRUE, "", err)) return false;
    if (!put(o, "gpu-memory-utilization", OPTION_NUMBER,
             arena_printf(o->arena, "%.3g", f->utilisation_permille / 1000.0), err) ||
        !put_number(o, "max-model-len", f->context, err) || !put_number(o, "max-num-seqs", f->sequences, err) ||
        !put(o, "kv-cache-dtype", OPTION_WORD, f->kv_dtype, err))
        return false;
    if (f->ssm_dtype) {
        /* Off is this version's default for hybrids; said aloud, because the memory figure holds only without it. */
        if (!put(o, "mamba-ssm-cache-dtype", OPTION_WORD, f->ssm_dtype, err) ||
            !put(o, "no-enable-prefix-caching", OPTION_TRUE, "", err))
            return false;
    }
    if (f->drafts &&
        !put(o, "speculative-config", OPTION_MAP,
             arena_printf(o->arena, "{\"method\": \"mtp\", \"num_speculative_tokens\": %u}", f->drafts), err))
        return false;
    if (f->reasoning_parser && !put(o, "reasoning-parser", OPTION_WORD, f->reasoning_parser, err)) return false;
    if (f->tool_parser && (!put(o, "enable-auto-tool-choice", OPTION_TRUE, "", err) ||
                           !put(o, "tool-call-parser", OPTION_WORD, f->tool_parser, err)))
        return false;
    return put_settings(o, f, err);
}

/* In single quotes when the shell would see more than a word. */
static void shell_word(struct text *t, const char *s)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=,@";
    if (*s && s[strspn(s, safe)] == '\0') {
        text_add(t, "%s", s);
        return;
    }
    text_add(t, "'");
    for (; *s; s++) {
        if (*s == '\'') text_add(t, "'\\''");
        else text_put(t, s, 1);
    }
    text_add(t, "'");
}

static void head(struct text *t, const struct profile_facts *f, const char *use)
{
    text_add(t, "# %s %s on %u %s. %s\n", f->engine->name, f->engine->version, f->tp, f->gpu->id, use);
}

static bool write_yaml(const struct options *o, const struct profile_facts *f, struct profile_result *out,
                       struct error *err)
{
    __attribute__((cleanup(cleanup_text))) struct text t = TEXT_INIT;
    head(&t, f, "vllm serve MODEL --config vllm.yaml");
    for (uint32_t i = 0; i < o->n; i++) {
        const struct option *x = &o->options[i];
        text_add(&t, "%s: %s\n", x->key, x->kind == OPTION_TRUE ? "true" : x->value);
    }
    return profile_add_file(out, "vllm.yaml", 0644, &t, err);
}

static bool write_command(const struct options *o, const struct profile_facts *f, struct profile_result *out,
                          struct error *err)
{
    __attribute__((cleanup(cleanup_text))) struct text t = TEXT_INIT;
    text_add(&t, "#!/bin/sh\n");
    head(&t, f, "The same as vllm.yaml and env; MODEL is the folder, more options may follow");
    text_add(&t, "set -eu\n");
    for (uint32_t i = 0; i < o->n_env; i++) {
        text_add(&t, "export %s=", o->env[i].key);
        shell_word(&t, o->env[i].value);
        text_add(&t, "\n");
    }
    text_add(&t, "exec vllm serve \"${MODEL:-/models}\" \\\n");
    for (uint32_t i = 0; i < o->n; i++) {
        text_add(&t, "    --%s", o->options[i].key);
        if (o->options[i].kind != OPTION_TRUE) {
            text_add(&t, " ");
            shell_word(&t, o->options[i].value);
        }
        text_add(&t, " \\\n");
    }
    text_add(&t, "    \"$@\"\n");
    return profile_add_file(out, "command.sh", 0755, &t, err);
}

/* KEY=VALUE as `docker --env-file` and systemd read it: no quotes. */
static bool write_env(const struct options *o, const struct profile_facts *f, struct profile_result *out,
                      struct error *err)
{
    __attribute__((cleanup(cleanup_text))) struct text t = TEXT_INIT;
    head(&t, f, o->n_env ? "Environment of the server" : "No environment is needed");
    for (uint32_t i = 0; i < o->n_env; i++) text_add(&t, "%s=%s\n", o->env[i].key, o->env[i].value);
    return profile_add_file(out, "env", 0644, &t, err);
}

static bool write_vllm(const struct profile_facts *f, struct profile_result *out, struct error *err)
{
    struct options o = {.engine = f->engine, .arena = out->arena};
    return put_all(&o, f, err) && write_yaml(&o, f, out, err) && write_command(&o, f, out, err) &&
           write_env(&o, f, out, err);
}

const struct profile_writer profile_writer_vllm = {"vllm", write_vllm};
