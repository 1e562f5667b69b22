#!/bin/sh
# notation at its strict level takes our signature with a chain, and refuses another identity, another root, and an image
# without one.
. "$(dirname "$0")/common.inc"
need docker-registry curl python3 oras notation openssl
package p
certificates
registry
push_all "$WORK/p" acme/none
"$INGOT" sign -q "oci:$WORK/p:v1" -k "$WORK/own.pem" --format notation --certificate-chain "$WORK/chain.pem" >/dev/null
push_all "$WORK/p" acme/m
settings() { mkdir -p "$WORK/$1/truststore/x509/ca/acme"; cp "$2" "$WORK/$1/truststore/x509/ca/acme/root.crt"
    printf '{"version":"1.0","trustPolicies":[{"name":"p","registryScopes":["*"],"signatureVerification":{"level":"strict"},"trustStores":["ca:acme"],"trustedIdentities":["x509.subject: C=US, ST=WA, O=%s"]}]}' "$3" >"$WORK/$1/trustpolicy.json"
    chmod 600 "$WORK/$1/trustpolicy.json"; }
settings good "$WORK/ca.pem" Acme; settings nobody "$WORK/ca.pem" Nobody; settings otherroot "$WORK/otherca.pem" Acme
check() { env HOME="$WORK" NOTATION_CONFIG="$WORK/$1" notation verify --insecure-registry "$REG/acme/$2@$(cat "$WORK/p.digest")"; }
must "notation verifies, strict" check good m
mustsay "another identity" "verification failed" check nobody m
mustsay "another root" "verification failed" check otherroot m
mustsay "no notation signature" "no signature\|signature" check good none
