/* `ingot fetch`: a revision of a model into the Hugging Face cache (formats/hub_cache.h), where hf://ORG/NAME@REVISION
 * and every other program find it.
 *
 * What a revision consists of and the digest of each file is asked once, with the commit that it means; everything
 * after is of that commit. Large files have a SHA-256 and are fetched as blobs are (pack/registry_blob.h): by range
 * from where an earlier run stopped, checked while they are written. Others have git's name. Links and the reference
 * appear when all files are there: a snapshot is never half of one. */
#ifndef PACK_HUB_FETCH_H
#define PACK_HUB_FETCH_H

#include "core/progress.h"
#include "formats/hub_cache.h"

#define HUB_LISTING_MAX ((size_t)64 << 20) /* bytes of the list of files */
#define HUB_FILES_MAX 100000u
#define HUB_SMALL_MAX ((uint64_t)64 << 20) /* of a file that has no SHA-256 */

struct hub_fetch_options {
    struct hub_ref ref;
    const char *endpoint;          /* "https://HOST" */
    const char *include, *exclude; /* shell patterns of file names, or NULL */
    const char *token;             /* or NULL; goes to the endpoint's origin only */
    const char *ca_file;
    bool plain_http;
    uint32_t jobs, retries;
    const struct progress *progress;
};

struct hub_fetch_result {
    char commit[HUB_COMMIT_HEX + 1];
    char *snapshot; /* its folder; caller frees */
    uint32_t n_files, n_there;
    uint64_t bytes;
};

MUST_CHECK bool hub_fetch(const struct hub_fetch_options *o, struct hub_fetch_result *out, struct error *err);

#endif
