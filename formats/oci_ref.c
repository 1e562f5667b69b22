#include "formats/oci.h"

bool oci_tag_is_valid(const char *tag)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    size_t n = strspn(tag, letters);
    return n > 0 && n <= OCI_TAG_BYTES_MAX && tag[n] == '\0' && tag[0] != '.' && tag[0] != '-';
}

bool oci_ref_split(const char *rest, struct oci_ref *out, struct error *err)
{
    const char *colon = strchr(rest, ':'), *tag = colon ? colon + 1 : OCI_TAG_DEFAULT;
    size_t dir_bytes = colon ? (size_t)(colon - rest) : strlen(rest);
    *out = (struct oci_ref){0};
    if (dir_bytes == 0) return error_set(err, ERR_USAGE, "'oci:%.256s' names no folder; expected oci:DIR:TAG", rest);
    if (!oci_tag_is_valid(tag))
        return error_set(err, ERR_USAGE,
                         "'oci:%.256s': '%.128s' is not a tag (letters, digits, '_', '.', '-'; a folder has no colon)",
                         rest, tag);
    out->dir = strndup(rest, dir_bytes);
    out->tag = strdup(tag);
    if (out->dir && out->tag) return true;
    oci_ref_close(out);
    return error_memory(err, dir_bytes);
}

bool oci_ref_parse(const char *text, struct oci_ref *out, struct error *err)
{
    *out = (struct oci_ref){0};
    size_t n = strlen(OCI_REF_PREFIX);
    if (strncmp(text, OCI_REF_PREFIX, n) == 0) return oci_ref_split(text + n, out, err);
    n = strlen(OCI_ARCHIVE_PREFIX);
    if (strncmp(text, OCI_ARCHIVE_PREFIX, n) == 0) {
        if (!oci_ref_split(text + n, out, err)) return false;
        out->is_archive = true;
        return true;
    }
    return error_set(err, ERR_USAGE, "'%.256s' does not name an image layout; expected oci:DIR:TAG", text);
}

void oci_ref_close(struct oci_ref *ref)
{
    free(ref->dir);
    free(ref->tag);
    *ref = (struct oci_ref){0};
}
