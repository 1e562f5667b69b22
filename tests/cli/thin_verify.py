#!/usr/bin/env python3
"""`ingot verify` of a thin layout: what can be held against the original without weights, and with the weights of a whole layout, an archive
or a folder beside it. What cannot be looked at is undecided and never passes; what is beside it and differs fails."""
import glob, json, os, shutil, sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools"))
from audited import MODEL, Verified, check, done, ingot, lie, pack, run, tensors

WEIGHTS = ("tensor list", "tensor digests", "scales", "recurrent state")  # checks that need them
ingot("quantize", MODEL, "-r", "nvfp4-data-free", "--shard-size", "2M", "-o", "q")
SHARDS = sorted(os.path.basename(f) for f in glob.glob("q/*.safetensors"))
check("several shards", len(SHARDS) > 2, SHARDS)
pack("q")
ingot("thin", "q-p", "-o", "t-p")


def passes(v):
    return {n for n, c in v.rows.items() if c["verdict"] == "pass"}


def undecided(v):
    return {n for n, c in v.rows.items() if c["verdict"] == "undecided"}


def fails(v):
    return {n for n, c in v.rows.items() if c["verdict"] == "fail"}


whole = Verified("q")
check("the whole package passes", whole.status == 0, whole)

# ---- without weights ----
v = Verified("t", "--sample", "3")
layers = {n for n in v.rows if n.startswith("layer ") and n.endswith(".safetensors)")}
check("without weights: undecided, nothing fails", v.status == 9 and not fails(v), v)
check("without weights: what is undecided", undecided(v) == layers | {"model", "tensors of the plan", "parity"} and len(layers) == len(SHARDS), undecided(v))
check("without weights: nothing of them passes", not passes(v) & set(WEIGHTS), passes(v) & set(WEIGHTS))
check("the plan is made again, sources and files are the original's", {"plan", "source digests", "carried files", "file list", "file digests"} <= passes(v), v)
check("a sample is held against ingot.json's list", v.of() == "pass" and "ingot.json lists" in v.rows["encoded again"]["detail"], v)
check("the plan has the same digest", v.rows["plan"] == whole.rows["plan"], v.rows["plan"])

# ---- weights beside it ----
ingot("pack", "q", "-o", "oci-archive:q.tar:t")
shutil.copytree("q", "folder")
for f in glob.glob("folder/*"):  # weights are all that is taken from there
    if not f.endswith(".safetensors"):
        os.unlink(f)
for kind, source in (("a layout", "q-p"), ("a layout by its tag", "oci:q-p:t"), ("an archive", "oci-archive:q.tar:t"), ("a folder", "folder")):
    v = Verified("t", "-w", source, "--sample", "2")
    beside = [n for n in layers if "from beside the thin layout" in v.rows[n]["detail"]]
    check(f"{kind}: everything is decided", v.status == 0 and len(beside) == len(SHARDS), v)
    check(f"{kind}: the same checks as of the whole package", {n for n in v.rows} - {"encoded again"} == set(whole.rows), set(v.rows) ^ set(whole.rows))
    check(f"{kind}: parity", v.doc.get("parity") == whole.doc["parity"], v.doc.get("parity"))

# ---- not all of them ----
os.makedirs("less")
for f in SHARDS[1:]:
    os.link("folder/" + f, "less/" + f)
v = Verified("t", "-w", "less")
lost = {n for n in layers if SHARDS[0] in n}
check("a shard that is not beside it: undecided", v.status == 9 and not fails(v) and undecided(v) == lost | {"model", "tensors of the plan", "parity"}, v)
ingot("pack", MODEL, "-o", "oci:other:t")
v = Verified("t", "-w", "other")
check("another package beside it: undecided", v.status == 9 and not fails(v) and layers <= undecided(v), v)

# ---- not the same bytes ----


def flip(path, at=-1000):
    data = bytearray(open(path, "rb").read())
    data[at] ^= 1
    os.unlink(path)
    open(path, "wb").write(data)


shutil.copytree("folder", "bent")
flip("bent/" + SHARDS[1])
v = Verified("t", "-w", "bent")
check("a folder with a changed byte: digest", v.status == 1 and v.doc["error"]["check"] == "digest" and SHARDS[1] in v.stderr and "would be" in v.stderr, v)
check("parity is not run on it", v.of("parity") == "undecided", v)
with open("bent/" + SHARDS[1], "ab") as f:
    f.write(b"\0" * 512)
v = Verified("t", "-w", "bent")
check("a folder with a longer file: digest", v.status == 1 and v.doc["error"]["check"] == "digest" and SHARDS[1] in v.stderr, v)
shutil.copytree("q-p", "bent-p")
big = max(glob.glob("bent-p/blobs/sha256/*"), key=os.path.getsize)
flip(big)
v = Verified("t", "-w", "bent-p")
check("a layout with a changed byte: digest", v.status == 1 and v.doc["error"]["check"] == "digest" and "expected sha256:" + os.path.basename(big) in v.stderr, v)

# ---- packages that lie, seen without their weights ----


def thin_of(folder):
    ingot("thin", folder + "-p", "-o", folder + "-thin-p")
    return folder + "-thin"


ingot("quantize", MODEL, "-r", "nvfp4-data-free", "-o", "one")
said = tensors("one")
coded = sorted(t for t in said if t + "_scale" in said)[0]
lie("one", "lie", coded)
v = Verified(thin_of("lie"), "--all")
check(f"{coded} changed and listed: seen by its digest", v.status == 1 and v.of() == "fail" and coded in v.stderr, v)
copied = sorted(t for t in said if t.endswith("in_proj.weight"))[0]
lie("one", "lie-copy", copied)
v = Verified(thin_of("lie-copy"))
check(f"{copied}, a copy, changed and listed: seen by its digest", v.status == 1 and v.of("source digests") == "fail", v)


def edit(name, change):
    shutil.copytree("one", name)
    doc = json.load(open(name + "/ingot.json"))
    change(doc)
    json.dump(doc, open(name + "/ingot.json", "w"))
    pack(name)
    return Verified(thin_of(name))


v = edit("plan", lambda d: d.update(plan_sha256="0" * 64))
check("another plan", v.status == 1 and v.of("plan") == "fail", v)
v = edit("fewer", lambda d: d["tensors"].pop(coded))
check("a tensor that is not listed", v.status == 1 and v.of("tensors of the plan") == "fail" and coded in v.stderr, v)
v = edit("file", lambda d: d["files"].update({"tokenizer.json": "0" * 64}))
check("a file that is not as listed", v.status == 1 and v.of("file digests") == "fail" and "tokenizer.json" in v.stderr, v)

# ---- usage ----
p = run("verify", "q-p", "-w", "folder", "-q")
check("--weights for a package that has them: refused", p.returncode == 2 and "not thin" in p.stderr, p.stderr)
p = run("verify", "t-p", "-w", "nowhere", "-q")
check("--weights that are not there: 3", p.returncode == 3 and "nowhere" in p.stderr, p.stderr)
done()
