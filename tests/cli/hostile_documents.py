#!/usr/bin/env python3
"""Packages made to harm: documents that are huge, deep or say a thing twice, blobs that are pipes, links or bombs, endless signatures
(tests/tools/hostile_package.py)."""
import json, os, sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools"))
from hostile_package import WORK, Package, done, refused

good = Package()
# documents
for name, text in (("deep", "[" * 100000), ("deep objects", '{"a":' * 5000 + "1" + "}" * 5000), ("huge", '{"schemaVersion":2,"x":"' + "y" * (6 << 20) + '"}'), ("an array", "[]"), ("empty", ""), ("a bomb of keys", "{" + ",".join(f'"{i}":0' for i in range(300000)) + "}"),
                   ("behind the end", json.dumps(good.index) + "{}"), ("with a BOM", "\ufeff" + json.dumps(good.index)), ("a key twice", json.dumps(good.index).replace('"manifests"', '"manifests":[],"manifests"', 1)),
                   ("a key twice, escaped", json.dumps(good.index).replace('"manifests"', '"\\u006danifests":[],"manifests"', 1)), ("a big number", json.dumps(good.index).replace('"size": ', '"size": 1e999,"size2": ', 1)), ("a size below zero", json.dumps(good.index).replace('"size": ', '"size": -', 1))):
    p = Package()
    p.save(text)
    refused(f"index.json: {name}", p)
    if name in ("an array", "empty", "deep", "deep objects", "huge", "a bomb of keys"):
        p = Package()
        p.remake(text.encode())
        refused(f"manifest: {name}", p)
p = Package()
both = {**p.manifest, "manifests": [{**p.entry}]}
p.remake(json.dumps(both).encode())
refused("one document that is a manifest and an index", p)
p = Package()
p.entry["mediaType"] = "application/vnd.oci.image.index.v1+json"
p.save()
refused("a manifest called an index", p)
p = Package()
p.index["manifests"].append({**p.entry})
p.save()
refused("one tag twice", p)
p = Package()
p.index["manifests"] += [{**p.index["manifests"][-1]}] * 3000
p.save()
refused("three thousand entries", p)
p = Package()
p.entry["urls"] = ["http://evil.example/x"]
p.save()
refused("an entry with addresses", p)

# blobs that are no files, and bombs
for kind in ("config", "layer", "manifest", "bundle"):
    for how in ("a pipe", "a link", "a device", "a folder", "a file that grows for ever"):
        p = Package()
        bundle = next(m for m in p.index["manifests"] if "artifactType" in m)
        d = {"config": p.manifest["config"]["digest"], "layer": p.manifest["layers"][0]["digest"], "manifest": p.entry["digest"], "bundle": json.loads(p.blob(bundle["digest"]))["layers"][0]["digest"]}[kind]
        f = p.path(d)
        os.unlink(f)
        if how == "a pipe": os.mkfifo(f)
        elif how == "a link": os.symlink(WORK + "/secret", f)
        elif how == "a device": os.symlink("/dev/zero", f)
        elif how == "a folder": os.mkdir(f)
        else:
            open(f, "w").close()
            os.truncate(f, 1 << 40)
        refused(f"{kind}: {how}", p, "layout|digest|signature")
for f in ("index.json", "oci-layout"):
    for how in ("pipe", "link", "sparse"):
        p = Package()
        os.unlink(f"{p.dir}/{f}")
        if how == "pipe": os.mkfifo(f"{p.dir}/{f}")
        elif how == "link": os.symlink("/dev/zero", f"{p.dir}/{f}")
        else:
            open(f"{p.dir}/{f}", "w").close()
            os.truncate(f"{p.dir}/{f}", 1 << 40)
        refused(f"{f}: {how}", p)

# endless signatures
p = Package()
bundle = next(m for m in p.index["manifests"] if "artifactType" in m)
referrer = json.loads(p.blob(bundle["digest"]))
for i in range(200):
    referrer["annotations"]["n"] = str(i)
    d, n = p.put(json.dumps(referrer).encode())
    p.index["manifests"].append({**bundle, "digest": d, "size": n})
p.save()
refused("two hundred signatures", p, "layout", "at most 128")
p = Package()
referrer = json.loads(p.blob(bundle["digest"]))
for i in range(8):
    data = json.loads(p.blob(referrer["layers"][0]["digest"]))
    data["x" * (i + 1)] = "y" * (12 << 20)
    layer = dict(referrer["layers"][0])
    layer["digest"], layer["size"] = p.put(json.dumps(data).encode())
    d, n = p.put(json.dumps({**referrer, "layers": [layer]}).encode())
    p.index["manifests"].append({**bundle, "digest": d, "size": n})
p.save()
refused("a hundred megabytes of bundles", p, "layout", "more than 67108864 bytes")
done()
