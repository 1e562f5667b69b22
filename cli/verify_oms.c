#include "cli/verify_oms.h"

#include <string.h>

/* Paths that the signature leaves out are shown: nothing is said about what lies there. */
static void add_ignored(struct report *r, const json_t *ignored)
{
    size_t i;
    json_t *name;
    json_array_foreach ((json_t *)(uintptr_t)ignored, i, name)
        report_add(r, CHECK_LAYOUT, VERDICT_PASS, "ignored path", "%s: the signature says nothing about it",
                   json_string_value(name));
}

bool verify_oms(const struct command_env *env, const struct source_args *args, const char *folder, struct report *r,
                struct error *err)
{
    CLEANUP(json) json_t *said = NULL;
    struct error found = ERROR_INIT;
    if (!args->key && !args->roots) {
        report_add(r, CHECK_SIGNATURE, VERDICT_UNDECIDED, "signature", "no key and no certificate was given");
        return true;
    }
    if (source_check(env, args, folder, &said, &found)) {
        size_t n = json_array_size(json_object_get(said, "files"));
        report_add(r, CHECK_SIGNATURE, VERDICT_PASS, "signature", "the folder's list of files is signed, root %s",
                   json_string_value(json_object_get(said, "root")));
        report_add(r, CHECK_DIGEST, VERDICT_PASS, "files", "%zu files as they were signed, and no other", n);
        add_ignored(r, json_object_get(said, "ignored"));
        return true;
    }
    if (found.code == ERR_MISMATCH || found.code == ERR_FORMAT || found.code == ERR_UNSUPPORTED) {
        const char *check = found.check ? found.check : CHECK_LAYOUT, *text = found.text;
        if (strncmp(text, "source: ", 8) == 0) text += 8; /* that is who else asks */
        report_add(r, check, VERDICT_FAIL, "folder", "%s", text);
        return true;
    }
    if (err) *err = found;
    return false;
}
