#!/usr/bin/env python3
"""`ingot verify` reads a package once: index.json, where tags are, and each document and layer are opened a single time, so that nobody can
exchange them between the check of digests and the check of the model. What is opened is what the program asks the system for
(tests/preload/fault.c writes it down)."""
import glob, json, os, re, subprocess, sys
from collections import Counter

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT + "/tests/tools")
from audited import MODEL, check, done, ingot, pack

FAULT_LIB = os.environ.get("FAULT_LIB", ROOT + "/build/release/tests/preload/fault.so")


def opened(*args):
    """Status, failed and undecided checks, and how often each name was opened."""
    if os.path.exists("opens"):
        os.unlink("opens")
    env = {**os.environ, "LD_PRELOAD": FAULT_LIB, "FAULT_OPENS": os.path.abspath("opens"), "ASAN_OPTIONS": "verify_asan_link_order=0"}
    p = subprocess.run([os.environ.get("INGOT", ROOT + "/build/ingot"), "verify", *args, "-q", "--json"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
    rows = json.loads(p.stdout.strip().splitlines()[-1])["checks"]
    return p.returncode, {c["name"]: c["verdict"] for c in rows}, Counter(os.path.basename(l) for l in open("opens").read().split("\n"))


ingot("quantize", MODEL, "-r", "nvfp4-data-free", "--shard-size", "2M", "-o", "q")
pack("q")
ingot("pack", "q", "-o", "oci-archive:q.tar:t")
ingot("thin", "q-p", "-o", "t-p")
for title, args in (("a layout", ()), ("and against the original", ("--against", MODEL, "--sample", "2"))):
    status, rows, n = opened("oci:q-p:t", "-k", "k.pub", *args)
    check(f"{title}: passes, the model too", status == 0 and rows.get("tensor digests") == "pass", (status, rows))
    check(f"{title}: index.json is opened once", n["index.json"] == 1 and n["oci-layout"] == 1, n)
    blobs = os.listdir("q-p/blobs/sha256")
    check(f"{title}: every blob is opened once", len(blobs) > 8 and all(n[b] == 1 for b in blobs), {b: n[b] for b in blobs if n[b] != 1})
status, rows, n = opened("oci-archive:q.tar:t")
check("an archive is opened once, but for the look whether it is there", rows.get("tensor digests") == "pass" and n["q.tar"] <= 2, (rows, n))
status, rows, n = opened("oci:t-p:t", "-k", "k.pub", "-w", "oci:q-p:t", "--against", MODEL)
weights = [b for b in os.listdir("q-p/blobs/sha256") if not os.path.exists("t-p/blobs/sha256/" + b)]
check("a thin layout with weights beside it: passes", status == 0 and rows.get("tensor digests") == "pass", (status, rows))
check("a thin layout with weights beside it: index.json is opened once", n["index.json"] == 1, n)
check("a thin layout with weights beside it: they are opened once", len(weights) > 2 and all(n[b] == 1 for b in weights), {b: n[b] for b in weights})
done()
