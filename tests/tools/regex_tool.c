/* Reads lines "PATTERN NAME NAME ...", each in hexadecimal with a leading x, and answers each with a line: "-" and why, for a pattern that is
 * not read; else a 0 or 1 for every name. For tests/cli/regex.py. */
#include "formats/regex.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *plain(const char *hex)
{
    size_t n = (strlen(hex) - 1) / 2;
    char *out = calloc(1, n + 1);
    for (size_t i = 0; out && i < n; i++) {
        unsigned byte = 0;
        if (sscanf(hex + 1 + 2 * i, "%2x", &byte) == 1) out[i] = (char)byte;
    }
    return out;
}

static void answer(char *line)
{
    const char *why;
    char *word = strtok(line, " \n"), *pattern = word ? plain(word) : NULL;
    struct regex *r = pattern ? regex_compile(pattern, &why) : NULL;
    if (!pattern) return;
    if (!r) printf("- %s", why ? why : "no memory");
    while (r && (word = strtok(NULL, " \n"))) {
        char *name = plain(word);
        if (name) putchar(regex_fits(r, name) ? '1' : '0');
        free(name);
    }
    putchar('\n');
    regex_free(r);
    free(pattern);
}

int main(void)
{
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) answer(line);
    free(line);
    return 0;
}
