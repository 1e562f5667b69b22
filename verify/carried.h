/* The files beside the weights that decide what a model reads and says: are they the original's, byte for byte? */
#ifndef VERIFY_CARRIED_H
#define VERIFY_CARRIED_H

#include "models/inventory.h"
#include "verify/report.h"

/* SHA-256 of one member's bytes. */
MUST_CHECK bool member_digest(const struct folder *f, uint32_t member, struct digest *out, struct error *err);

/* Tokenizers, generation settings and chat templates: each is in both folders with the same bytes, or in neither. What
 * people may rewrite (README, licence texts, pictures) is not looked at; config.json is the plan's matter. */
MUST_CHECK bool carried_check(const struct folder *ours, const struct folder *original, struct report *r,
                              struct error *err);

#endif
