/* Every layer of the image: bytes, shape, labels; and that their files make one tree. Layers are read in parallel, each
 * once; the report is written in layer order afterwards. */
#include "verify/layer_check.h"

#include "core/name_index.h"
#include "core/text.h"

static void report_layers(const struct layer_run *run)
{
    for (uint32_t i = 0; i < run->m->n_layers; i++) {
        const struct layer_check *c = &run->checks[i];
        const char *title = oci_annotation(run->m->layers[i].annotations, OCI_ANNOTATION_TITLE);
        const char *text = strncmp(c->text, "layer: ", 7) == 0 ? c->text + 7 : c->text;
        char name[256], hex[DIGEST_HEX_SIZE];
        snprintf(name, sizeof name, "layer %u of %u (%.180s)", i + 1, run->m->n_layers, title ? title : "no title");
        digest_hex(&c->file_digest, hex);
        if (c->ok && c->shared) continue; /* its line stands with the first image */
        if (c->ok && i < run->n_base)
            report_add(run->p->report, CHECK_DIGEST, VERDICT_PASS, name, "%llu bytes of the base as named",
                       (unsigned long long)run->m->layers[i].size);
        else if (c->ok)
            report_add(run->p->report, CHECK_DIGEST, VERDICT_PASS, name,
                       "%llu bytes as named, one file of %llu bytes, sha256 %s%s",
                       (unsigned long long)run->m->layers[i].size, (unsigned long long)c->tar.data_bytes, hex,
                       c->beside ? ", from beside the thin layout" : "");
        else report_add(run->p->report, c->check_class, c->verdict, name, "%s", text);
    }
}

/* No path twice, none that is a folder of another, and nothing outside the folders that pack fills. */
static bool tree_fault(const struct layer_run *run, char fault[ERROR_TEXT_MAX], struct error *err)
{
    uint32_t n = run->m->n_layers, used = 0;
    CLEANUP(free) const char **paths = calloc(n, sizeof *paths);
    struct name_index ix;
    struct error found = ERROR_INIT;
    if (!paths) return error_memory(err, n * sizeof *paths);
    fault[0] = '\0';
    for (uint32_t i = run->n_base; i < n; i++)
        if (run->checks[i].ok) paths[used++] = run->checks[i].tar.path;
    if (!name_index_build(&ix, paths, used, "files", &found)) {
        if (found.code == ERR_FORMAT) snprintf(fault, ERROR_TEXT_MAX, "%s", found.text);
        else if (err) *err = found;
        return found.code == ERR_FORMAT;
    }
    for (uint32_t i = 0; i < used; i++) {
        char parent[TAR_PATH_BYTES_MAX + 1];
        strcpy(parent, paths[i]);
        if (strncmp(parent, "models/", 7) != 0 && strncmp(parent, "profiles/", 9) != 0 &&
            strncmp(parent, OCI_ADAPTERS_FOLDER, strlen(OCI_ADAPTERS_FOLDER)) != 0)
            snprintf(fault, ERROR_TEXT_MAX, "file '%.512s' is outside models/, adapters/ and profiles/", paths[i]);
        for (char *slash; (slash = strrchr(parent, '/'));) {
            *slash = '\0';
            if (name_index_find(&ix, parent) != NAME_NONE)
                snprintf(fault, ERROR_TEXT_MAX, "'%.512s' is a file and a folder", parent);
        }
    }
    name_index_free(&ix);
    return true;
}

/* The manifest names the adapters whose layers are there, in the order of the layers. */
static bool adapters_fault(const struct layer_run *run, char fault[ERROR_TEXT_MAX], struct error *err)
{
    CLEANUP(text) struct text names = TEXT_INIT;
    const char *said = oci_annotation(run->m->annotations, OCI_ANNOTATION_ADAPTERS), *last = "";
    size_t last_bytes = 0;
    for (uint32_t i = run->n_base; i < run->m->n_layers; i++) {
        size_t n;
        const char *title = oci_annotation(run->m->layers[i].annotations, OCI_ANNOTATION_TITLE);
        const char *name = layer_adapter(title ? title : "", &n);
        if (!name || (n == last_bytes && strncmp(name, last, n) == 0)) continue;
        text_add(&names, "%s%.*s", names.size ? "," : "", (int)n, name);
        last = name;
        last_bytes = n;
    }
    if (names.failed) return error_memory(err, names.capacity);
    if (!fault[0] && strcmp(said ? said : "", names.size ? names.data : "") != 0)
        snprintf(fault, ERROR_TEXT_MAX, "the manifest names the adapters '%.256s', the layers are of '%.256s'",
                 said ? said : "", names.size ? names.data : "");
    return true;
}

static bool attach_files(const struct layer_run *run, struct error *err)
{
    char image[OCI_DIGEST_SIZE];
    oci_digest_text(&package_image(run->p)->digest, image);
    CLEANUP(json) json_t *files = json_array();
    if (!files) return error_memory(err, 0);
    for (uint32_t i = run->n_base; i < run->m->n_layers; i++) {
        const struct layer_check *c = &run->checks[i];
        char hex[DIGEST_HEX_SIZE], layer[OCI_DIGEST_SIZE];
        if (!c->ok) continue;
        digest_hex(&c->file_digest, hex);
        oci_digest_text(&run->m->layers[i].digest, layer);
        json_t *file = json_pack("{s:s,s:I,s:s,s:s}", "path", c->tar.path, "bytes", (json_int_t)c->tar.data_bytes,
                                 "sha256", hex, "layer", layer);
        if (json_array_append_new(files, file) != 0) return error_memory(err, 0);
    }
    json_t *j = json_pack("{s:s,s:s,s:O}", "image", image, "tag", run->p->ref.tag, "files", files);
    if (!j) return error_memory(err, 0);
    report_attach(run->p->report, "package", j);
    return true;
}

static bool keep_places(struct oci_kept *k, uint32_t n, struct error *err)
{
    k->layers = malloc(n * sizeof *k->layers);
    if (!k->layers) return error_memory(err, n * sizeof *k->layers);
    for (k->n_layers = 0; k->n_layers < n; k->n_layers++) k->layers[k->n_layers] = (struct file_place)FILE_PLACE_INIT;
    return true;
}

bool package_check_layers(struct package *p, struct error *err)
{
    struct layer_run run = {.p = p, .m = package_manifest(p)};
    char fault[ERROR_TEXT_MAX];
    if (run.m->n_layers == 0 || !oci_base_layers(run.m, "manifest", &run.n_base, NULL)) return true; /* said already */
    run.checks = calloc(run.m->n_layers, sizeof *run.checks);
    if (!run.checks) return error_memory(err, run.m->n_layers * sizeof *run.checks);
    if (p->current == 0) run.kept = p->o->kept;
    if (run.kept && !keep_places(run.kept, run.m->n_layers, err)) {
        free(run.checks);
        return false;
    }
    layers_claim(&run);
    bool ok = pool_try(p->o->pool, run.m->n_layers, layer_check_item, &run, err);
    for (uint32_t i = 0; ok && i < run.m->n_layers; i++) ok = layer_settle(&run, i, err);
    if (ok) {
        report_layers(&run);
        ok = tree_fault(&run, fault, err) && adapters_fault(&run, fault, err) &&
             (p->current > 0 || attach_files(&run, err));
    }
    if (ok)
        report_add(p->report, CHECK_LAYOUT, fault[0] ? VERDICT_FAIL : VERDICT_PASS, "files", "%s",
                   fault[0] ? fault : "every path once, all of them below models/, adapters/ and profiles/");
    free(run.checks);
    return ok;
}
