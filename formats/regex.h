/* Python's regular expressions, as far as module names need them: `re.match` of a pattern, which must fit from a name's
 * first letter on and need not reach its end. Read are letters, `.`, `[...]`, `\d \w \s \b \A \Z` and their capitals,
 * groups, `|`, `* + ? {n,m}` (lazy ones too), and looking ahead and behind. Not read, by name: references, flags,
 * atomic groups and possessive repeats, conditions. Letters beyond ASCII are letters of no class: no `\w`, no `\d`.
 *
 * Only whether a pattern fits is asked, never where, so that all ways are followed at once: time is at most the length
 * of the program times the length of the name, whatever the pattern. */
#ifndef FORMATS_REGEX_H
#define FORMATS_REGEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REGEX_PATTERN_MAX 4096u /* bytes */
#define REGEX_STEPS_MAX 4096u   /* of a program, repeats written out; published patterns have fewer than 200 */
#define REGEX_LOOKS_MAX 32u     /* lookarounds of a pattern: one bit each for every place of a name */
#define REGEX_DEPTH_MAX 64u     /* groups in groups */
#define REGEX_NAME_MAX 4095u    /* bytes: a pattern that looks around fits no longer name */

struct regex;

/* NULL: *why says what is wrong or not read here (static text), or is NULL when there was no memory. The caller frees
 * with regex_free. */
struct regex *regex_compile(const char *pattern, const char **why);
void regex_free(struct regex *r); /* NULL is fine */
bool regex_fits(const struct regex *r, const char *name);

#endif
