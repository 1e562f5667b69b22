#!/bin/sh
# Packages of several images, on a base, and as ModelPack: skopeo, umoci, oras, crane and podman take the image that they should, and
# keep every digest.
. "$(dirname "$0")/common.inc"
need docker-registry curl python3 skopeo umoci oras crane podman
export HOME="$WORK"
: "${INGOT:=$HERE/../../build/ingot}"
profile() { # profile GPU COUNT: as `ingot profile` names it
    mkdir -p "$WORK/profiles/vllm-0.17.1-$1x$2-nvfp4-tp$2"
    printf '{"name":"vllm-0.17.1-%sx%s-nvfp4-tp%s","engine":{"name":"vllm","version":"0.17.1"},"gpu":{"id":"%s","name":"NVIDIA %s","count":%s,"compute_capability":"10.0","memory_bytes":191126044672},"tensor_parallel":%s}' \
        "$1" "$2" "$2" "$1" "$1" "$2" "$2" >"$WORK/profiles/vllm-0.17.1-$1x$2-nvfp4-tp$2/profile.json"
    echo 'echo started "$@"' >"$WORK/profiles/vllm-0.17.1-$1x$2-nvfp4-tp$2/command.sh"
}
tag_of() { python3 -c 'import json,sys
print(next(m["digest"] for m in json.load(open(sys.argv[1] + "/index.json"))["manifests"] if (m.get("annotations") or {}).get("org.opencontainers.image.ref.name") == sys.argv[2]))' "$1" "$2"; }
model "$WORK/m"
profile b200 1
profile b200 2
"$INGOT" pack "$WORK/m" -p "$WORK/profiles" -o "oci:$WORK/p:v1" --modelpack -q >/dev/null
registry
N=v1-vllm-0.17.1-b200x2-nvfp4-tp2
must "skopeo pushes the index with all images" skopeo --insecure-policy copy --all --preserve-digests --dest-tls-verify=false "oci:$WORK/p:v1" "docker://$REG/sk/m:v1"
must "oras pushes it" oras cp --from-oci-layout "$WORK/p:v1" --to-plain-http "$REG/or/m:v1"
for r in sk or; do
    [ "$(crane digest --insecure "$REG/$r/m:v1")" = "$(tag_of "$WORK/p" v1)" ] || { say "FAIL the index's digest changed in $r"; exit 1; }
done
say "ok   crane reads the index's digest from both"
[ "$(crane digest --insecure --platform linux/amd64 "$REG/sk/m:v1")" = "$(tag_of "$WORK/p" v1-any)" ] || { say "FAIL crane does not take the fallback"; exit 1; }
say "ok   crane takes the fallback for linux/amd64"
skopeo --insecure-policy copy --preserve-digests --src-tls-verify=false --override-arch amd64 --override-os linux "docker://$REG/sk/m:v1" "dir:$WORK/fallback" >/dev/null 2>&1
[ "sha256:$(sha256sum <"$WORK/fallback/manifest.json" | cut -d' ' -f1)" = "$(tag_of "$WORK/p" v1-any)" ] || { say "FAIL skopeo does not take the fallback"; exit 1; }
say "ok   skopeo takes the fallback for linux/amd64"
must "umoci unpacks one image by its tag" umoci unpack --rootless --image "$WORK/p:$N" "$WORK/u"
must "its model is the model" diff -r "$WORK/u/rootfs/models" "$WORK/m"
[ "$(ls "$WORK/u/rootfs/profiles" | tr '\n' ' ')" = "model_manifest.yaml vllm-0.17.1-b200x2-nvfp4-tp2 " ] || { say "FAIL its profiles: $(ls "$WORK/u/rootfs/profiles")"; exit 1; }
say "ok   it holds its own profile and no other"
PM="podman --root $WORK/pr --runroot $WORK/prr --storage-driver vfs"
must "podman pulls the fallback from the index" $PM pull -q --tls-verify=false "$REG/sk/m:v1"
MP=$($PM image mount "$REG/sk/m:v1")
must "podman's model is the model" diff -r "$MP/models" "$WORK/m"
must "podman's profiles are all" test -d "$MP/profiles/vllm-0.17.1-b200x1-nvfp4-tp1" -a -d "$MP/profiles/vllm-0.17.1-b200x2-nvfp4-tp2"
$PM image umount "$REG/sk/m:v1" >/dev/null
must "oras pushes the ModelPack manifest" oras cp --from-oci-layout "$WORK/p:v1-modelpack" --to-plain-http "$REG/or/mp:v1"
[ "$(crane digest --insecure "$REG/or/mp:v1")" = "$(tag_of "$WORK/p" v1-modelpack)" ] || { say "FAIL the ModelPack manifest changed"; exit 1; }
must "oras writes the ModelPack's files" sh -c "mkdir '$WORK/pulled' && cd '$WORK/pulled' && oras pull --plain-http '$REG/or/mp:v1' && find . -type f | grep -q config.json"

# on a base that umoci made
must "umoci makes a base" sh -c "umoci init --layout '$WORK/base' && umoci new --image '$WORK/base:engine' && umoci unpack --rootless --image '$WORK/base:engine' '$WORK/b' && mkdir -p '$WORK/b/rootfs/bin' && echo engine >'$WORK/b/rootfs/bin/engine' && umoci repack --image '$WORK/base:engine' '$WORK/b' && umoci config --image '$WORK/base:engine' --config.entrypoint /bin/engine --config.env A=1"
must "ingot packs on it" "$INGOT" pack "$WORK/m" -p "$WORK/profiles" -b "oci:$WORK/base:engine" -o "oci:$WORK/q:v1" -q
must "umoci unpacks the image on the base" umoci unpack --rootless --image "$WORK/q:$N" "$WORK/uq"
must "base and model are in it" sh -c "grep -q engine '$WORK/uq/rootfs/bin/engine' && diff -r '$WORK/uq/rootfs/models' '$WORK/m'"
must "skopeo reads entrypoint, environment and port" sh -c "skopeo inspect --config 'oci:$WORK/q:$N' | python3 -c '
import json, sys
c = json.load(sys.stdin)[\"config\"]
assert c[\"Entrypoint\"] == [\"/bin/sh\", \"/profiles/vllm-0.17.1-b200x2-nvfp4-tp2/command.sh\"] and \"A=1\" in c[\"Env\"] and \"8000/tcp\" in c[\"ExposedPorts\"], c'"
must "skopeo pushes it" skopeo --insecure-policy copy --all --preserve-digests --dest-tls-verify=false "oci:$WORK/q:v1" "docker://$REG/q/m:v1"
[ "$(crane digest --insecure "$REG/q/m:v1")" = "$(tag_of "$WORK/q" v1)" ] || { say "FAIL the digest on a base changed"; exit 1; }

# twins
model "$WORK/other" 2
mustnot "another model's tree is not this one's" diff -r "$WORK/u/rootfs/models" "$WORK/other"
mustnot "podman on a ModelPack manifest, which is no image" $PM pull -q --tls-verify=false "$REG/or/mp:v1"
mustnot "ingot on another base than named" "$INGOT" pack "$WORK/m" -b "oci:$WORK/base:engine@sha256:$(printf '%064d' 0)" -o "oci:$WORK/no:v1" -q
