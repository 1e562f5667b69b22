#include "cli/commands.h"
#include "pack/hub_fetch.h"
#include "pack/registry_call.h"

#include <fcntl.h>

#define TOKEN_BYTES_MAX ((size_t)4096)

struct fetch_args {
    struct common_args common;
    const char *endpoint, *include, *exclude, *ca_file;
    uint64_t jobs, retries;
    bool plain_http;
};

static const struct option options[] = {
    {"endpoint", 0, OPTION_TEXT, offsetof(struct fetch_args, endpoint), "URL",
     "the hub's address (default: HF_ENDPOINT, which must be set then)", 0, 0},
    {"include", 0, OPTION_TEXT, offsetof(struct fetch_args, include), "PATTERN", "only files that fit it", 0, 0},
    {"exclude", 0, OPTION_TEXT, offsetof(struct fetch_args, exclude), "PATTERN", "no files that fit it", 0, 0},
    {"jobs", 'j', OPTION_NUMBER, offsetof(struct fetch_args, jobs), "N", "files at a time (default 4)", 1, 32},
    {"retries", 0, OPTION_NUMBER, offsetof(struct fetch_args, retries), "N",
     "tries again after a failure that may pass (default 5)", 1, 100},
    {"ca-file", 0, OPTION_TEXT, offsetof(struct fetch_args, ca_file), "FILE",
     "certificates to trust (PEM) instead of the system's", 0, 0},
    {"plain-http", 0, OPTION_FLAG, offsetof(struct fetch_args, plain_http), NULL,
     "without TLS; for loopback addresses only", 0, 0},
    COMMON_OPTIONS(struct fetch_args),
};

/* HF_TOKEN, or what is in the file that huggingface_hub keeps it in. NULL: there is none. Caller frees. */
static bool find_token(char **out, struct error *err)
{
    *out = NULL;
    const char *token = getenv("HF_TOKEN"), *path = getenv("HF_TOKEN_PATH"), *home = getenv("HF_HOME");
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(free) char *own = NULL;
    if (!token || !*token) {
        if (!path && home && !path_join(&own, home, "token", err)) return false;
        if (own) path = own;
        if (!path || !*path || access(path, F_OK) != 0) return true;
        if (!file_load(AT_FDCWD, path, TOKEN_BYTES_MAX, &text, err)) return false;
        token = (const char *)text.data;
    }
    size_t n = strcspn(token, "\r\n \t");
    if (n == 0) return true;
    int made = asprintf(out, "Bearer %.*s", (int)n, token);
    if (text.data) secret_wipe(text.data, text.size);
    if (made >= 0) return true;
    *out = NULL;
    return error_memory(err, n);
}

static bool report(const struct command_env *env, const struct hub_fetch_result *r, struct error *err)
{
    char size[32];
    if (env->common->json)
        return print_json(json_pack("{s:s,s:s,s:I,s:I,s:I}", "commit", r->commit, "folder", r->snapshot, "files",
                                    (json_int_t)r->n_files, "present", (json_int_t)r->n_there, "bytes",
                                    (json_int_t)r->bytes),
                          err);
    text_bytes(size, r->bytes);
    print_text("commit %s: %u files, %s, %u of them here already -> %s\n", r->commit, r->n_files, size, r->n_there,
               r->snapshot);
    return true;
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct fetch_args *a = args;
    CLEANUP(free) char *token = NULL;
    struct hub_fetch_result r;
    const char *offline = getenv("HF_HUB_OFFLINE");
    struct hub_fetch_options o = {.endpoint = a->endpoint ? a->endpoint : getenv("HF_ENDPOINT"),
                                  .include = a->include,
                                  .exclude = a->exclude,
                                  .ca_file = a->ca_file,
                                  .plain_http = a->plain_http,
                                  .jobs = (uint32_t)a->jobs,
                                  .retries = a->retries ? (uint32_t)a->retries : REGISTRY_RETRIES_DEFAULT,
                                  .progress = env->progress};
    if (strncmp(operands[0], HUB_PREFIX, strlen(HUB_PREFIX)) != 0)
        return error_set(err, ERR_USAGE, "'%.256s': expected " HUB_PREFIX "ORG/NAME@REVISION", operands[0]);
    if (!hub_ref_parse(operands[0] + strlen(HUB_PREFIX), &o.ref, err)) return false;
    if (!o.endpoint || !*o.endpoint)
        return error_set(err, ERR_USAGE, "neither --endpoint nor HF_ENDPOINT says where to fetch from");
    if (offline && *offline && strcmp(offline, "0") != 0)
        return error_set(err, ERR_USAGE, "HF_HUB_OFFLINE is set: nothing is fetched");
    if (!find_token(&token, err)) return false;
    o.token = token;
    bool ok = hub_fetch(&o, &r, err);
    if (token) secret_wipe(token, strlen(token));
    ok = ok && report(env, &r, err);
    free(r.snapshot);
    return ok;
}

const struct command command_fetch = {
    .name = "fetch",
    .operands = "hf://ORG/NAME@REVISION",
    .summary = "downloads a revision of a model into the Hugging Face cache",
    .details = "Every file is checked against the digest that the hub's list of the commit has for it; what was "
               "interrupted goes on. All\n"
               "commands read the result as hf://ORG/NAME@REVISION, offline.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct fetch_args),
    .min_operands = 1,
    .max_operands = 1,
    .resumes = true,
    .run = run,
};
