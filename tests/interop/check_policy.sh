#!/bin/sh
# containers-policy.json, as podman, skopeo and CRI-O apply it, takes our legacy signature by either of two keys, and refuses
# another key, another name, and an image without it. Through the library itself (tests/interop/cpolicy).
. "$(dirname "$0")/common.inc"
need docker-registry curl python3 oras skopeo cpolicy
package p
REF=models.example.com/acme/m:v1
"$PACK_TOOL" keygen "$WORK/third.pem" "$WORK/third.pub"
for k in own other; do "$INGOT" sign -q "oci:$WORK/p:v1" -k "$WORK/$k.pem" --docker-reference $REF >/dev/null; done
registry
push_all "$WORK/p" acme/m
mkdir "$WORK/rd"; printf 'docker:\n  %s:\n    use-sigstore-attachments: true\n' "$REG" >"$WORK/rd/a.yaml"
policy() { printf '{"default":[{"type":"reject"}],"transports":{"docker":{"%s":[{"type":"sigstoreSigned","keyPath":"%s","signedIdentity":%s}]}}}' "$REG" "$1" "$2" >"$WORK/p.json"; }
get() { rm -rf "$WORK/got"; cpolicy "$WORK/p.json" "$WORK/rd" "$REG/acme/$1:v1" "$WORK/got"; }
MAP="{\"type\":\"remapIdentity\",\"prefix\":\"$REG/acme/m\",\"signedPrefix\":\"${REF%:*}\"}"
for k in own other; do policy "$WORK/$k.pub" "$MAP"; must "containers-policy takes the legacy signature by $k" get m; done
policy "$WORK/third.pub" "$MAP"; mustsay "a third key" "signature\|verif" get m
policy "$WORK/own.pub" '{"type":"matchRepository"}'; mustsay "the name of another repository" "identity" get m
policy "$WORK/own.pub" "{\"type\":\"exactRepository\",\"dockerRepository\":\"${REF%:*}\"}"; must "exactRepository" get m
package q 2
push_all "$WORK/q" acme/q
policy "$WORK/own.pub" "$MAP"; mustsay "an image with a bundle alone" "signature" get q
