/* What the parts of package verification share. Private to verify/package.c, package_images.c, signature.c,
 * image_layers.c, layer_check.c, layout_files.c, attested.c. */
#ifndef VERIFY_PACKAGE_STATE_H
#define VERIFY_PACKAGE_STATE_H

#include "formats/oci_package.h"
#include "formats/tar.h"
#include "verify/package.h"
#include "verify/signers.h"

#define PACKAGE_SETS 2u

/* What has been found of one attestation that the policy asks for. */
struct attested {
    struct signed_by by; /* statements that hold */
    uint32_t n_seen;     /* of the type, by anybody */
    bool failed;         /* one by a right signer says what it must not, or lacks something */
};

struct seen_layers {
    struct seen_layer *list; /* sorted by digest, size and place, each once */
    size_t n;
};

struct package {
    const struct package_options *o;
    struct signers own;                       /* of --key and --roots; borrowed: never closed */
    const struct signers *sets[PACKAGE_SETS]; /* each must have signed; none: the signature is undecided */
    const char *set_names[PACKAGE_SETS];      /* for people */
    uint32_t n_sets;
    const struct signers *attesters; /* who attests, where an attestation does not say; or NULL */
    struct attested attested[POLICY_ATTESTATIONS_MAX + 1];
    struct report *report;
    struct oci_ref ref;
    struct oci_layout layout;
    struct oci_index index;
    uint32_t image;                 /* entry of the index that has the tag */
    bool has_image;                 /* there is one */
    struct oci_manifest *manifests; /* one per index entry; `doc` NULL where it cannot be read, and for an index */
    bool all_read;                  /* every manifest was: it is known what they refer to */
    struct oci_index images;        /* what the tag names, when that is an index; else `doc` NULL */
    uint32_t *image_entries;        /* entries of the images, the first one's first; one for a package of one image */
    uint32_t n_images;
    /* Of the image that is being looked at. */
    uint32_t current;         /* its place in image_entries */
    struct oci_config config; /* `doc` NULL where it cannot be read */
    struct seen_layers seen;  /* of all images: each is read once, however often it is named */
};

struct layer_check {
    const char *check_class;
    enum verdict verdict;
    bool ok;
    bool shared; /* it was read with an image before this one */
    bool reused; /* it is read with another layer, of this image or one before: not here */
    bool beside; /* a thin layout's, from the place beside it */
    char text[ERROR_TEXT_MAX];
    struct tar_layer tar;
    struct digest file_digest;
};

static inline const struct oci_manifest *package_manifest(const struct package *p)
{
    return &p->manifests[p->image_entries[p->current]];
}

static inline const struct oci_descriptor *package_image(const struct package *p)
{
    return &p->index.manifests[p->image];
}

/* Turns a failed call into a line of the report: wrong bytes and shapes are failures of `check_class`, an operating
 * system that does not read is undecided. False (err is set) for what is not about the package: memory, our own
 * mistakes. */
MUST_CHECK bool package_judge(struct report *r, const char *check_class, const char *name, const struct error *found,
                              struct error *err);

/* The parts, in the order of the report. False only as in package_verify. */
/* When the tag names an index of images: reads it, finds its images among the entries. *go_on as in check_index. */
MUST_CHECK bool package_find_images(struct package *p, bool *go_on, struct error *err);
/* Who is asked for, by options and policy. *go_on false: the policy has no rule for the package. */
MUST_CHECK bool package_choose_signers(struct package *p, bool *go_on, struct error *err);
MUST_CHECK bool package_check_signatures(struct package *p, struct error *err);
/* A statement about the package, of any type but the signature's: held against every attestation that is asked for.
 * *valid: by a signer whom anything asks for. */
MUST_CHECK bool package_weigh_statement(struct package *p, const struct envelope *e, bool *valid, struct error *err);
void package_conclude_statements(struct package *p);
/* One list of the layers of all images. What one of them was found to be serves for all that are alike: a small package
 * whose manifests name one blob ten thousand times costs one reading. */
MUST_CHECK bool seen_layers_list(struct seen_layers *s, const struct package *p, struct error *err);
void seen_layers_free(struct seen_layers *s);
/* Who reads: true for the first that asks for this layer (`base`: of a base, whose bytes alone count); then *shared is
 * false. Else *shared tells whether it was read with another image than `image`. */
bool seen_layers_claim(struct seen_layers *s, const struct oci_descriptor *d, bool base, uint32_t image, bool *shared);
MUST_CHECK bool seen_layers_keep(struct seen_layers *s, const struct oci_descriptor *d, bool base,
                                 const struct layer_check *c, struct error *err);
/* Into *c, but for `shared` and `reused`. */
void seen_layers_recall(const struct seen_layers *s, const struct oci_descriptor *d, bool base, struct layer_check *c);
/* Version and date of the image whose config has been read. */
void package_check_minimum(struct package *p);
/* Config and layers of every image. */
MUST_CHECK bool package_check_images(struct package *p, struct error *err);
MUST_CHECK bool package_check_layers(struct package *p, struct error *err);
MUST_CHECK bool package_check_files(struct package *p, struct error *err);

#endif
