#!/bin/sh
# OpenSSF's model_signing takes our signature of a folder, by key and by certificates, and refuses what it must; cosign takes
# the same file; and --source-key takes what model_signing signs.
. "$(dirname "$0")/common.inc"
need python3 model_signing openssl
package p
certificates
model "$WORK/m" 3
rm -f "$WORK/m/.gitignore"
"$INGOT" sign -q "$WORK/m" -k "$WORK/own.pem" --format oms >/dev/null
by_key() { model_signing verify key --public_key "$WORK/$1.pub" --signature "$2/model.sig" "$2"; }
must "model_signing verifies, by key" by_key own "$WORK/m"
mustnot "another key" by_key other "$WORK/m"
again() { rm -rf "$WORK/n"; cp -r "$WORK/m" "$WORK/n"; }
again; echo x >"$WORK/n/extra"; mustsay "a file too many" "extra" by_key own "$WORK/n"
again; flip "$WORK/n/model-00001-of-00002.safetensors"; mustnot "a changed file" by_key own "$WORK/n"
again; rm "$WORK/n/config.json"; mustnot "a missing file" by_key own "$WORK/n"
"$INGOT" sign -q "$WORK/m" -k "$WORK/own.pem" --format oms --certificate-chain "$WORK/chain.pem" --force >/dev/null
by_root() { model_signing verify certificate --certificate_chain "$WORK/$1.pem" --signature "$WORK/m/model.sig" "$WORK/m"; }
must "model_signing verifies, by certificates" by_root ca
mustnot "another root" by_root otherca
if command -v cosign >/dev/null; then
    "$INGOT" sign -q "$WORK/m" -k "$WORK/own.pem" --format oms --force >/dev/null
    root=$(python3 -c 'import json,base64,sys;print(json.loads(base64.b64decode(json.load(open(sys.argv[1]))["dsseEnvelope"]["payload"]))["subject"][0]["digest"]["sha256"])' "$WORK/m/model.sig")
    must "cosign verify-blob-attestation" env HOME="$WORK" cosign verify-blob-attestation --key "$WORK/own.pub" --bundle "$WORK/m/model.sig" --insecure-ignore-tlog \
        --digest "$root" --digestAlg sha256 --type https://model_signing/signature/v1.0
fi
# the other way: what model_signing signs is a source that we take
E=$HERE/../../examples/nano-hybrid/model
cp -r "$E" "$WORK/src"; chmod -R u+w "$WORK/src"
model_signing sign key --private_key "$WORK/own.pem" --signature "$WORK/src/model.sig" "$WORK/src" >/dev/null 2>&1
take() { "$INGOT" convert "$WORK/src" --to safetensors -o "$WORK/x" --force -q --source-key "$WORK/$1.pub"; }
must "--source-key takes model_signing's own" take own
mustsay "--source-key, another key" "signature" take other
flip "$WORK/src/README.md"; mustsay "--source-key, a changed file" "README.md' is not the one" take own
