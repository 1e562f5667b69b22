/* Expressions: a line of pattern, then names. What is refused says why; and a pattern fits a name exactly when looking ahead for it does, which
 * another piece of code finds out from the other end. */
#include "formats/regex.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct regex *around(const char *before, const char *pattern)
{
    char text[REGEX_PATTERN_MAX + 8];
    const char *why;
    snprintf(text, sizeof text, "%s%s)", before, pattern);
    return regex_compile(text, &why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[2048], *rest;
    const char *why = NULL;
    if (size >= sizeof text) return 0;
    if (size) memcpy(text, data, size);
    text[size] = '\0';
    const char *pattern = strtok_r(text, "\n", &rest);
    if (!pattern) return 0;
    struct regex *r = regex_compile(pattern, &why), *ahead = around("(?=", pattern), *not_ahead = around("(?!", pattern);
    if (!r && (!why || !*why)) abort();
    for (char *name = r ? strtok_r(NULL, "\n", &rest) : NULL; name; name = strtok_r(NULL, "\n", &rest)) {
        bool fits = regex_fits(r, name);
        if (ahead && regex_fits(ahead, name) != fits) abort();
        if (not_ahead && regex_fits(not_ahead, name) == fits) abort();
    }
    regex_free(r);
    regex_free(ahead);
    regex_free(not_ahead);
    return 0;
}

#include "tests/fuzz/replay.h"
