/* What a registry says in its headers, read as text of an enemy: pure functions without allocation. */
#ifndef PACK_REGISTRY_HEADER_H
#define PACK_REGISTRY_HEADER_H

#include "core/error.h"

#include <stdint.h>

#define REGISTRY_PARAMETER_MAX 1024u /* bytes of one value in a challenge */

enum auth_scheme { AUTH_NONE /* none that we know */, AUTH_BASIC, AUTH_BEARER };

struct auth_challenge {
    enum auth_scheme scheme;
    char realm[REGISTRY_PARAMETER_MAX], service[REGISTRY_PARAMETER_MAX], scope[REGISTRY_PARAMETER_MAX];
};

/* One WWW-Authenticate header (RFC 9110, 11.6.1), which may hold several challenges: the first Bearer, else the first
 * Basic one. False: not well-formed, or a value is too long; *out has no scheme then. */
bool auth_challenge_parse(const char *header, struct auth_challenge *out);
/* The target of the first link with rel="next" in a Link header (RFC 8288), as it stands there. */
bool link_next_parse(const char *header, char *out, size_t size);
/* "0-N" or "bytes=0-N", as upload sessions say it: *next = N + 1. "0-0" is what some registries also say of nothing at
 * all, so *sure is false for it. */
bool upload_range_parse(const char *header, uint64_t *next, bool *sure);
/* "bytes A-B/TOTAL"; TOTAL may be "*": then *total is UINT64_MAX. A <= B < TOTAL. */
bool content_range_parse(const char *header, uint64_t *first, uint64_t *last, uint64_t *total);
/* Seconds. A date is not read: false. */
bool retry_after_parse(const char *header, uint64_t *seconds);

#endif
