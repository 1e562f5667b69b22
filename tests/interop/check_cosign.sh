#!/bin/sh
# cosign 3 takes our signature, from a registry and on disk, and refuses what it must; we take cosign's signature.
# Offline: nothing but the loopback is needed.
. "$(dirname "$0")/common.inc"
need docker-registry curl python3 oras cosign
export HOME="$WORK" TUF_ROOT="$WORK/tuf" COSIGN_PASSWORD=
package p; package q 2
registry
X=--insecure-ignore-tlog K="$WORK/own.pub" O="$WORK/other.pub" TYPE=https://sigstore.dev/cosign/sign/v1
push() { oras cp -r --from-oci-layout "$1:v1" --to-plain-http "$2" >/dev/null 2>&1; }
push "$WORK/p" "$REG/x/p:v1"
must "cosign verifies on a registry" cosign verify --key "$K" $X "$REG/x/p:v1"
must "cosign verifies on disk" cosign verify --key "$K" $X --local-image "$WORK/p"
must "cosign finds the sign/v1 statement" cosign verify-attestation --type $TYPE --key "$K" $X "$REG/x/p:v1"
mustsay "another key, registry" "signature\|no matching" cosign verify --key "$O" $X "$REG/x/p:v1"
mustsay "another key, disk" "signature\|no matching" cosign verify --key "$O" $X --local-image "$WORK/p"
mustsay "another statement type" "none of the attestations\|no matching\|predicate" cosign verify-attestation --type https://slsa.dev/provenance/v1 --key "$K" $X "$REG/x/p:v1"

# two keys
"$PACK_TOOL" sign "oci:$WORK/p:v1" "$WORK/other.pem" >/dev/null
push "$WORK/p" "$REG/x/two:v1"
for k in "$K" "$O"; do
    must "two keys, registry: $(basename "$k")" cosign verify --key "$k" $X "$REG/x/two:v1"
    must "two keys, disk: $(basename "$k")" cosign verify --key "$k" $X --local-image "$WORK/p"
done
"$PACK_TOOL" keygen "$WORK/third.pem" "$WORK/third.pub"
mustsay "two keys, a third" "signature\|no matching" cosign verify --key "$WORK/third.pub" $X "$REG/x/two:v1"

# twins: unsigned; one byte of the bundle; another image's bundle; a statement that is no signature
"$PACK_TOOL" pack "$WORK/p.model" "oci:$WORK/plain:v1" >/dev/null
push "$WORK/plain" "$REG/x/plain:v1"
mustsay "unsigned, registry" "no signatures\|no matching\|not found" cosign verify --key "$K" $X "$REG/x/plain:v1"
mustnot "unsigned, disk" cosign verify --key "$K" $X --local-image "$WORK/plain"
mustsay "our verify, unsigned" "no-signature" "$PACK_TOOL" verify "oci:$WORK/plain:v1" "$K"
spoiled "$WORK/q" "$WORK/bad" bundle
mustnot "one byte of the bundle, disk" cosign verify --key "$K" $X --local-image "$WORK/bad"
python3 - "$WORK/plain" "$WORK/q" <<'PY'
# the bundle of q, attached to the image of plain by a new referrer manifest
import hashlib, json, shutil, sys
to, frm = sys.argv[1:]
path = lambda d, x: f"{d}/blobs/sha256/{x['digest'][7:]}"
index = json.load(open(to + "/index.json"))
entry = json.load(open(frm + "/index.json"))["manifests"][1]
m = json.load(open(path(frm, entry)))
m["subject"] = {k: index["manifests"][0][k] for k in ("mediaType", "digest", "size")}
for b in [m["config"], *m["layers"]]: shutil.copy(path(frm, b), path(to, b))
text = json.dumps(m, separators=(",", ":")).encode()
new = {**entry, "digest": "sha256:" + hashlib.sha256(text).hexdigest(), "size": len(text)}
open(path(to, new), "wb").write(text)
index["manifests"].append(new)
json.dump(index, open(to + "/index.json", "w"))
PY
push "$WORK/plain" "$REG/x/replayed:v1"
mustnot "another image's signature, registry" cosign verify --key "$K" $X "$REG/x/replayed:v1"
mustnot "another image's signature, disk" cosign verify --key "$K" $X --local-image "$WORK/plain"
mustsay "our verify, another image's signature" "its statement is about" "$PACK_TOOL" verify "oci:$WORK/plain:v1" "$K"

# cosign signs, we verify
"$PACK_TOOL" pack "$WORK/q.model" "oci:$WORK/r:v1" >/dev/null
cosign import-key-pair --key "$WORK/own.pem" --output-key-prefix "$WORK/cs" >/dev/null 2>&1
S="--use-signing-config=false --tlog-upload=false --allow-insecure-registry --key $WORK/cs.key"
push "$WORK/r" "$REG/x/r:v1"
echo '{"x":1}' >"$WORK/predicate.json"
must "cosign attests something else" cosign attest -y $S --predicate "$WORK/predicate.json" --type https://example.com/x "$REG/x/r:v1"
fetch() { rm -rf "$2"; oras cp -r --from-plain-http "$1" --to-oci-layout "$2:v1" >/dev/null 2>&1; }
fetch "$REG/x/r:v1" "$WORK/r1"
mustsay "our verify, only another statement" "no-signature.*1 other statements" "$PACK_TOOL" verify "oci:$WORK/r1:v1" "$K"
mustnot "cosign by type, only another statement" cosign verify-attestation --type $TYPE --key "$K" $X "$REG/x/r:v1"
must "cosign signs" cosign sign -y $S "$REG/x/r:v1"
fetch "$REG/x/r:v1" "$WORK/r2"
must "our verify takes cosign's signature" "$PACK_TOOL" verify "oci:$WORK/r2:v1" "$K" "$(cat "$WORK/q.digest")"
mustsay "our verify, cosign's signature, another key" "signature: none of" "$PACK_TOOL" verify "oci:$WORK/r2:v1" "$O"
