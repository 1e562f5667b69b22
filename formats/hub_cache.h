/* The Hugging Face cache, as huggingface_hub lays it out (its documentation, "Understand caching"):
 *
 *     HUB/models--ORG--NAME/refs/REVISION            the commit that a branch or tag meant when it was last fetched
 *     HUB/models--ORG--NAME/snapshots/COMMIT/...     links, or files where there are no links
 *     HUB/models--ORG--NAME/blobs/ETAG               contents; ETAG.incomplete (or ETAG.xxxxxxxx.incomplete) under way
 *
 * HUB is $HF_HUB_CACHE, or $HF_HOME/hub, or $XDG_CACHE_HOME/huggingface/hub, or ~/.cache/huggingface/hub. Nothing here
 * goes to the network (that is pack/hub_fetch.h). */
#ifndef FORMATS_HUB_CACHE_H
#define FORMATS_HUB_CACHE_H

#include "core/error.h"

#define HUB_PREFIX "hf://"
#define HUB_COMMIT_HEX 40u
#define HUB_NAME_MAX 96u      /* of an organisation or a model, as the hub has it */
#define HUB_REVISION_MAX 256u /* of a branch or tag */

struct hub_ref {
    char org[HUB_NAME_MAX + 1]; /* "" for models of the early days, which have none */
    char name[HUB_NAME_MAX + 1];
    char revision[HUB_REVISION_MAX + 1]; /* "main" when none is given */
};

/* "ORG/NAME@REVISION", what follows the prefix. ERR_USAGE for anything else. */
MUST_CHECK bool hub_ref_parse(const char *text, struct hub_ref *out, struct error *err);
bool hub_is_commit(const char *revision); /* 40 hexadecimal digits, lower case */

/* $HUB/models--ORG--NAME; caller frees. ERR_USAGE when the environment names no place. */
MUST_CHECK bool hub_model_dir(const struct hub_ref *ref, char **out, struct error *err);
/* "ORG/NAME", as addresses have it. */
void hub_ref_name(const struct hub_ref *ref, char out[2 * HUB_NAME_MAX + 2]);
/* The commit that the revision means in this cache. ERR_FORMAT when it was never fetched. */
MUST_CHECK bool hub_commit(const char *model_dir, const struct hub_ref *ref, char out[HUB_COMMIT_HEX + 1],
                           struct error *err);

#endif
