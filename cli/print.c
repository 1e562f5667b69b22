/* Standard output, for results. Everything else speaks on standard error. */
#include "cli/commands.h"

#include "models/arch.h"

#include <stdarg.h>

void print_text(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
}

void print_bytes(const char *text, size_t n)
{
    fwrite(text, 1, n, stdout);
}

bool print_json(json_t *value, struct error *err)
{
    CLEANUP(json) json_t *owned = value;
    CLEANUP(free) char *text = value ? json_dumps(value, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    if (!text) return error_memory(err, 0);
    puts(text);
    return print_end(err);
}

bool print_end(struct error *err)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return true;
    return error_set_errno(err, "cannot write to standard output");
}

json_t *error_json(const struct error *err)
{
    json_t *e = json_pack("{s:i,s:s,s:s}", "status", error_exit_status(err), "code", error_code_name(err->code),
                          "message", err->text);
    if (e && err->check) json_object_set_new(e, "check", json_string(err->check));
    return e;
}

void note_length(const struct model_config *cfg, const char *command, uint64_t longest)
{
    if (cfg->max_position == 0 || longest <= cfg->max_position) return;
    fprintf(
        stderr,
        "ingot %s: note: %llu tokens are more than max_position_embeddings %llu; what lies beyond is computed, but the "
        "model was not made for it\n",
        command, (unsigned long long)longest, (unsigned long long)cfg->max_position);
}
