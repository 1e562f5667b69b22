/* recipe_tool NAME|FILE: the recipe as its JSON, in our own words; an error ends with status 1 and its text. */
#include "plan/recipe.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    CLEANUP(recipe) struct recipe *r = NULL;
    CLEANUP(free) char *text = NULL;
    size_t n;
    if (argc == 2 && recipe_load(&r, argv[1], &err) && json_pretty(r->json, &text, &n, &err)) {
        fputs(text, stdout);
        return 0;
    }
    fprintf(stderr, "%s\n", argc == 2 ? err.text : "usage: recipe_tool NAME|FILE");
    return 1;
}
