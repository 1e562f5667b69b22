/* Drives packing, signing and verifying from the checks by other programs:
 *   pack_tool pack DIR REF [PROFILES]    prints the image digest
 *   pack_tool keygen PRIVATE PUBLIC
 *   pack_tool sign REF PRIVATE
 *   pack_tool verify REF PUBLIC [DIGEST]   prints the report; status 0 yes, 1 no, 9 undecided, other: not possible
 *   pack_tool layer PATH BYTES           writes the header of a layer to stdout, prints "OFFSET TOTAL" on stderr
 *   pack_tool files REF                  lists the model's files as read in place: "SHA256  NAME" */
#include "formats/envelope.h"
#include "formats/folder.h"
#include "formats/tar.h"
#include "pack/pack.h"
#include "pack/sign.h"
#include "verify/package.h"

#include <stdio.h>

static bool tool_pack(char **a, int n, struct error *err)
{
    struct pool *pool = NULL;
    CLEANUP(json) json_t *annotations = json_pack("{s:s}", "ingot.plan.sha256", "0000000000000000000000000000000000000000000000000000000000000000");
    struct pack_result r;
    if (!pool_open(&pool, 0, err)) return false;
    struct pack_options o = {.source = a[0], .ref = a[1], .profiles = n > 2 ? a[2] : NULL, .annotations = annotations, .pool = pool};
    bool ok = pack_run(&o, &r, err);
    pool_close(pool);
    if (!ok) return false;
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&r.image, hex);
    printf("sha256:%s\n", hex);
    pack_result_free(&r);
    return true;
}

static bool tool_keygen(char **a, int n, struct error *err)
{
    (void)n;
    return key_generate(a[0], a[1], NULL, err);
}

static bool tool_sign(char **a, int n, struct error *err)
{
    (void)n;
    struct key *key = NULL;
    struct sign_result r;
    bool ok = key_load_private(a[1], NULL, &key, err) && sign_run(a[0], key, &r, err);
    key_close(key);
    if (ok) puts(r.was_signed ? "was signed" : "signed");
    return ok;
}

static bool tool_verify(char **a, int n, struct error *err)
{
    struct key *key = NULL;
    struct digest wanted;
    struct pool *pool = NULL;
    CLEANUP(report) struct report *report = NULL;
    CLEANUP(json) json_t *j = NULL;
    CLEANUP(free) char *text = NULL;
    if (n > 2 && (strncmp(a[2], "sha256:", 7) != 0 || !digest_parse(a[2] + 7, &wanted))) return error_set(err, ERR_USAGE, "not a digest");
    bool ok = report_open(&report, err) && pool_open(&pool, 0, err) && key_load_public(a[1], &key, err);
    struct package_options o = {.ref = a[0], .key = key, .wanted = n > 2 ? &wanted : NULL, .pool = pool};
    ok = ok && package_verify(&o, report, err);
    pool_close(pool);
    key_close(key);
    if (!ok || !report_json(report, &j, err) || !json_pretty(j, &text, NULL, err)) return false;
    fputs(text, stdout);
    return report_result(report, err);
}

static bool tool_layer(char **a, int n, struct error *err)
{
    (void)n;
    CLEANUP_BUFFER struct buffer head = {0};
    struct tar_layer layer;
    if (!tar_layer_header(a[0], strtoull(a[1], NULL, 10), &head, &layer, err)) return false;
    fwrite(head.data, 1, head.size, stdout);
    fprintf(stderr, "%llu %llu\n", (unsigned long long)layer.data_offset, (unsigned long long)layer.total_bytes);
    return true;
}

static bool tool_files(char **a, int n, struct error *err)
{
    (void)n;
    CLEANUP(folder) struct folder *f = NULL;
    if (!folder_open(&f, a[0], err)) return false;
    for (uint32_t i = 0; i < folder_count(f); i++) {
        int fd;
        uint64_t offset;
        struct digest d;
        char hex[DIGEST_HEX_SIZE];
        if (!folder_place(f, i, &fd, &offset, err) || !sha256_of_file(fd, folder_name(f, i), offset, folder_size(f, i), &d, err)) return false;
        digest_hex(&d, hex);
        printf("%s  %s\n", hex, folder_name(f, i));
    }
    return true;
}

int main(int argc, char **argv)
{
    static const struct { const char *name; int min, max; bool (*run)(char **a, int n, struct error *err); } verbs[] = {
        {"pack", 2, 3, tool_pack}, {"keygen", 2, 2, tool_keygen}, {"sign", 2, 2, tool_sign}, {"verify", 2, 3, tool_verify},
        {"layer", 2, 2, tool_layer}, {"files", 1, 1, tool_files},
    };
    struct error err = ERROR_INIT;
    for (size_t i = 0; argc > 1 && i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(argv[1], verbs[i].name) != 0 || argc - 2 < verbs[i].min || argc - 2 > verbs[i].max) continue;
        if (verbs[i].run(argv + 2, argc - 2, &err)) return 0;
        fflush(stdout);
        fprintf(stderr, "\npack_tool: %s\n", err.text);
        return error_exit_status(&err);
    }
    fputs("usage: pack_tool pack|keygen|sign|verify|layer|files ...\n", stderr);
    return 2;
}
