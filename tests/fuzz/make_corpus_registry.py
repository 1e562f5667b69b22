#!/usr/bin/env python3
"""Writes the seed corpus of fuzz_registry: make_corpus_registry.py [tests/fuzz/corpus]. By hand from the specifications:
distribution-spec 1.1, RFC 9110 (challenges), RFC 8288 (links), docker's config.json."""
import base64, json, os, sys

OUT = (sys.argv[1] if len(sys.argv) > 1 else "tests/fuzz/corpus") + "/registry"
D = "sha256:" + "44136fa3" * 8
MANIFEST, INDEX = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
os.makedirs(OUT, exist_ok=True)


def save(name, letter, data):
    with open(f"{OUT}/{name}", "wb") as f:
        f.write(letter.encode() + (data if isinstance(data, bytes) else (data if isinstance(data, str) else json.dumps(data)).encode()))


def d(**more):
    return {"mediaType": MANIFEST, "digest": D, "size": 2, **more}


pair = base64.b64encode(b"user:pass:word").decode()
for name, text in {"plain": "ghcr.io/org/model:v1", "port": "127.0.0.1:5000/a@" + D, "v6": "[::1]:5000/a-b/c__d/e.f:t@" + D, "dots": "x.io/a/../b", "long": "x.io/" + "a/" * 200 + "a", "upper": "x.io/A"}.items():
    save("name_" + name, "n", text)
for name, text in {"bearer": 'Bearer realm="https://auth.x/token",service="x",scope="repository:a:pull"', "basic": 'Basic realm="a \\"b\\""', "both": 'Negotiate abc==, Basic realm=x, Bearer realm="r"',
                   "open": 'Bearer realm="', "twice": "Bearer realm=a, realm=b", "commas": "Bearer realm=a,,,, ,", "long": 'Bearer realm="' + "x" * 1100 + '"'}.items():
    save("challenge_" + name, "c", text)
for name, text in {"next": '</v2/a/referrers/x?page=2>; rel="next"', "two": '<a>; rel=prev, <b>; title="t"; rel=next', "open": "<a", "space": "<a b>; rel=next"}.items():
    save("link_" + name, "l", text)
for name, text in {"upload": "0-1023", "zero": "0-0", "content": "bytes 5-9/10", "star": "bytes 0-0/*", "big": "0-99999999999999999999", "seconds": "120", "back": "bytes 9-5/10"}.items():
    save("range_" + name, "r", text)
for name, doc in {"auth": {"auths": {"r.io": {"auth": pair}}}, "nested": {"auths": {"r.io": {}, "r.io/a": {"auth": pair}, "https://r.io/v1/": {"username": "u", "password": "p"}}},
                  "helpers": {"credHelpers": {"r.io": "gcloud"}, "credsStore": "desktop"}, "store": {"auths": {"r.io": {}}, "credsStore": "desktop"}, "path": {"credsStore": "../x"},
                  "identity": {"auths": {"r.io": {"auth": "", "identitytoken": "t"}}}, "odd": {"auths": {"r.io": {"auth": "%"}}}, "types": {"auths": {"r.io": [1]}}}.items():
    save("config_" + name, "d", doc)
save("answer", "h", {"ServerURL": "https://r.io", "Username": "u", "Secret": "s"})
save("answer_token", "h", {"Username": "<token>", "Secret": "s"})
save("answer_line", "h", {"Username": "u\n", "Secret": "s"})
good = {"schemaVersion": 2, "mediaType": MANIFEST, "config": d(), "layers": [d()]}
for name, doc in {"manifest": good, "index": {"schemaVersion": 2, "mediaType": INDEX, "manifests": [d(), d()]}, "both": {**good, "manifests": []}, "referrer": {**good, "subject": d(), "artifactType": "application/x"},
                  "size": {**good, "layers": [d(size=-1)]}, "digest": {**good, "layers": [d(digest="sha256:../x")]}, "none": {"schemaVersion": 2}, "subject": {"subject": {"digest": D}}}.items():
    save("document_" + name, "g", doc)
save("merge_index", "m", {"schemaVersion": 2, "manifests": [{"digest": "sha256:y", "size": 1}]})
save("merge_layers", "m", {"layers": [{"digest": "sha256:x"}, 1, {"digest": "sha256:x", "annotations": {"s": "2"}}]})
save("merge_odd", "m", {"manifests": [1, {"digest": 2}, []], "layers": []})
