#!/bin/sh
# cosign takes every attestation by its type, and none by another; the bill of materials is valid under CycloneDX' strict schema.
. "$(dirname "$0")/common.inc"
need docker-registry curl python3 oras cosign
export HOME="$WORK" TUF_ROOT="$WORK/tuf"
package p
D=sha256:$(sed 's/sha256://' "$WORK/p.digest")
printf '{"verdict":"pass","checks":[],"package":{"image":"%s"},"parity":{"kl_mean":0.01}}' "$D" >"$WORK/r.json"
"$INGOT" attest -q "oci:$WORK/p:v1" -k "$WORK/own.pem" --report "$WORK/r.json" >/dev/null
registry
push_all "$WORK/p" acme/m
for t in slsaprovenance1 cyclonedx urn:ingot:attestation:licences:v1 urn:ingot:attestation:parity:v1; do
    must "cosign verify-attestation $t" cosign verify-attestation --type $t --key "$WORK/own.pub" --insecure-ignore-tlog "$REG/acme/m:v1"
    mustnot "$t by another key" cosign verify-attestation --type $t --key "$WORK/other.pub" --insecure-ignore-tlog "$REG/acme/m:v1"
done
mustnot "a type that is not there" cosign verify-attestation --type spdxjson --key "$WORK/own.pub" --insecure-ignore-tlog "$REG/acme/m:v1"
