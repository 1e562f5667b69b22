#include "formats/oci_weights.h"

#include "formats/oci_package.h"
#include "formats/tar.h"

#include <fcntl.h>
#include <sys/stat.h>

#define MODELS_PREFIX "models/"

static bool is_layout(const char *path)
{
    CLEANUP(free) char *marker = NULL;
    struct stat st;
    struct error ignored = ERROR_INIT;
    return path_join(&marker, path, OCI_LAYOUT_FILE, &ignored) && stat(marker, &st) == 0;
}

bool oci_weights_open(struct oci_weights *w, const char *path, struct error *err)
{
    CLEANUP(oci_ref) struct oci_ref ref = {0};
    *w = (struct oci_weights)OCI_WEIGHTS_INIT;
    if (strncmp(path, OCI_REF_PREFIX, strlen(OCI_REF_PREFIX)) == 0 ||
        strncmp(path, OCI_ARCHIVE_PREFIX, strlen(OCI_ARCHIVE_PREFIX)) == 0)
        return oci_ref_parse(path, &ref, err) && oci_layout_open_ref(&w->layout, &ref, err);
    if (is_layout(path)) return oci_layout_open(&w->layout, path, err);
    return folder_open(&w->folder, path, err);
}

void oci_weights_close(struct oci_weights *w)
{
    folder_close(w->folder);
    oci_layout_close(&w->layout);
    *w = (struct oci_weights)OCI_WEIGHTS_INIT;
}

const char *oci_weights_name(const struct oci_descriptor *d)
{
    const char *title = oci_annotation(d->annotations, OCI_ANNOTATION_TITLE);
    if (!title || !oci_is_weights(title) || strncmp(title, MODELS_PREFIX, strlen(MODELS_PREFIX)) != 0) return NULL;
    return title + strlen(MODELS_PREFIX);
}

static bool find_file(const struct folder *f, const struct oci_descriptor *d, const char *what, struct file_place *out,
                      enum weights_found *found, struct error *err)
{
    const char *name = oci_weights_name(d);
    uint32_t member = name ? folder_find(f, name) : NAME_NONE;
    CLEANUP_BUFFER struct buffer head = {0};
    struct tar_layer tar;
    int fd;
    if (member == NAME_NONE) return true;
    if (!tar_layer_header(oci_annotation(d->annotations, OCI_ANNOTATION_TITLE), folder_size(f, member), &head, &tar,
                          err) ||
        !folder_place(f, member, &fd, &out->offset, err))
        return false;
    if (tar.total_bytes != d->size)
        return error_set(err, ERR_FORMAT, "%s: a layer of '%.256s' would have %llu bytes, expected %llu", what, name,
                         (unsigned long long)tar.total_bytes, (unsigned long long)d->size);
    out->size = folder_size(f, member);
    out->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0); /* the folder closes its own */
    if (out->fd < 0) return error_set_errno(err, "cannot open '%.256s' a second time", name);
    *found = WEIGHTS_FILE;
    return true;
}

bool oci_weights_find(const struct oci_weights *w, const struct oci_descriptor *d, const char *what,
                      struct file_place *out, enum weights_found *found, struct error *err)
{
    *out = (struct file_place)FILE_PLACE_INIT;
    *found = WEIGHTS_NONE;
    if (w->folder) return find_file(w->folder, d, what, out, found, err);
    if (!oci_blob_is_there(&w->layout, &d->digest)) return true;
    *found = WEIGHTS_LAYER;
    return oci_blob_open(&w->layout, d, what, out, NULL, err);
}
