#include "pack/profile_select.h"

#include "core/text.h"
#include "pack/pack.h"

#include <ctype.h>
#include <errno.h>

/* ---- the machine ---- */

static bool number(const char *text, uint64_t max, uint64_t *out, const char **end)
{
    char *stop;
    errno = 0;
    if (*text < '0' || *text > '9') return false;
    unsigned long long v = strtoull(text, &stop, 10);
    *end = stop;
    *out = v;
    return errno == 0 && v <= max;
}

static bool parse_memory(const char *text, uint64_t *out)
{
    static const struct {
        const char *word;
        uint64_t bytes;
    } units[] = {{"", 1},         {"GiB", (uint64_t)1 << 30}, {"GB", 1000000000},      {"MiB", (uint64_t)1 << 20},
                 {"MB", 1000000}, {"G", (uint64_t)1 << 30},   {"M", (uint64_t)1 << 20}};
    const char *end;
    uint64_t v;
    if (!number(text, (uint64_t)1 << 50, &v, &end)) return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(end, units[i].word) == 0) return u64_mul(v, units[i].bytes, out) && *out > 0;
    return false;
}

static bool parse_capability(const char *text, uint32_t *out)
{
    uint64_t major, minor;
    const char *end;
    if (!number(text, 99, &major, &end) || *end != '.' || !number(end + 1, 9, &minor, &end) || *end) return false;
    *out = (uint32_t)(10 * major + minor);
    return *out > 0;
}

static bool set_property(struct machine *m, const char *key, const char *value)
{
    uint64_t v;
    const char *end;
    if (strcmp(key, "gpu") == 0 && !m->gpu[0] && *value && strlen(value) < sizeof m->gpu) {
        strcpy(m->gpu, value);
        return true;
    }
    if (strcmp(key, "count") == 0 && !m->count_known && number(value, 4096, &v, &end) && !*end) {
        m->count = (uint32_t)v;
        m->count_known = true;
        return true;
    }
    if (strcmp(key, "memory") == 0 && !m->memory) return parse_memory(value, &m->memory);
    return strcmp(key, "capability") == 0 && !m->capability && parse_capability(value, &m->capability);
}

bool machine_parse(const char *text, struct machine *out, struct error *err)
{
    *out = (struct machine){0};
    for (const char *p = text;;) {
        char part[MACHINE_NAME_BYTES + 16];
        size_t n = strcspn(p, ",");
        snprintf(part, sizeof part, "%.*s", (int)(n < sizeof part ? n : sizeof part - 1), p);
        char *value = strchr(part, '=');
        if (value) *value++ = '\0';
        if (n >= sizeof part || !value || !set_property(out, part, value))
            return error_set(err, ERR_USAGE,
                             "'%.128s': expected gpu=NAME, count=N, memory=180GiB or capability=10.0, each once, with "
                             "commas between",
                             text);
        if (!p[n]) break;
        p += n + 1;
    }
    if (!out->count_known) out->count = 1;
    return out->count_known = true;
}

/* ---- what a package offers ---- */

/* These texts are printed: one line each, and nothing that a terminal obeys. */
static bool all_printable(const struct oci_descriptor *d, struct error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)d->annotations, key, value) {
        char shown[256];
        const char *text = json_string_value(value);
        if (strncmp(key, "ingot.profile.", 14) != 0) continue;
        error_printable(shown, sizeof shown, text, strlen(text));
        if (strcmp(shown, text) != 0)
            return error_set(err, ERR_FORMAT, "index: annotation '%.64s' is not printable, or too long", key);
    }
    return true;
}

static bool annotated_number(const struct oci_descriptor *d, const char *key, uint64_t max, uint64_t *out,
                             struct error *err)
{
    const char *text = oci_annotation(d->annotations, key), *end;
    *out = 0;
    if (!text || (number(text, max, out, &end) && !*end)) return true;
    return error_set(err, ERR_FORMAT, "index: annotation '%s': expected a number of at most %llu, found '%.64s'", key,
                     (unsigned long long)max, text);
}

static const char *tag_of(const struct oci_package *p, const struct digest *image)
{
    for (uint32_t i = 0; i < p->index.n_manifests; i++)
        if (digest_equal(&p->index.manifests[i].digest, image))
            return oci_annotation(p->index.manifests[i].annotations, OCI_ANNOTATION_REF);
    return NULL;
}

static bool read_offer(const struct oci_package *p, const struct oci_descriptor *d, struct profile_offer *o,
                       struct error *err)
{
    const char *name = oci_annotation(d->annotations, PACK_ANNOTATION_PROFILE);
    const char *capability = oci_annotation(d->annotations, PACK_ANNOTATION_GPU_CAPABILITY);
    uint64_t count;
    *o = (struct profile_offer){.name = name ? name : PACK_FALLBACK_NAME,
                                .id = oci_annotation(d->annotations, PACK_ANNOTATION_PROFILE_ID),
                                .engine = oci_annotation(d->annotations, PACK_ANNOTATION_ENGINE),
                                .version = oci_annotation(d->annotations, PACK_ANNOTATION_ENGINE_VERSION),
                                .precision = oci_annotation(d->annotations, PACK_ANNOTATION_PRECISION),
                                .gpu = oci_annotation(d->annotations, PACK_ANNOTATION_GPU),
                                .gpu_name = oci_annotation(d->annotations, PACK_ANNOTATION_GPU_NAME),
                                .tag = tag_of(p, &d->digest),
                                .image = d->digest};
    if (!all_printable(d, err) || !annotated_number(d, PACK_ANNOTATION_GPU_COUNT, 4096, &count, err) ||
        !annotated_number(d, PACK_ANNOTATION_GPU_MEMORY, (uint64_t)1 << 50, &o->memory, err))
        return false;
    o->count = (uint32_t)count;
    if (!capability || parse_capability(capability, &o->capability)) return true;
    return error_set(err, ERR_FORMAT, "index: annotation '" PACK_ANNOTATION_GPU_CAPABILITY "': found '%.64s'",
                     capability);
}

static bool open_offers(struct profile_offers *o, const char *text, struct error *err)
{
    CLEANUP(oci_ref) struct oci_ref ref = {0};
    if (!oci_ref_parse(text, &ref, err) || !oci_layout_open_ref(&o->layout, &ref, err) ||
        !oci_package_open(&o->package, &o->layout, ref.tag, err))
        return false;
    o->dir = take_ptr(&ref.dir);
    o->n = oci_package_count(&o->package);
    o->list = calloc(o->n, sizeof *o->list);
    if (!o->list) return error_memory(err, o->n * sizeof *o->list);
    for (uint32_t i = 0; i < o->n; i++)
        if (!read_offer(&o->package, oci_package_image(&o->package, i), &o->list[i], err)) return false;
    return true;
}

bool profile_offers_open(struct profile_offers *o, const char *ref, struct error *err)
{
    *o = (struct profile_offers){.layout = OCI_LAYOUT_INIT};
    if (open_offers(o, ref, err)) return true;
    profile_offers_close(o);
    return error_wrap(err, "'%.256s'", ref);
}

void profile_offers_close(struct profile_offers *o)
{
    free(o->list);
    free(o->dir);
    oci_package_close(&o->package);
    oci_layout_close(&o->layout);
    *o = (struct profile_offers){.layout = OCI_LAYOUT_INIT};
}

/* ---- which suits ---- */

/* Whether a word of `text` is `word`, or is it with letters behind ("80" of "80GB"); words are letters and digits. */
static bool has_word(const char *text, const char *word, size_t bytes)
{
    for (const char *p = text; *p;) {
        size_t n = 0;
        while (isalnum((unsigned char)p[n])) n++;
        bool same = n >= bytes && strncasecmp(p, word, bytes) == 0;
        bool digits = bytes && isdigit((unsigned char)word[bytes - 1]);
        if (same && (n == bytes || (digits && isalpha((unsigned char)p[bytes])))) return true;
        p += n + (p[n] != '\0');
    }
    return false;
}

/* Every word of `words` in `text`; "NVIDIA" and a size in GB at the end are not looked for. */
static bool has_words(const char *text, const char *words)
{
    bool any = false;
    for (const char *p = words; *p;) {
        size_t n = 0;
        while (isalnum((unsigned char)p[n])) n++;
        const char *rest = p + n;
        bool size = n && strspn(p, "0123456789") == n && strcmp(rest, " GB") == 0;
        if (n && !size && strncasecmp(p, "NVIDIA", n) != 0 && strncasecmp(p, "GB", n > 2 ? n : 2) != 0) {
            if (!has_word(text, p, n)) return false;
            any = true;
        }
        p = rest + (*rest != '\0');
    }
    return any;
}

/* `asked` is an id, an alias, or a driver's name ("NVIDIA H100 80GB HBM3"). */
static bool is_gpu(const struct profile_offer *o, const char *asked, const struct profile_rows *rows)
{
    const struct gpu_row *row = gpu_row_find(rows, asked);
    if (row) return strcmp(row->id, o->gpu) == 0;
    return strcasecmp(asked, o->gpu) == 0 || has_words(asked, o->gpu) || (o->gpu_name && has_words(asked, o->gpu_name));
}

static void refuse(struct profile_offer *o, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void refuse(struct profile_offer *o, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(o->why, sizeof o->why, fmt, ap);
    va_end(ap);
    o->fits = false;
}

static void judge(struct profile_offer *o, const struct machine *m, const struct profile_rows *rows)
{
    char needs[32], has[32];
    o->fits = true;
    o->why[0] = '\0';
    if (!o->gpu || !o->count) return;
    const char *name = o->gpu_name ? o->gpu_name : o->gpu;
    if (m->count_known && m->count == 0) refuse(o, "made for %u x %s, there is no GPU", o->count, name);
    else if (m->gpu[0] && !is_gpu(o, m->gpu, rows)) refuse(o, "made for %s, this is %s", name, m->gpu);
    else if (m->capability && o->capability && m->capability != o->capability)
        refuse(o, "made for compute capability %u.%u, this is %u.%u", o->capability / 10, o->capability % 10,
               m->capability / 10, m->capability % 10);
    else if (m->count_known && m->count < o->count)
        refuse(o, "made for %u GPUs, there %s %u", o->count, m->count == 1 ? "is" : "are", m->count);
    else if (m->memory && m->memory < o->memory) {
        text_bytes(needs, o->memory);
        text_bytes(has, m->memory);
        refuse(o, "made for %s a GPU, there is %s", needs, has);
    }
}

uint32_t profile_select(struct profile_offers *o, const struct machine *m, const struct profile_rows *rows)
{
    uint32_t best = 0;
    for (uint32_t i = 0; i < o->n; i++) {
        judge(&o->list[i], m, rows);
        if (o->list[i].fits && o->list[i].count > o->list[best].count) best = i;
    }
    return best;
}
