/* Which files of a folder are the checkpoint. With an index: those it names. Without: `model.safetensors`, or the
 * only file there is; Mistral's own layout (consolidated files beside params.json) when it stands alone. What could be
 * read in two ways, or only in part, is an error: a model that silently lacks a shard loads elsewhere with invented
 * weights. */
#include "formats/safetensors.h"

#include "core/json_scan.h"

#define SUFFIX ".safetensors"

#define ADAPTER "adapter_model"

/* An adapter's own folder: there its weights are what is meant. */
static bool is_adapter(const struct folder *f)
{
    return folder_find(f, "adapter_config.json") != NAME_NONE && folder_find(f, "config.json") == NAME_NONE;
}

/* Of the folder itself, not of one below it, where other things lie (adapters, golden outputs). Mistral's own layout
 * and adapters carry the suffix too, beside the files that are meant or alone. */
static bool is_candidate(const struct folder *f, const char *name)
{
    size_t n = strlen(name), k = strlen(SUFFIX);
    return n > k && strcmp(name + n - k, SUFFIX) == 0 && !strchr(name, '/') && strncmp(name, "consolidated", 12) != 0 &&
           (strncmp(name, ADAPTER, strlen(ADAPTER)) != 0 || is_adapter(f));
}

/* "consolidated.safetensors", "consolidated-00001-of-00002.safetensors" in the folder itself. */
static bool is_consolidated(const char *name)
{
    size_t n = strlen(name), k = strlen(SUFFIX);
    return n > k && strncmp(name, "consolidated", 12) == 0 && strcmp(name + n - k, SUFFIX) == 0 && !strchr(name, '/');
}

bool safetensors_native(const struct folder *f)
{
    bool found = false;
    for (uint32_t i = 0; i < folder_count(f); i++) {
        if (is_candidate(f, folder_name(f, i))) return false;
        found |= is_consolidated(folder_name(f, i));
    }
    return found && folder_find(f, "params.json") != NAME_NONE && !safetensors_has_index(f);
}

bool safetensors_probe(const struct folder *f)
{
    if (safetensors_native(f)) return true;
    for (uint32_t i = 0; i < folder_count(f); i++)
        if (is_candidate(f, folder_name(f, i))) return true;
    return safetensors_has_index(f);
}

static const char *take_number(const char *p, uint64_t *out)
{
    size_t n = strspn(p, "0123456789");
    return json_token_u64(bytes_of(p, n), out) ? p + n : NULL;
}

/* "model-00002-of-00003.safetensors", with any number of digits: 5, 6 and 1 are all published. */
static bool is_numbered(const char *name, const char *stem, uint64_t *shard, uint64_t *n_shards)
{
    if (strncmp(name, stem, strlen(stem)) != 0) return false;
    const char *p = take_number(name + strlen(stem), shard);
    if (!p || strncmp(p, "-of-", 4) != 0) return false;
    p = take_number(p + 4, n_shards);
    return p && strcmp(p, SUFFIX) == 0;
}

static bool is_shard(const char *name, uint64_t *shard, uint64_t *n_shards)
{
    return is_numbered(name, "model-", shard, n_shards);
}

static bool begins_like_model(const char *name)
{
    return strncmp(name, "model", 5) == 0 && (name[5] == '.' || name[5] == '-' || name[5] == '_');
}

/* Mistral's own layout: every consolidated file; numbered ones must all be there. */
static bool choose_native(const struct folder *f, bool *wanted, struct error *err)
{
    uint32_t n = 0, single = folder_find(f, "consolidated" SUFFIX);
    uint64_t k = 0, of = 0, count = 0;
    const char *name = NULL;
    for (uint32_t i = 0; i < folder_count(f); i++) {
        if (!is_consolidated(folder_name(f, i))) continue;
        name = folder_name(f, i);
        wanted[i] = true;
        n++;
        if (i == single) continue;
        if (!is_numbered(name, "consolidated-", &k, &of) || k == 0 || k > of || (count && of != count))
            return error_set(err, ERR_FORMAT, "folder '%.256s': '%.128s' is not one of numbered consolidated files",
                             folder_path(f), name);
        count = of;
    }
    if (single != NAME_NONE ? n == 1 : n == count) return true;
    return error_set(err, ERR_FORMAT,
                     "folder '%.256s': %u consolidated files are there, such as '%.128s'; expected %llu",
                     folder_path(f), n, name, (unsigned long long)(single != NAME_NONE ? 1 : count));
}

static bool check_left_out(struct checkpoint *ck, const bool *wanted, struct error *err)
{
    const struct folder *f = checkpoint_folder(ck);
    for (uint32_t i = 0; i < folder_count(f); i++) {
        const char *name = folder_name(f, i);
        if (wanted[i] || !is_candidate(f, name)) continue;
        if (begins_like_model(name))
            return error_set(err, ERR_FORMAT, "'%.256s' is there, but " SAFETENSORS_INDEX_NAME " does not name it",
                             name);
        if (!checkpoint_add_remark(
                ck, err, "'%.256s' is not in " SAFETENSORS_INDEX_NAME " and not part of the checkpoint", name))
            return false;
    }
    return true;
}

/* Without an index, shards are complete only when there is one of one. */
static bool incomplete(const struct folder *f, uint32_t n_shards, const char *example, struct error *err)
{
    uint64_t k = 0, of = 0;
    is_shard(example, &k, &of);
    return error_set(err, ERR_FORMAT,
                     "folder '%.256s': " SAFETENSORS_INDEX_NAME " is missing (%u of %llu shards are there, such as"
                     " '%.128s')",
                     folder_path(f), n_shards, (unsigned long long)of, example);
}

static bool choose_without_index(struct checkpoint *ck, bool *wanted, struct error *err)
{
    const struct folder *f = checkpoint_folder(ck);
    uint32_t n_shards = 0, n = 0, last = 0, shard = 0, single = folder_find(f, "model" SUFFIX);
    uint64_t k = 0, of = 0;
    for (uint32_t i = 0; i < folder_count(f); i++) {
        if (!is_candidate(f, folder_name(f, i))) continue;
        n++;
        last = i;
        if (!is_shard(folder_name(f, i), &k, &of)) continue;
        n_shards++;
        shard = i;
    }
    if (single != NAME_NONE && n_shards)
        return error_set(err, ERR_FORMAT,
                         "folder '%.256s': 'model" SUFFIX
                         "' and '%.256s' are both there, and no " SAFETENSORS_INDEX_NAME " says which counts",
                         folder_path(f), folder_name(f, shard));
    if (n_shards > 1 || (n_shards == 1 && (k != 1 || of != 1)))
        return incomplete(f, n_shards, folder_name(f, shard), err);
    if (single == NAME_NONE && n != 1)
        return error_set(err, ERR_FORMAT,
                         "folder '%.256s': %u files end in " SUFFIX ", none is 'model" SUFFIX
                         "', and " SAFETENSORS_INDEX_NAME " is missing",
                         folder_path(f), n);
    wanted[single != NAME_NONE ? single : last] = true;
    return true;
}

bool safetensors_choose(struct checkpoint *ck, bool *wanted, struct error *err)
{
    const struct folder *f = checkpoint_folder(ck);
    if (safetensors_native(f)) return choose_native(f, wanted, err);
    if (!safetensors_has_index(f)) return choose_without_index(ck, wanted, err);
    return safetensors_index_shards(f, wanted, err) && check_left_out(ck, wanted, err);
}
