/* YAML documents that people write (recipes, release and policy files): the one door to libyaml.
 *
 * One document of block or flow mappings, sequences and scalars becomes a JSON tree, read by the same getters. Plain
 * scalars are typed as YAML 1.2's core schema does (true/false, null/~, integers, decimal numbers, .inf, .nan); quoted
 * ones are strings. Refused, each with its line: anchors, aliases and tags (no bombs, no surprises), duplicate keys, a
 * second document, more than JSON_DEPTH_MAX levels. JSON is valid input too. */
#ifndef CORE_YAML_H
#define CORE_YAML_H

#include "core/json.h"

struct yaml;

MUST_CHECK bool yaml_parse(struct bytes text, const char *what, struct yaml **out, struct error *err);
/* The same for files of other programs: several documents ("---" between them; the root is an array of them), anchors
 * and aliases. What an alias stands for is shared by reference: who walks the tree counts his steps. */
#define YAML_DOCUMENTS_MAX 16u
MUST_CHECK bool yaml_parse_documents(struct bytes text, const char *what, struct yaml **out, struct error *err);
const json_t *yaml_root(const struct yaml *y); /* borrowed */
/* The line (from 1) where a mapping or sequence of this document begins; 0 when it is not one of its nodes. */
uint32_t yaml_line(const struct yaml *y, const json_t *node);
void yaml_close(struct yaml *y); /* NULL is fine */

CLEANUP_DEFINE(yaml, struct yaml, yaml_close)

#endif
