#!/usr/bin/env python3
"""Writes the saved inputs of fuzz_policy into tests/fuzz/corpus/policy: good policies and one for every rule that the reader must
enforce, and versions and times. The keys are public ones that nobody has the other half of. usage: make_corpus_policy.py [FOLDER]"""
import os, sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "corpus")


def pem(a, b):
    return '"-----BEGIN PUBLIC KEY-----\\n%s\\n%s\\n-----END PUBLIC KEY-----\\n"' % (a, b)


A = pem("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE+1MAHtzu7pZSjsMCegTMBknEgPv4", "RN/feU/7QlREs6yn/537tZCZdNzHi7VaivxOH0ln2Uz1Ir55W6Bb5A+tqg==")
B = pem("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEbpxqp3pM92ZiI6+ZGa3zGzysqKNm", "9zypt04k4a8rrnqm7quzBewUzFT5/Qox8qqJ5UsVFjG8IydQPYCr7SG8MQ==")
RULE = "trust:\n  - {names: %s, keys: [%s], signatures: %s}\n"
out = {
    "rule": RULE % ("[demo, 'a/*']", A, 1),
    "two_of_two": RULE % ("['*']", A + ", " + B, 2),
    "same_key_twice": RULE % ("['*']", A + ", " + A, 2),
    "three_of_two": RULE % ("['*']", A + ", " + B, 3),
    "none_of_one": RULE % ("['*']", A, 0),
    "signatures_text": RULE % ("['*']", A, "one"),
    "key_file": RULE % ("['*']", "release.pub", 1),
    "key_outside": RULE % ("['*']", "../../../etc/passwd", 1),
    "key_bad": RULE % ("['*']", '"-----BEGIN PUBLIC KEY-----\\nAAAA\\n-----END PUBLIC KEY-----\\n"', 1),
    "no_names": RULE % ("[]", A, 1),
    "names_null": RULE % ("[null]", A, 1),
    "names_pattern": RULE % ("['[', '[a-', '\\', '*****a']", A, 1),
    "no_signers": "trust: [{names: ['*']}]\n",
    "no_rules": "trust: []\n",
    "unknown_key": "trusted: []\n",
    "identity": "trust: [{names: ['*'], roots: roots.pem, identity: 'CN=Builder'}]\n",
    "many_rules": "trust:\n" + "  - {names: [a], keys: [b]}\n" * 200,
    "attestations": "attestations:\n  - {type: provenance, keys: [" + A + "], builder: 'https://ci.example/b', sources: ['sha256:" + "0" * 64 + "']}\n  - {type: parity}\n  - {type: sbom}\nlicences: [Apache-2.0]\n",
    "attestation_uri": "attestations: [{type: 'https://slsa.dev/provenance/v1'}]\n",
    "attestation_unknown": "attestations: [{type: vibes}]\n",
    "attestation_source": "attestations: [{type: provenance, sources: ['sha1:00']}]\n",
    "licences_empty": "licences: []\n",
    "version": 'minimum_version: "1.2.0"\n',
    "version_number": "minimum_version: 1.2\n",
    "version_bad": "minimum_version: '1..2'\n",
    "created": "minimum_created: '2026-11-21'\n",
    "created_time": "minimum_created: '2026-11-21T10:00:00Z'\n",
    "created_bad": "minimum_created: '2026-13-41'\n",
    "digest": "digest: sha256:" + "a" * 64 + "\n",
    "digest_null": "digest:\n",
    "digest_short": "digest: sha256:aa\n",
    "parity": "parity: {texts: [One two three., ''], max_tokens: 8, kl_mean_at_most: 0.1, top1_at_least: 0.9, perplexity_ratio_at_most: 1.1, layer_sqnr_at_least_db: -3}\n",
    "parity_nan": "parity: {texts: [a], kl_mean_at_most: .nan}\n",
    "parity_both": "parity: {texts: [a], data: b.jsonl}\n",
    "parity_data": "parity: {data: texts.jsonl}\n",
    "parity_tokens": "parity: {texts: [a], max_tokens: 99999999999999999999}\n",
    "empty": "",
    "list": "- a\n",
    "bomb": "a: &a [x, x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [" + ", ".join([f"*{chr(97 + i)}"] * 8) + "]\n" for i in range(12)),
    "versions": "1.2.0-rc11.2.0-rc2",
    "versions_long": "v1.0000000000000000000000000000017.9999999999999999999999999999",
    "versions_more": "1.21.2.0",
    "times": "2026-11-21T10:00:00Z2026-11-21T10:00:61Z",
}
os.makedirs(os.path.join(ROOT, "policy"), exist_ok=True)
for name, text in out.items():
    with open(os.path.join(ROOT, "policy", name), "w") as f:
        f.write(text)
