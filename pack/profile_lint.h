/* Rules that a profile is held against before it is written: each comes from a failure that was seen in an engine. A
 * rule is data (id, severity, the engine versions it holds for, what it is about, where it was seen) and one function.
 *
 * Severity: an error means that the profile cannot run or gives wrong results; a warning that it may disappoint; info
 * is worth knowing. What cannot be decided from headers, configuration and profile is not here. */
#ifndef PACK_PROFILE_LINT_H
#define PACK_PROFILE_LINT_H

#include "pack/profile_facts.h"

enum lint_severity { LINT_INFO, LINT_WARNING, LINT_ERROR };
const char *lint_severity_name(enum lint_severity s);

struct lint_run;

struct lint_rule {
    const char *id;              /* "SSM-01" */
    enum lint_severity severity; /* the highest the rule gives */
    const char *engine;          /* NULL: any */
    const char *since, *before;  /* versions: from `since` on, earlier than `before`; NULL: open */
    const char *about, *evidence;
    void (*check)(const struct profile_facts *f, struct lint_run *run);
};
extern const struct lint_rule *const lint_rules[]; /* NULL-terminated */

struct lint_finding {
    const struct lint_rule *rule;
    enum lint_severity severity;
    const char *text;
};

struct lint_report {
    struct lint_finding *findings; /* in rule order */
    uint32_t n, n_errors, n_warnings;
};

/* Findings live in the arena. False only when memory is gone: an error of the profile is a finding. */
MUST_CHECK bool profile_lint(const struct profile_facts *f, struct arena *arena, struct lint_report *out,
                             struct error *err);
bool lint_rule_applies(const struct lint_rule *rule, const struct engine_row *engine);
/* A tag that moves ("latest", "nightly", "main", a branch) names no version. */
bool version_moves(const char *version);

/* For rules. LINT_RULE(check function, id, highest severity, about, evidence) holds for every engine and version; a
 * rule that does not is written out. */
#define LINT_RULE(fn, rule_id, highest, what, seen)                                                                    \
    const struct lint_rule rule_##fn = {                                                                               \
        .id = rule_id, .severity = highest, .about = what, .evidence = seen, .check = fn}
void lint_say(struct lint_run *run, enum lint_severity severity, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
