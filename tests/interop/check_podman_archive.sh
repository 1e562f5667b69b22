#!/bin/sh
# podman pulls a package that is one file (oci-archive) and mounts the model; no registry is needed.
. "$(dirname "$0")/common.inc"
need podman python3
export HOME="$WORK"
model "$WORK/p.model"
"$INGOT" pack "$WORK/p.model" -o "oci-archive:$WORK/p.tar:v1" --bundle-only -q >/dev/null
pod() { root=$1; shift; podman --root "$WORK/$root" --runroot "$WORK/${root}r" --storage-driver vfs "$@"; }
must "podman pulls the archive" pod a pull -q "oci-archive:$WORK/p.tar:v1"
M=$(pod a image mount "$(pod a images -q --no-trunc | head -n 1)")
must "podman's tree of the archive is the model" diff -r "$M/models" "$WORK/p.model"
model "$WORK/q.model" 2
mustnot "another model's tree is not this one's" diff -r "$M/models" "$WORK/q.model"
pod a image umount -a >/dev/null
# twin: one byte of a layer in the archive
python3 - "$WORK/p.tar" "$WORK/p.model/model-00001-of-00002.safetensors" <<'PY'
import sys
archive, weights = open(sys.argv[1], "r+b"), open(sys.argv[2], "rb").read()
data = archive.read()
at = data.index(weights[-4096:])
archive.seek(at)
archive.write(bytes([data[at] ^ 1]))
PY
mustsay "podman pull, one byte of a layer in the archive" "digest" pod b pull -q "oci-archive:$WORK/p.tar:v1"
