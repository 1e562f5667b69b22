/* What a verification found: a list of checks, each with a verdict, the number measured and the number allowed. "No"
 * and "could not tell" are different answers: VERDICT_UNDECIDED is something asked for that could not be checked. */
#ifndef VERIFY_REPORT_H
#define VERIFY_REPORT_H

#include "core/json.h"

enum verdict { VERDICT_PASS, VERDICT_FAIL, VERDICT_UNDECIDED };

/* Classes of failure; the word stands in the JSON and at the start of the sentence. */
#define CHECK_SIGNATURE "signature" /* there is one, and it does not fit */
#define CHECK_NO_SIGNATURE "no-signature"
#define CHECK_DIGEST "digest" /* bytes are not those that were named */
#define CHECK_LAYOUT "layout" /* the package or the checkpoint is not shaped as it must be */
#define CHECK_CERTIFICATE "certificate"
#define CHECK_POLICY "policy"
#define CHECK_PARITY "parity"

struct report;

MUST_CHECK bool report_open(struct report **out, struct error *err);
void report_close(struct report *r); /* NULL is fine */
CLEANUP_DEFINE(report, struct report, report_close)

/* `name` says what was checked ("layer 3 of 12 (model.safetensors)"), `detail` what was found: one sentence each. */
void report_add(struct report *r, const char *check_class, enum verdict v, const char *name, const char *fmt, ...)
    PRINTF_LIKE(5, 6);
/* The same with a figure and its limit. `at_most`: measured must not exceed allowed; otherwise it must not fall below.
 */
void report_add_figure(struct report *r, const char *check_class, const char *name, double measured, double allowed,
                       bool at_most, const char *fmt, ...) PRINTF_LIKE(7, 8);
/* Free-form figures for the JSON, under a key of the report's own ("parity"); steals value. */
void report_attach(struct report *r, const char *key, json_t *value);

uint32_t report_count(const struct report *r, enum verdict v);
/* PASS when everything passed; FAIL when anything failed; otherwise UNDECIDED. */
enum verdict report_verdict(const struct report *r);
/* The first failed (or else undecided) check as an error: ERR_MISMATCH with its class, or ERR_UNDECIDED; true when all
 * passed. ERR_MEMORY when a check could not be kept. */
MUST_CHECK bool report_result(const struct report *r, struct error *err);
/* {"schema":"ingot.report/1","verdict":...,"checks":[...],...}; new reference. */
MUST_CHECK bool report_json(const struct report *r, json_t **out, struct error *err);

#endif
