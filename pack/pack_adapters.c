/* Adapters beside the model: checked against it, then packed below adapters/NAME, where an engine loads them from
 * (docs/package.md, adapters). */
#include "pack/pack_job.h"

#include "formats/licence.h"

/* It becomes a folder, a word of the engine's command line, and the model's name in requests. */
static bool check_name(const char *name, struct error *err)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t n = strlen(name);
    if (n > 0 && n <= PACK_ADAPTER_NAME_BYTES_MAX && strspn(name, letters) == n && !strchr("._-", name[0])) return true;
    return error_set(
        err, ERR_USAGE,
        "adapter '%.128s': a name is 1 to %u letters, digits, '.', '_' and '-', and begins with a letter or "
        "digit",
        name, PACK_ADAPTER_NAME_BYTES_MAX);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct pack_carried *)a)->name, ((const struct pack_carried *)b)->name);
}

/* Files of an adapter's folder that travel: the two that make it, its card and its licences. What training left there
 * (states of optimizers, pickles) does not. */
static bool travels(const char *member)
{
    return strcmp(member, ADAPTER_CONFIG_FILE) == 0 || strcmp(member, ADAPTER_WEIGHTS_FILE) == 0 ||
           strcmp(member, LICENCE_CARD) == 0 || (licence_is_file(member) && !strchr(member, '/'));
}

static void note_left_out(const struct pack_job *j, const struct pack_carried *c)
{
    const struct folder *f = c->adapter->folder;
    const char *first = NULL;
    uint32_t n = 0;
    for (uint32_t i = 0; i < folder_count(f); i++) {
        if (travels(folder_name(f, i))) continue;
        if (n++ == 0) first = folder_name(f, i);
    }
    if (n)
        progress_note(j->o->progress, "pack",
                      "adapter '%s': %u files are not the adapter's and stay behind ('%.128s'%s)", c->name, n, first,
                      n > 1 ? ", ..." : "");
}

/* The least rank that vLLM can be told of which holds this one (MaxLoRARanks); 0: none. */
static uint64_t served_rank(uint64_t rank)
{
    static const uint64_t ranks[] = {8, 16, 32, 64, 128, 256, 512};
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++)
        if (rank <= ranks[i]) return ranks[i];
    return 0;
}

static bool open_one(struct pack_job *j, struct pack_carried *c, struct error *err)
{
    if (!adapter_open(&c->adapter, c->path, j->opened.inventory, err)) return false;
    if (!adapter_check_targets(c->adapter, err) || !adapter_check_values(c->adapter, err)) return false;
    const char *why = adapter_config_not_served(&c->adapter->config);
    uint64_t rank = served_rank(adapter_rank_max(c->adapter));
    c->served = !why && rank > 0;
    if (c->served && rank > j->served_rank) j->served_rank = rank;
    if (!c->served)
        progress_note(j->o->progress, "pack", "adapter '%s' is carried, and no engine is told to load it (%s)", c->name,
                      why ? why : "its rank");
    note_left_out(j, c);
    return true;
}

static bool put_names(struct pack_job *j, struct error *err)
{
    CLEANUP(text) struct text t = TEXT_INIT;
    for (uint32_t i = 0; i < j->n_carried; i++) text_add(&t, "%s%s", i ? "," : "", j->carried[i].name);
    return t.failed ? error_memory(err, t.capacity)
                    : json_put(j->annotations, OCI_ANNOTATION_ADAPTERS, json_stringn(t.data, t.size), err);
}

bool pack_adapters_open(struct pack_job *j, struct error *err)
{
    const struct pack_options *o = j->o;
    j->annotations = o->annotations ? json_deep_copy(o->annotations) : json_object();
    if (!j->annotations) return error_memory(err, 0);
    if (!o->n_adapters) return true;
    if (o->bundle) return error_set(err, ERR_USAGE, "adapters need a model that they fit, and a bundle is not opened");
    if (o->n_adapters > PACK_ADAPTERS_MAX)
        return error_set(err, ERR_USAGE, "%u adapters are too many, at most %u can be packed", o->n_adapters,
                         PACK_ADAPTERS_MAX);
    j->carried = calloc(o->n_adapters, sizeof *j->carried);
    if (!j->carried) return error_memory(err, o->n_adapters * sizeof *j->carried);
    for (; j->n_carried < o->n_adapters; j->n_carried++) {
        const struct pack_adapter *a = &o->adapters[j->n_carried];
        j->carried[j->n_carried] = (struct pack_carried){.name = a->name, .path = a->path};
        if (!check_name(a->name, err)) return false;
    }
    qsort(j->carried, j->n_carried, sizeof *j->carried, by_name);
    for (uint32_t i = 1; i < j->n_carried; i++)
        if (strcmp(j->carried[i].name, j->carried[i - 1].name) == 0)
            return error_set(err, ERR_USAGE, "adapter '%s' is given twice", j->carried[i].name);
    if (!model_open(&j->opened, o->source, err)) return error_wrap(err, "'%.256s', which adapters must fit", o->source);
    for (uint32_t i = 0; i < j->n_carried; i++)
        if (!open_one(j, &j->carried[i], err))
            return error_wrap(err, "adapter '%s' ('%.256s')", j->carried[i].name, j->carried[i].path);
    return put_names(j, err);
}

uint32_t pack_adapters_count(const struct pack_job *j)
{
    uint32_t n = 0;
    for (uint32_t k = 0; k < j->n_carried; k++)
        for (uint32_t i = 0; i < folder_count(j->carried[k].adapter->folder); i++)
            n += travels(folder_name(j->carried[k].adapter->folder, i));
    return n;
}

bool pack_adapters_add(struct pack_job *j, struct error *err)
{
    for (uint32_t k = 0; k < j->n_carried; k++) {
        const struct folder *f = j->carried[k].adapter->folder;
        char prefix[sizeof OCI_ADAPTERS_FOLDER + PACK_ADAPTER_NAME_BYTES_MAX];
        snprintf(prefix, sizeof prefix, OCI_ADAPTERS_FOLDER "%s", j->carried[k].name);
        for (uint32_t i = 0; i < folder_count(f); i++)
            if (travels(folder_name(f, i)) && !pack_add_file(j, f, i, prefix, PACK_ADAPTER, err)) return false;
    }
    return true;
}

bool pack_adapters_arguments(const struct pack_job *j, json_t *entrypoint, struct error *err)
{
    if (!j->served_rank) return true;
    bool ok = json_array_append_new(entrypoint, json_string("--enable-lora")) == 0 &&
              json_array_append_new(entrypoint, json_string("--lora-modules")) == 0;
    for (uint32_t i = 0; ok && i < j->n_carried; i++)
        if (j->carried[i].served)
            ok = json_array_append_new(entrypoint, json_sprintf("%s=/" OCI_ADAPTERS_FOLDER "%s", j->carried[i].name,
                                                                j->carried[i].name)) == 0;
    /* Behind the list, so that an operand of the caller is not taken for one more module. */
    ok = ok && json_array_append_new(entrypoint, json_string("--max-lora-rank")) == 0 &&
         json_array_append_new(entrypoint, json_sprintf("%llu", (unsigned long long)j->served_rank)) == 0;
    return ok || error_memory(err, 0);
}

void pack_adapters_close(struct pack_job *j)
{
    for (uint32_t i = 0; i < j->n_carried; i++) adapter_close(j->carried[i].adapter);
    free(j->carried);
    model_close(&j->opened);
    json_decref(j->annotations);
}
