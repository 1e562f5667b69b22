#include "cli/package_ref.h"

#include "core/cleanup.h"
#include "core/file.h"
#include "formats/oci.h"

#include <sys/stat.h>

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool only_tag(const char *dir, const char **tag, struct oci_index *index, struct error *err)
{
    CLEANUP(fd) int fd = -1;
    CLEANUP_BUFFER struct buffer text = {0};
    if (!dir_open(dir, &fd, err) || !file_load(fd, "index.json", OCI_DOCUMENT_BYTES_MAX, &text, err) ||
        !oci_index_parse(buffer_view(&text), "index.json", index, err))
        return error_wrap(err, "'%.256s'", dir);
    *tag = NULL;
    for (uint32_t i = 0; i < index->n_manifests; i++) {
        const char *t = oci_annotation(index->manifests[i].annotations, OCI_ANNOTATION_REF);
        if (t && *tag)
            return error_set(err, ERR_USAGE, "'%.256s' holds several images; say which: oci:%.256s:TAG", dir, dir);
        if (t) *tag = t;
    }
    return *tag ? true : error_set(err, ERR_FORMAT, "'%.256s' holds no tagged image", dir);
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
    __attribute__((cleanup(cleanup_oci_index))) struct oci_index index = {0};
    const char *tag = NULL;
    if (!only_tag(operand, &tag, &index, err)) return false;
    return asprintf(out, OCI_REF_PREFIX "%s:%s", operand, tag) >= 0 ? true : error_memory(err, strlen(operand));
}
