/* Licences of a model: what its card declares and the files that hold the texts. A list, never one word: a derivative
 * may stand under two sets of terms at once. Names are the card's; a table gives the SPDX identifier where there is
 * one. */
#ifndef FORMATS_LICENCE_H
#define FORMATS_LICENCE_H

#include "core/json.h"
#include "formats/folder.h"

#define LICENCE_CARD "README.md"
#define LICENCE_CARD_BYTES_MAX ((size_t)4 << 20)

/* LICENSE, NOTICE, COPYING and the like, whatever follows, in any folder. */
bool licence_is_file(const char *path);
/* "Apache-2.0" for "apache-2.0"; NULL: the card's word names no SPDX licence. */
const char *licence_spdx(const char *word);
/* What the front matter of a card declares: an array of strings, empty when there is none or it cannot be read (a card
 * is prose). `license_name` stands for "other". */
MUST_CHECK bool licence_declared(struct bytes card, json_t **out, struct error *err);
MUST_CHECK bool licence_of_folder(const struct folder *f, json_t **out, struct error *err);
/* ERR_FORMAT, with what is missing, when ingot.json says that the source had a licence text or declared a licence, and
 * this folder has not: then it must not be packed. Without an ingot.json there is nothing to hold it against. */
MUST_CHECK bool licence_check_carried(const struct folder *f, struct error *err);

#endif
