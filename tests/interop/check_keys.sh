#!/bin/sh
# Key files in cosign's own form, both ways; every kind of key that our table says cosign verifies; the legacy form in cosign 3 and
# 2.6 (COSIGN2, or .tools/bin/cosign2).
. "$(dirname "$0")/common.inc"
need docker-registry curl python3 oras skopeo cosign openssl
export HOME="$WORK" TUF_ROOT="$WORK/tuf" COSIGN_PASSWORD=s3cret INGOT_KEY_PASSPHRASE=s3cret
package p; registry
X=--insecure-ignore-tlog
(cd "$WORK" && cosign generate-key-pair >/dev/null 2>&1)
chmod 600 "$WORK/cosign.key"
"$INGOT" sign -q "oci:$WORK/p:v1" -k "$WORK/cosign.key" >/dev/null
must "we sign with cosign's key file" cosign verify --key "$WORK/cosign.pub" $X --local-image "$WORK/p"
"$INGOT" keygen -q -o "$WORK/ours" --format cosign >/dev/null
echo data >"$WORK/blob"
must "cosign signs with ours" cosign sign-blob --yes --key "$WORK/ours.key" --use-signing-config=false --tlog-upload=false --bundle "$WORK/b.json" "$WORK/blob"
must "... and openssl's half of it verifies" cosign verify-blob --key "$WORK/ours.pub" --bundle "$WORK/b.json" $X "$WORK/blob"
COSIGN_PASSWORD=wrong mustnot "cosign with another passphrase" cosign sign-blob --yes --key "$WORK/ours.key" --use-signing-config=false --tlog-upload=false --bundle "$WORK/b2.json" "$WORK/blob"
unset INGOT_KEY_PASSPHRASE
for how in "EC -pkeyopt ec_paramgen_curve:P-384" "EC -pkeyopt ec_paramgen_curve:P-521" "RSA -pkeyopt rsa_keygen_bits:2048" ED25519; do
    name=$(echo "$how" | tr -dc 'A-Z0-9')
    openssl genpkey -algorithm $how -out "$WORK/$name.pem" 2>/dev/null; chmod 600 "$WORK/$name.pem"
    openssl pkey -in "$WORK/$name.pem" -pubout -out "$WORK/$name.pub"
    "$INGOT" sign -q "oci:$WORK/p:v1" -k "$WORK/$name.pem" --docker-reference models.example.com/acme/m:v1 >/dev/null
    must "cosign, bundle by $name" cosign verify --key "$WORK/$name.pub" $X --local-image "$WORK/p"
done
"$INGOT" sign -q "oci:$WORK/p:v1" -k "$WORK/own.pem" --docker-reference models.example.com/acme/m:v1 >/dev/null
push_all "$WORK/p" acme/m
for k in own P384 P521 RSA2048 ED25519; do
    f=$(ls "$WORK"/*"$k.pub" | head -n 1)
    must "cosign, legacy by $k" cosign verify --key "$f" $X --new-bundle-format=false "$REG/acme/m:v1"
done
mustnot "cosign, legacy by another" cosign verify --key "$WORK/other.pub" $X --new-bundle-format=false "$REG/acme/m:v1"
C2=${COSIGN2:-cosign2}
if command -v "$C2" >/dev/null; then
    echo '{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}' >"$WORK/tr.json"
    must "cosign 2.6, legacy" "$C2" verify --key "$WORK/own.pub" $X --trusted-root "$WORK/tr.json" "$REG/acme/m:v1"
    must "cosign 2.6, bundle" "$C2" verify --key "$WORK/own.pub" $X --trusted-root "$WORK/tr.json" --new-bundle-format "$REG/acme/m:v1"
    mustnot "cosign 2.6, another key" "$C2" verify --key "$WORK/other.pub" $X --trusted-root "$WORK/tr.json" --new-bundle-format "$REG/acme/m:v1"
else
    say "skip check_keys, cosign 2.6: it is not installed (INTEROP_ALL=1 make check-interop installs it)"
fi
