/* Policies: what is read asks for something, every rule has signers and a number of them that can be met, and versions and times compare
 * as they are written. Keys in files are not found: the policy's folder does not exist. */
#include "verify/policy.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_signers(const struct signers *s, uint32_t threshold)
{
    if (s->n_keys > SIGNERS_KEYS_MAX || threshold == 0) abort();
    if (signers_any(s) && s->roots == NULL && threshold > s->n_keys) abort();
}

static void check_policy(const struct policy *p)
{
    static const char *const names[] = {"demo", "", "a/b/c:v1", "super-nvfp4"};
    for (uint32_t i = 0; i < p->n_rules; i++) {
        if (p->rules[i].n_names == 0 || !signers_any(&p->rules[i].signers)) abort();
        check_signers(&p->rules[i].signers, p->rules[i].signers.threshold);
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct policy_rule *r = policy_rule_for(p, names[i]);
        if (r && (r < p->rules || r >= p->rules + p->n_rules)) abort();
    }
    for (uint32_t i = 0; i < p->n_attestations; i++)
        if (!p->attestations[i].type || !*p->attestations[i].type) abort();
    if (isnan(p->kl_mean_at_most) || isnan(p->top1_at_least) || isnan(p->layer_sqnr_at_least_db)) abort();
    int same;
    if (p->minimum_version && (!policy_compare_versions(p->minimum_version, p->minimum_version, &same) || same != 0)) abort();
}

/* The text as two versions, cut in the middle: one is older than the other exactly when that is newer. */
static void check_versions(const uint8_t *data, size_t size)
{
    char a[64], b[64];
    int x, y;
    int64_t t;
    if (size > 120) return;
    snprintf(a, sizeof a, "%.*s", (int)(size / 2), (const char *)data);
    snprintf(b, sizeof b, "%.*s", (int)(size - size / 2), (const char *)data + size / 2);
    if (policy_compare_versions(a, b, &x) != policy_compare_versions(b, a, &y)) abort();
    if (policy_compare_versions(a, b, &x) && policy_compare_versions(b, a, &y) && x != -y) abort();
    if (policy_parse_time(a, &t) && strlen(a) < 10) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = ERROR_INIT;
    __attribute__((cleanup(cleanup_policy))) struct policy p = {0};
    check_versions(data, size);
    if (!policy_parse(&p, "no-such-folder/policy.yaml", bytes_of(data, size), &e)) {
        if (e.code == ERR_NONE || e.code == ERR_INTERNAL || !e.text[0]) abort();
        return 0;
    }
    check_policy(&p);
    return 0;
}

#include "tests/fuzz/replay.h"
