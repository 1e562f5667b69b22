/* JSON documents: the one door to jansson. Parsing is strict (core/json_scan.h, unique keys, 64-bit integers); getters
 * say what was wrong in one sentence: file, key, expected, found. */
#ifndef CORE_JSON_H
#define CORE_JSON_H

#include "core/bytes.h"
#include "core/cleanup.h"
#include "core/error.h"

#include <jansson.h>

/* What a document may take in memory as jansson's tree, worked out from its tokens before anything is built (measured
 * on x86-64: an object 220 bytes, an array 128, a member 100 and its value 40 or more). The largest tokenizers
 * published (260 k entries, 510 k merges as pairs of strings) come to 190 MiB; a million members take about a second.
 */
#define JSON_MEMORY_MAX ((uint64_t)224 << 20)
/* The same purpose for YAML, which people write. */
#define JSON_VALUES_MAX 1000000u

enum json_dialect {
    JSON_DIALECT_STRICT,
    /* Hugging Face configuration files: bare Infinity, -Infinity, NaN are read as {"__float__": "Infinity"}, the form
     * newer writers use; json_number understands it. */
    JSON_DIALECT_HF,
};

static inline void cleanup_json(json_t **j)
{
    json_decref(*j);
}

/* `what` names the document in errors. *out is a new reference. */
MUST_CHECK bool json_parse(struct bytes text, enum json_dialect dialect, const char *what, json_t **out,
                           struct error *err);

/* Getters: `obj` must be an object; a missing key or a wrong type is ERR_FORMAT: "what: key 'k': expected a string,
 * found 3". Strings are borrowed from the document. */
MUST_CHECK bool json_get(const json_t *obj, const char *key, const char *what, json_t **out, struct error *err);
MUST_CHECK bool json_get_object(const json_t *obj, const char *key, const char *what, json_t **out, struct error *err);
MUST_CHECK bool json_get_array(const json_t *obj, const char *key, const char *what, json_t **out, struct error *err);
MUST_CHECK bool json_get_string(const json_t *obj, const char *key, const char *what, const char **out,
                                struct error *err);
MUST_CHECK bool json_get_bool(const json_t *obj, const char *key, const char *what, bool *out, struct error *err);
/* An integer in [min, max]; a value beyond is an error that names the range. */
MUST_CHECK bool json_get_u64(const json_t *obj, const char *key, const char *what, uint64_t min, uint64_t max,
                             uint64_t *out, struct error *err);
/* Integer, real, or {"__float__": "Infinity" | "-Infinity" | "NaN"}. */
MUST_CHECK bool json_get_number(const json_t *obj, const char *key, const char *what, double *out, struct error *err);
bool json_number(const json_t *value, double *out);

/* True when the key is there with a value other than null. */
bool json_has(const json_t *obj, const char *key);
/* Like the getters, but an absent or null key leaves *out as it is. */
MUST_CHECK bool json_opt_string(const json_t *obj, const char *key, const char *what, const char **out,
                                struct error *err);
MUST_CHECK bool json_opt_bool(const json_t *obj, const char *key, const char *what, bool *out, struct error *err);
MUST_CHECK bool json_opt_u64(const json_t *obj, const char *key, const char *what, uint64_t min, uint64_t max,
                             uint64_t *out, struct error *err);
MUST_CHECK bool json_opt_number(const json_t *obj, const char *key, const char *what, double *out, struct error *err);

/* A short rendering of a value for error texts; static per thread. */
const char *json_brief(const json_t *value);

/* Fails with ERR_FORMAT on a key of `obj` that is not in the NULL-terminated list. */
MUST_CHECK bool json_known_keys(const json_t *obj, const char *what, const char *const *keys, struct error *err);

/* Writers; the caller frees *out. Canonical: sorted keys, no white space: what digests are taken of.
 * Pretty: insertion order, two spaces, final newline: what people read. */
MUST_CHECK bool json_canonical(const json_t *value, char **out, size_t *out_size, struct error *err);
MUST_CHECK bool json_pretty(const json_t *value, char **out, size_t *out_size, struct error *err);

/* Steals `value` like json_object_set_new, but a failed allocation anywhere is an error. */
MUST_CHECK bool json_put(json_t *obj, const char *key, json_t *value, struct error *err);

/* Replaces or appends members at the top level of a JSON object's text, leaving every other byte as it was (numbers
 * keep their spelling, `Infinity` stays). `members` is an object; a null value removes the key. *out: caller frees. */
MUST_CHECK bool json_splice(struct bytes text, enum json_dialect dialect, const json_t *members, const char *what,
                            char **out, size_t *out_size, struct error *err);
/* The same for the object that is the value of top-level member `inside`; ERR_FORMAT when there is none. */
MUST_CHECK bool json_splice_inside(struct bytes text, enum json_dialect dialect, const char *inside,
                                   const json_t *members, const char *what, char **out, size_t *out_size,
                                   struct error *err);

#endif
