#include "cli/package_ref.h"

#include "core/cleanup.h"
#include "core/file.h"
#include "formats/oci_package.h"

#include <sys/stat.h>

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool only_tag(const char *dir, char **out, struct error *err)
{
    CLEANUP(oci_layout) struct oci_layout layout = OCI_LAYOUT_INIT;
    CLEANUP(oci_package) struct oci_package p = {0};
    if (!oci_layout_open(&layout, dir, err)) return false;
    if (!oci_package_open(&p, &layout, NULL, err)) return error_wrap(err, "'%.256s'", dir);
    const char *tag = oci_annotation(p.entry->annotations, OCI_ANNOTATION_REF);
    return asprintf(out, OCI_REF_PREFIX "%s:%s", dir, tag) >= 0 ? true : error_memory(err, strlen(dir));
}

bool package_ref(const char *operand, char **out, struct error *err)
{
    *out = NULL;
    size_t prefix = strlen(OCI_REF_PREFIX);
    if (strncmp(operand, OCI_REF_PREFIX, prefix) == 0 && is_folder(operand + prefix)) operand += prefix;
    if (strncmp(operand, OCI_REF_PREFIX, prefix) == 0) {
        *out = strdup(operand);
        return *out ? true : error_memory(err, strlen(operand));
    }
    if (!is_folder(operand)) {
        if (asprintf(out, OCI_REF_PREFIX "%s", operand) < 0) return error_memory(err, strlen(operand));
        return true;
    }
    return only_tag(operand, out, err);
}
