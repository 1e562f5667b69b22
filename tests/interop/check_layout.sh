#!/bin/sh
# skopeo, umoci, oras, crane and podman read our layout, keep its digest and unpack the model; what is fetched back verifies.
. "$(dirname "$0")/common.inc"
need docker-registry curl python3 skopeo umoci oras crane
export HOME="$WORK"
package p
registry
D=$(cat "$WORK/p.digest") K="$WORK/own.pub"
must "skopeo inspects it" skopeo inspect "oci:$WORK/p:v1"
must "skopeo pushes it" skopeo --insecure-policy copy --preserve-digests --dest-tls-verify=false "oci:$WORK/p:v1" "docker://$REG/sk/m:v1"
must "oras pushes it with its signature" oras cp -r --from-oci-layout "$WORK/p:v1" --to-plain-http "$REG/or/m:v1"
for r in sk or; do
    [ "$(crane digest --insecure "$REG/$r/m:v1")" = "$D" ] || { say "FAIL digest changed in $r"; exit 1; }
done
say "ok   crane reads the same digest from both"
must "crane validates it" crane validate --fast --insecure --remote "$REG/sk/m:v1"   # the slow form takes layers for gzip
must "crane exports the files" sh -c "crane export --insecure $REG/sk/m:v1 - | tar tf - | grep -q '^models/config.json$'"
must "umoci unpacks it" umoci unpack --rootless --image "$WORK/p:v1" "$WORK/u"
must "umoci's tree is the model" diff -r "$WORK/u/rootfs/models" "$WORK/p.model"
must "what oras fetches back verifies" sh -c "oras cp -r --from-plain-http '$REG/or/m:v1' --to-oci-layout '$WORK/back:v1' && '$PACK_TOOL' verify 'oci:$WORK/back:v1' '$K' '$D'"
must "oras writes every file" sh -c "mkdir '$WORK/pulled' && cd '$WORK/pulled' && oras pull --plain-http '$REG/or/m:v1' && find . -type f | grep -q config.json"

# twins
mustsay "our verify, fetched back, another key" "signature" "$PACK_TOOL" verify "oci:$WORK/back:v1" "$WORK/other.pub"
skopeo --insecure-policy copy --preserve-digests --src-tls-verify=false "docker://$REG/sk/m:v1" "oci:$WORK/bare:v1" >/dev/null 2>&1
mustsay "our verify, fetched back without its signature" "no-signature" "$PACK_TOOL" verify "oci:$WORK/bare:v1" "$K"
model "$WORK/q.model" 2
mustnot "another model's tree is not this one's" diff -r "$WORK/u/rootfs/models" "$WORK/q.model"
for what in layer config manifest; do
    spoiled "$WORK/p" "$WORK/bad" $what
    mustsay "our verify, one byte of the $what" "^pack_tool: digest" "$PACK_TOOL" verify "oci:$WORK/bad:v1" "$K"
    mustsay "oras push, one byte of the $what" "digest\|mismatch\|invalid" oras cp --from-oci-layout "$WORK/bad:v1" --to-plain-http "$REG/bad/$what:v1"
done
spoiled "$WORK/p" "$WORK/bad" layer
# (to a folder: a push finds the right blob in a repository it knows, mounts that, and never reads the wrong one)
mustsay "skopeo copy, one byte of a layer" "digest" skopeo --insecure-policy copy --preserve-digests "oci:$WORK/bad:v1" "dir:$WORK/skbad"
mustsay "umoci unpack, one byte of a layer" "digest\|verif" umoci unpack --rootless --image "$WORK/bad:v1" "$WORK/ubad"
curl -sf -X PUT -H 'Content-Type: application/vnd.oci.image.manifest.v1+json' --data-binary @"$(blob "$WORK/p" manifest)" "http://$REG/v2/empty/m/manifests/v1" && { say "FAIL the registry takes a manifest without blobs"; exit 1; }
mustnot "crane on an image that is not there" crane validate --fast --insecure --remote "$REG/empty/m:v1"
