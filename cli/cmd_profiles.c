#include "cli/commands.h"
#include "cli/machine_gpus.h"
#include "cli/package_ref.h"
#include "pack/profile_select.h"

struct profiles_args {
    struct common_args common;
    const char *select;
};

static const struct option options[] = {
    {"select", 's', OPTION_TEXT, offsetof(struct profiles_args, select), "MACHINE",
     "choose for gpu=NAME,count=N,memory=SIZE,capability=X.Y, or for auto: this machine", 0, 0},
    COMMON_OPTIONS(struct profiles_args),
};

static json_t *text_or_null(const char *s)
{
    return s ? json_string(s) : json_null();
}

static json_t *count_or_null(uint64_t n)
{
    return n ? json_integer((json_int_t)n) : json_null();
}

static json_t *offer_json(const struct profile_offer *o)
{
    char image[DIGEST_HEX_SIZE];
    digest_hex(&o->image, image);
    json_t *gpu =
        o->gpu ? json_pack("{s:s,s:o,s:I,s:o,s:o}", "id", o->gpu, "name", text_or_null(o->gpu_name), "count",
                           (json_int_t)o->count, "memory_bytes", count_or_null(o->memory), "capability",
                           o->capability ? json_sprintf("%u.%u", o->capability / 10, o->capability % 10) : json_null())
               : json_null();
    return json_pack("{s:s,s:o,s:o,s:s+,s:o,s:o,s:o,s:o,s:b,s:o}", "name", o->name, "id", text_or_null(o->id), "tag",
                     text_or_null(o->tag), "image", "sha256:", image, "engine", text_or_null(o->engine),
                     "engine_version", text_or_null(o->version), "precision", text_or_null(o->precision), "gpu", gpu,
                     "fits", o->fits, "why", o->fits ? json_null() : json_string(o->why));
}

static json_t *machine_json(const struct machine *m)
{
    return json_pack("{s:o,s:o,s:o,s:o}", "gpu", text_or_null(m->gpu[0] ? m->gpu : NULL), "count",
                     m->count_known ? json_integer((json_int_t)m->count) : json_null(), "memory_bytes",
                     count_or_null(m->memory), "capability",
                     m->capability ? json_sprintf("%u.%u", m->capability / 10, m->capability % 10) : json_null());
}

static bool print_as_json(const char *ref, const struct profile_offers *o, const struct machine *m, uint32_t best,
                          struct error *err)
{
    char image[DIGEST_HEX_SIZE];
    CLEANUP(json) json_t *list = json_array();
    digest_hex(&o->package.entry->digest, image);
    if (!list) return error_memory(err, 0);
    for (uint32_t i = 0; i < o->n; i++)
        if (json_array_append_new(list, offer_json(&o->list[i])) != 0) return error_memory(err, 0);
    return print_json(json_pack("{s:s,s:s+,s:o,s:O,s:s}", "package", ref, "image", "sha256:", image, "machine",
                                machine_json(m), "profiles", list, "selected", o->list[best].name),
                      err);
}

static void print_machine(const struct machine *m)
{
    char memory[32];
    if (m->count_known && m->count == 0) {
        print_text("MACHINE\n- no GPU was found\n");
        return;
    }
    print_text("MACHINE\n- ");
    if (m->count_known) print_text("%u x ", m->count);
    print_text("%s", m->gpu[0] ? m->gpu : "any GPU");
    if (m->memory) {
        text_bytes(memory, m->memory);
        print_text(", %s each", memory);
    }
    if (m->capability) print_text(", compute capability %u.%u", m->capability / 10, m->capability % 10);
    print_text("\n");
}

static void print_offer(const struct profile_offer *o)
{
    char image[DIGEST_HEX_SIZE];
    digest_hex(&o->image, image);
    print_text("  - %s (%s", o->id ? o->id : o->name, o->id ? o->name : "runs anywhere");
    if (o->count) print_text(", %u x %s", o->count, o->gpu_name ? o->gpu_name : o->gpu);
    print_text(") %s sha256:%.16s...%s%s\n", o->tag ? o->tag : "", image, o->fits ? "" : ": ", o->why);
}

static void print_offers(const struct profile_offers *o, bool fits, const char *title)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < o->n; i++) {
        if (o->list[i].fits != fits) continue;
        if (n++ == 0) print_text("- %s:\n", title);
        print_offer(&o->list[i]);
    }
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct profiles_args *a = args;
    CLEANUP(free) char *ref = NULL;
    CLEANUP(profile_offers) struct profile_offers offers = {.layout = OCI_LAYOUT_INIT};
    CLEANUP(profile_rows) struct profile_rows *rows = NULL;
    struct machine machine = {0};
    bool automatic = !a->select || strcmp(a->select, "auto") == 0;
    if (!automatic && !machine_parse(a->select, &machine, err)) return error_wrap(err, "option --select");
    if (automatic && !machine_gpus(&machine, err)) return false;
    if (!package_ref(operands[0], &ref, err) || !profile_offers_open(&offers, ref, err) ||
        !profile_rows_open(&rows, err))
        return false;
    uint32_t best = profile_select(&offers, &machine, rows);
    if (env->common->json) return print_as_json(ref, &offers, &machine, best, err);
    print_machine(&machine);
    print_text("PROFILES of %s\n", ref);
    print_offers(&offers, true, "compatible");
    print_offers(&offers, false, "incompatible");
    print_text("SELECTED\n- %s", offers.list[best].name);
    if (offers.list[best].tag) print_text(": oci:%s:%s", offers.dir, offers.list[best].tag);
    print_text("\n");
    return true;
}

const struct command command_profiles = {
    .name = "profiles",
    .operands = "PACKAGE",
    .summary = "lists the profiles of a package and chooses one for a machine",
    .details =
        "For each profile: its id, for which GPUs it was made, its image, and why it does not fit. Reads documents "
        "only.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct profiles_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
