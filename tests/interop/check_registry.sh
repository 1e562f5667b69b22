#!/bin/sh
# push and pull against Debian's docker-registry and its clients: what we push, skopeo, oras, crane and cosign read; what they
# push, we pull; with the real append of out-of-order pieces, basic authentication, signers at once, kills on the way.
. "$(dirname "$0")/common.inc"
need docker-registry curl python3 skopeo oras crane cosign
export HOME="$WORK" TUF_ROOT="$WORK/tuf" COSIGN_PASSWORD= XDG_CACHE_HOME="$WORK/cache"
unset DOCKER_CONFIG REGISTRY_AUTH_FILE XDG_RUNTIME_DIR || :
: "${INGOT:=build/ingot}"
INGOT=$(realpath "$INGOT")
push() { "$INGOT" push "$@" --plain-http -q; }
pull() { "$INGOT" pull "$@" --plain-http -q; }
package p
registry
D=$(cat "$WORK/p.digest") K="$WORK/own.pub" X=--insecure-ignore-tlog
hex=${D#sha256:}

# ---- ours to theirs ----
must "we push" push "oci:$WORK/p:v1" "$REG/x/p:v1"
[ "$(crane digest --insecure "$REG/x/p:v1")" = "$D" ] && say "ok   crane reads our digest" || say "FAIL crane reads another digest"
must "the fallback tag lists the signature" sh -c "crane manifest --insecure '$REG/x/p:sha256-$hex' | grep -q dev.sigstore.bundle"
must "oras finds the signature" sh -c "oras discover --plain-http '$REG/x/p:v1' | grep -q sigstore.bundle"
must "cosign verifies what we pushed" cosign verify --key "$K" $X "$REG/x/p:v1"
mustsay "cosign, another key" "signature\|no matching" cosign verify --key "$WORK/other.pub" $X "$REG/x/p:v1"
must "skopeo copies it" skopeo --insecure-policy copy --preserve-digests --src-tls-verify=false "docker://$REG/x/p:v1" "oci:$WORK/sk:v1"
must "oras copies it with its signature" oras cp -r --from-plain-http "$REG/x/p:v1" --to-oci-layout "$WORK/or:v1"
must "our verify of oras's copy" "$PACK_TOOL" verify "oci:$WORK/or:v1" "$K" "$D"
must "pushed again, nothing is sent" sh -c "'$INGOT' push 'oci:$WORK/p:v1' '$REG/x/p:v1' --plain-http -q --json | grep -q '\"sent\":0'"
must "mounted from another repository" sh -c "'$INGOT' push 'oci:$WORK/p:v1' '$REG/y/p:v1' --mount-from x/p --plain-http -q --json | grep -q '\"sent\":0'"

# ---- back, and theirs to ours ----
must "we pull" pull "$REG/x/p:v1" -o "oci:$WORK/back:v1"
must "it verifies" "$PACK_TOOL" verify "oci:$WORK/back:v1" "$K" "$D"
must "every blob is the same" diff -r "$WORK/back/blobs" "$WORK/p/blobs"
mustsay "another key" "signature" "$PACK_TOOL" verify "oci:$WORK/back:v1" "$WORK/other.pub"
must "without the signature" pull "$REG/x/p:v1" -o "oci:$WORK/bare:v1" --no-referrers
mustsay "it does not verify then" "no-signature" "$PACK_TOOL" verify "oci:$WORK/bare:v1" "$K"
oras cp -r --from-oci-layout "$WORK/p:v1" --to-plain-http "$REG/or/p:v1" >/dev/null 2>&1
must "what oras pushed, we pull" pull "$REG/or/p@$D" -o "oci:$WORK/from_oras:v1"
must "and it verifies" "$PACK_TOOL" verify "oci:$WORK/from_oras:v1" "$K" "$D"
skopeo --insecure-policy copy --preserve-digests --dest-tls-verify=false "oci:$WORK/p:v1" "docker://$REG/sk/p:v1" >/dev/null 2>&1
must "what skopeo pushed, we pull" pull "$REG/sk/p:v1" -o "oci:$WORK/from_skopeo:v1"
cosign import-key-pair --key "$WORK/own.pem" --output-key-prefix "$WORK/cs" >/dev/null 2>&1
must "cosign signs it there" cosign sign -y --use-signing-config=false --tlog-upload=false --allow-insecure-registry --key "$WORK/cs.key" "$REG/sk/p@$D"
must "the signature comes along" pull "$REG/sk/p:v1" -o "oci:$WORK/from_cosign:v1"
must "our verify takes it" "$PACK_TOOL" verify "oci:$WORK/from_cosign:v1" "$K" "$D"
must "our signature joins cosign's" push "oci:$WORK/p:v1" "$REG/sk/p:v1"
n=$(crane manifest --insecure "$REG/sk/p:sha256-$hex" | python3 -c 'import json,sys; print(len(json.load(sys.stdin)["manifests"]))')
[ "$n" = 2 ] && say "ok   both are listed" || say "FAIL $n referrers are listed, expected 2"

# ---- an index, and docker's own kind of manifest ----
python3 - "$WORK/p" "$WORK/many" <<'PY'
import hashlib, json, shutil, sys
src, dst = sys.argv[1:]
shutil.copytree(src, dst)
image = next(m for m in json.load(open(src + "/index.json"))["manifests"] if "annotations" in m)
entry = {k: image[k] for k in ("mediaType", "digest", "size")}
text = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [{**entry, "platform": {"architecture": "amd64", "os": "linux"}}]}).encode()
d = hashlib.sha256(text).hexdigest()
open(f"{dst}/blobs/sha256/{d}", "wb").write(text)
index = json.load(open(dst + "/index.json"))
for m in index["manifests"]: m.pop("annotations", None)
index["manifests"].insert(0, {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": "sha256:" + d, "size": len(text), "annotations": {"org.opencontainers.image.ref.name": "all"}})
json.dump(index, open(dst + "/index.json", "w"))
PY
must "we push an index" push "oci:$WORK/many:all" "$REG/x/many:all"
must "crane validates it" crane validate --fast --insecure --remote "$REG/x/many:all"
must "cosign verifies the image in it" cosign verify --key "$K" $X "$REG/x/many@$D"
must "we pull the index" pull "$REG/x/many:all" -o "oci:$WORK/many_back:all"
must "the index is the same" diff -r "$WORK/many/blobs" "$WORK/many_back/blobs"
skopeo --insecure-policy copy --format v2s2 --src-tls-verify=false --dest-tls-verify=false "docker://$REG/x/p:v1" "docker://$REG/v2s2/p:v1" >/dev/null 2>&1
must "docker's kind of manifest is pulled" pull "$REG/v2s2/p:v1" -o "oci:$WORK/v2s2:v1"

# ---- kills: 48 MiB in pieces of 1 MiB, stopped at several moments; docker-registry appends what it is given ----
mkdir "$WORK/big.model"; echo '{"model_type":"nemotron_h"}' >"$WORK/big.model/config.json"
python3 -c 'import random,sys; open(sys.argv[1], "wb").write(random.Random(3).randbytes(48 << 20))' "$WORK/big.model/weights.bin"
"$PACK_TOOL" pack "$WORK/big.model" "oci:$WORK/big:v1" >"$WORK/big.digest"
bad=0
for wait in 0.05 0.1 0.15 0.2 0.3; do
    "$INGOT" push "oci:$WORK/big:v1" "$REG/k/w$wait:v1" --chunk 1 --plain-http -q >/dev/null 2>&1 & p=$!
    sleep $wait; kill -9 $p 2>/dev/null || :; wait $p 2>/dev/null || :
    "$INGOT" push "oci:$WORK/big:v1" "$REG/k/w$wait:v1" --chunk 1 --plain-http -q >"$WORK/out" 2>&1 || { bad=1; cat "$WORK/out"; }
    "$INGOT" pull "$REG/k/w$wait:v1" -o "oci:$WORK/k$wait" --plain-http -q >/dev/null 2>&1 & p=$!
    sleep $wait; kill -9 $p 2>/dev/null || :; wait $p 2>/dev/null || :
    "$INGOT" pull "$REG/k/w$wait:v1" -o "oci:$WORK/k$wait" --plain-http -q >"$WORK/out" 2>&1 || { bad=1; cat "$WORK/out"; }
    diff -r "$WORK/big/blobs" "$WORK/k$wait/blobs" >/dev/null || bad=1
    rm -rf "$WORK/k$wait"
done
[ $bad = 0 ] && say "ok   killed pushes and pulls end whole" || say "FAIL a killed push or pull does not end whole"

# ---- four signers of one image at once ----
for i in 1 2 3 4; do
    cp -r "$WORK/p" "$WORK/s$i"
    "$PACK_TOOL" keygen "$WORK/s$i.pem" "$WORK/s$i.pub"
    "$PACK_TOOL" sign "oci:$WORK/s$i:v1" "$WORK/s$i.pem" >/dev/null
done
pids=
for i in 1 2 3 4; do push "oci:$WORK/s$i:v1" "$REG/s/p:v1" >"$WORK/s$i.log" 2>&1 & pids="$pids $!"; done
for p in $pids; do wait "$p" || say "FAIL a signer's push"; done
must "all signatures come back" pull "$REG/s/p:v1" -o "oci:$WORK/signed:v1"
for i in 1 2 3 4; do must "signer $i's is there" "$PACK_TOOL" verify "oci:$WORK/signed:v1" "$WORK/s$i.pub"; done

# ---- who may: basic authentication, with the file that skopeo writes ----
kill "$RPID"; wait "$RPID" 2>/dev/null || :
python3 -W ignore - >"$WORK/htpasswd" <<'PY'
import crypt   # of libxcrypt, which knows bcrypt, the only form that docker-registry reads
print("ann:" + crypt.crypt("s3cret", crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)))
PY
printf 'auth: {htpasswd: {realm: here, path: %s/htpasswd}}\n' "$WORK" >>"$WORK/r.yml"
docker-registry serve "$WORK/r.yml" >>"$WORK/r.log" 2>&1 &
RPID=$!
for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do [ "$(curl -s -o "$WORK/out" -w '%{http_code}' "http://$REG/v2/")" = 401 ] && break; sleep 0.3; done
mustsay "no credentials" "no credentials for it are stored" pull "$REG/x/p:v1" -o "oci:$WORK/auth:v1"
export REGISTRY_AUTH_FILE="$WORK/auth.json"
must "skopeo logs in" sh -c "echo s3cret | skopeo login --tls-verify=false -u ann --password-stdin '$REG'"
must "its credentials are ours" pull "$REG/x/p:v1" -o "oci:$WORK/auth:v1"
must "and push" push "oci:$WORK/p:v1" "$REG/auth/p:v1"
