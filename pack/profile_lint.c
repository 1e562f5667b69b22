#include "pack/profile_lint.h"

#include <stdarg.h>

/* One finding per rule and case; tensors of one case are counted, not listed. */
#define FINDINGS_MAX 128u

struct lint_run {
    const struct lint_rule *rule;
    struct lint_report *report;
    struct arena *arena;
    bool failed;
};

static const char *const severity_names[] = {[LINT_INFO] = "info", [LINT_WARNING] = "warning", [LINT_ERROR] = "error"};

const char *lint_severity_name(enum lint_severity s)
{
    return severity_names[s];
}

void lint_say(struct lint_run *run, enum lint_severity severity, const char *fmt, ...)
{
    char line[ERROR_TEXT_MAX / 2], clean[ERROR_TEXT_MAX / 2];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    error_printable(clean, sizeof clean, line, strlen(line));
    struct lint_report *r = run->report;
    const char *text = arena_text(run->arena, clean);
    if (!text || r->n == FINDINGS_MAX) {
        run->failed = true;
        return;
    }
    r->findings[r->n++] = (struct lint_finding){run->rule, severity, text};
    r->n_errors += severity == LINT_ERROR;
    r->n_warnings += severity == LINT_WARNING;
}

bool version_moves(const char *version)
{
    for (const char *p = version; *p; p++)
        if (*p >= '0' && *p <= '9') return strchr(version, '.') == NULL;
    return true;
}

bool lint_rule_applies(const struct lint_rule *rule, const struct engine_row *e)
{
    return (!rule->engine || strcmp(rule->engine, e->name) == 0) &&
           (!rule->since || version_compare(e->version, rule->since) >= 0) &&
           (!rule->before || version_compare(e->version, rule->before) < 0);
}

bool profile_lint(const struct profile_facts *f, struct arena *arena, struct lint_report *out, struct error *err)
{
    *out = (struct lint_report){.findings = arena_alloc(arena, FINDINGS_MAX, sizeof *out->findings)};
    if (!out->findings) return error_memory(err, 0);
    struct lint_run run = {.report = out, .arena = arena};
    for (const struct lint_rule *const *rule = lint_rules; *rule; rule++) {
        run.rule = *rule;
        if (lint_rule_applies(*rule, f->engine)) (*rule)->check(f, &run);
    }
    return run.failed ? error_memory(err, 0) : true;
}

/* ---- questions that rules and deciders share ---- */

bool facts_have_mamba(const struct profile_facts *f)
{
    return f->fit_model.n_mamba > 0;
}

bool facts_have_attention(const struct profile_facts *f)
{
    return f->fit_model.n_attention > 0;
}

bool facts_have_experts(const struct profile_facts *f)
{
    for (uint32_t i = 0; i < f->inv->config.n_blocks; i++)
        if (f->inv->config.blocks[i].kind == BLOCK_MOE) return true;
    return false;
}

bool facts_kv_fp8(const struct profile_facts *f)
{
    if (!f->kv_dtype) return false;
    /* "auto" is what the checkpoint declares (vllm utils/torch_utils.py, resolve_kv_cache_dtype_string). */
    if (strcmp(f->kv_dtype, "auto") == 0) return f->inv->kv_algo && strcmp(f->inv->kv_algo, "FP8") == 0;
    return strncmp(f->kv_dtype, "fp8", 3) == 0;
}

static bool has_kind(const struct model_config *cfg, enum block_kind kind)
{
    for (uint32_t i = 0; i < cfg->n_blocks; i++)
        if (cfg->blocks[i].kind == kind) return true;
    return false;
}

static bool kv_heads_divide(const struct attention_config *a, uint32_t tp)
{
    return a->n_kv_heads >= tp ? a->n_kv_heads % tp == 0 : tp % a->n_kv_heads == 0;
}

const struct attention_config *tp_hardest_attention(const struct model_config *cfg, uint32_t tp)
{
    const struct attention_config *found = NULL;
    for (uint32_t i = 0; i < cfg->n_blocks; i++) {
        if (cfg->blocks[i].kind != BLOCK_ATTENTION) continue;
        const struct attention_config *a = block_attention_config(cfg, &cfg->blocks[i]);
        if (!kv_heads_divide(a, tp)) return a;
        if (!found || a->n_kv_heads < found->n_kv_heads) found = a;
    }
    return found ? found : &cfg->attention;
}

bool tp_divides(const struct model_config *cfg, uint32_t tp)
{
    const struct ssm_config *s = &cfg->ssm;
    const struct attention_config *a = &cfg->attention;
    if (tp == 0) return false;
    if (has_kind(cfg, BLOCK_MAMBA2) && (s->n_heads % tp != 0 || (s->n_groups % tp != 0 && s->n_groups != 1)))
        return false;
    if (has_kind(cfg, BLOCK_MLA) && a->n_heads % tp != 0) return false;
    if (!has_kind(cfg, BLOCK_ATTENTION)) return true;
    a = tp_hardest_attention(cfg, tp);
    return a->n_heads % tp == 0 && kv_heads_divide(a, tp);
}
