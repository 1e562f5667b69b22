#!/bin/sh
# podman pulls the package as an image and mounts the model.
. "$(dirname "$0")/common.inc"
need docker-registry curl python3 oras podman
export HOME="$WORK"
package p
registry
P="podman --root $WORK/pr --runroot $WORK/prr --storage-driver vfs"
oras cp --from-oci-layout "$WORK/p:v1" --to-plain-http "$REG/m:v1" >/dev/null 2>&1
must "podman pulls it" $P pull -q --tls-verify=false "$REG/m:v1"
M=$($P image mount "$REG/m:v1")
must "podman's tree is the model" diff -r "$M/models" "$WORK/p.model"
model "$WORK/q.model" 2
mustnot "another model's tree is not this one's" diff -r "$M/models" "$WORK/q.model"
$P image umount "$REG/m:v1" >/dev/null
# twin: a registry whose store was changed behind its back
flip "$WORK/reg/docker/registry/v2/blobs/sha256/$(basename "$(blob "$WORK/p" layer)" | sed 's/^../&\/&/')/data"
mustsay "podman pull, one byte of a layer" "digest" podman --root "$WORK/pr2" --runroot "$WORK/prr2" --storage-driver vfs pull -q --tls-verify=false "$REG/m:v1"
