#include "cli/package_ref.h"

#include "core/cleanup.h"
#include "core/file.h"
#include "formats/oci_package.h"

#include <sys/stat.h>

enum kind { KIND_OTHER, KIND_FOLDER, KIND_FILE };

static enum kind kind_of(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) return KIND_OTHER;
    return S_ISDIR(st.st_mode) ? KIND_FOLDER : S_ISREG(st.st_mode) ? KIND_FILE : KIND_OTHER;
}

static bool only_tag(const char *path, bool is_archive, char **out, struct error *err)
{
    CLEANUP(oci_layout) struct oci_layout layout = OCI_LAYOUT_INIT;
    CLEANUP(oci_package) struct oci_package p = {0};
    if (!(is_archive ? oci_layout_open_archive(&layout, path, err) : oci_layout_open(&layout, path, err))) return false;
    if (!oci_package_open(&p, &layout, NULL, err)) return error_wrap(err, "'%.256s'", path);
    const char *tag = oci_annotation(p.entry->annotations, OCI_ANNOTATION_REF);
    return asprintf(out, "%s%s:%s", is_archive ? OCI_ARCHIVE_PREFIX : OCI_REF_PREFIX, path, tag) >= 0
               ? true
               : error_memory(err, strlen(path));
}

bool package_ref(const char *operand, char **out, struct error *err)
{
    *out = NULL;
    size_t prefix = strlen(OCI_REF_PREFIX), archive = strlen(OCI_ARCHIVE_PREFIX);
    bool is_ref = strncmp(operand, OCI_REF_PREFIX, prefix) == 0,
         is_archive = strncmp(operand, OCI_ARCHIVE_PREFIX, archive) == 0;
    if (is_archive && kind_of(operand + archive) == KIND_FILE) return only_tag(operand + archive, true, out, err);
    if (is_ref && kind_of(operand + prefix) == KIND_FOLDER) return only_tag(operand + prefix, false, out, err);
    if (is_ref || is_archive) {
        *out = strdup(operand);
        return *out ? true : error_memory(err, strlen(operand));
    }
    if (kind_of(operand) == KIND_FOLDER) return only_tag(operand, false, out, err);
    if (kind_of(operand) == KIND_FILE) return only_tag(operand, true, out, err);
    if (asprintf(out, OCI_REF_PREFIX "%s", operand) < 0) return error_memory(err, strlen(operand));
    return true;
}
