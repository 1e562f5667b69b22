#!/usr/bin/env python3
"""`ingot verify --against ORIGINAL --all` and `--sample N`: weights are encoded from the original again. A package whose ingot.json was
made to agree with a changed weight passes every other check and fails this one. What a sample draws is computed here too."""
import hashlib, json, os, sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools"))
from audited import MODEL, Verified, check, done, ingot, lie, pack, run, tensors
from tensors import files, header

with open("free.yaml", "w") as f:
    f.write("name: free\nrules:\n  - {role: [routed_experts, mlp, attention], weights: nvfp4, inputs: none}\n")
ingot("quantize", MODEL, "-r", "free.yaml", "-o", "free")
pack("free")
SAID = tensors("free")
CODED = [t for t in SAID if t + "_scale" in SAID]  # weights that have scales; all others are copies
SHAPES = [(t, *x["shape"]) for f in files(MODEL) for t, x in header(f)[0].items() if t.endswith("_proj.weight")]
IMAGE = "sha256:" + json.load(open("free-p/index.json"))["manifests"][0]["digest"].split(":")[1]


def draw(seed, n):
    return set(sorted(CODED, key=lambda t: hashlib.sha256(f"{seed}\n{t}".encode()).digest())[:n])


def seed_for(want):
    """A seed whose first weight is one that `want` takes."""
    return next(s for s in (f"s{i}" for i in range(100000)) if want(*draw(s, 1)))


# ---- all, and a sample of all ----
every = Verified("free", "--all")
check("--all: every tensor is the same", every.status == 0 and every.of() == "pass" and every.again["tensors"] == len(SAID), every)
check("--all draws nothing", every.again["seed"] is None and set(every.again["names"]) == set(CODED) and every.again["drawn"] == len(CODED), every.again)
v = Verified("free", "--sample", str(len(CODED)))
same = all(v.again[k] == every.again[k] for k in ("weights", "drawn", "names", "tensors", "read_bytes", "undecided"))
check("a sample of all is --all", v.status == 0 and v.of() == "pass" and same, (v, v.again["tensors"]))

# ---- a sample ----
v = Verified("free", "--sample", "3", "-t", "1")
check("the image's digest draws", v.status == 0 and v.again["seed"] == IMAGE and set(v.again["names"]) == draw(IMAGE, 3), v.again)
check("the text says what was drawn, and by what", v.of() == "pass" and IMAGE in v.rows["encoded again"]["detail"] and min(v.again["names"]) in v.rows["encoded again"]["detail"], v.rows.get("encoded again"))
w = Verified("free", "--sample", "3", "-t", "2")
check("threads change nothing", v.doc == w.doc, w.again)
v = Verified("free", "--sample", "2", "--nonce", "of tonight")
check("a nonce draws others", set(v.again["names"]) == draw(IMAGE + " of tonight", 2) and v.status == 0, v.again)
attention = seed_for(lambda t: t.endswith("k_proj.weight"))
v = Verified("free", "--sample", "1", "--seed", attention)
check("one of a group that shares its scale", v.status == 0 and v.of() == "pass" and set(v.again["names"]) == draw(attention, 1) and v.again["drawn"] == 1, v.again)
expert = seed_for(lambda t: ".experts." in t)
w = Verified("free", "--sample", "1", "--seed", expert)
check("what is read grows with the sample", 0 < w.again["read_bytes"] < every.again["read_bytes"] / 20, (w.again, every.again["read_bytes"]))
layer = draw(attention, 1).pop().replace("k_proj.weight", "")
group = sum(2 * a * b for t, a, b in SHAPES if t in (layer + "q_proj.weight", layer + "k_proj.weight", layer + "v_proj.weight"))
check("k_proj reads q_proj and v_proj too, whose scale it shares, and no more", v.again["read_bytes"] == group > 0, (v.again, group))

# ---- lies ----
name = draw(expert, 1).pop() + "_scale"
lie("free", "lie", name)
v = Verified("lie")
check(f"{name} changed and listed: not seen without a sample", v.status == 0 and v.of() is None, v)
v = Verified("lie", "--sample", "1", "--seed", expert)
check(f"{name}: seen in the sample", v.status == 1 and v.of() == "fail" and name in v.rows["encoded again"]["detail"] and v.doc["error"]["check"] == "digest", v)
other = seed_for(lambda t: t + "_scale" != name)
v = Verified("lie", "--sample", "1", "--seed", other)
check(f"{name}: not in another sample", v.status == 0 and v.of() == "pass", v)
a, b = Verified("lie", "--all"), Verified("lie", "--sample", str(len(CODED)))
check(f"{name}: seen in all, either way", a.status == b.status == 1 and a.rows["encoded again"] == b.rows["encoded again"] and name in a.stderr, (a, b))
copied = sorted(t for t in SAID if t not in CODED and t.endswith("in_proj.weight"))[0]
lie("free", "lie-copy", copied)
v = Verified("lie-copy", "--sample", "1")
check(f"{copied}, which is copied, changed and listed: always seen", v.status == 1 and v.of("source digests") == "fail" and copied in v.rows["source digests"]["detail"], v)
check("what comes behind a failure is undecided", v.of() == "undecided" and v.of("parity") == "undecided", v)

# ---- usage ----
for args, words in (
    (["--all", "--sample", "2"], "exclude each other"),
    (["--seed", "x"], "--seed needs --sample"),
    (["--nonce", "x", "--all"], "--nonce needs --sample"),
    (["--sample", "2", "--seed", "x", "--nonce", "y"], "exclude each other"),
    (["--stats", "x"], "--all or --sample"),
    (["--sample", "0"], "--sample"),
):
    p = run("verify", "oci:free-p:t", "-a", MODEL, *args)
    check(f"verify {' '.join(args)}: refused", p.returncode == 2 and words in p.stderr, p.stderr)
for option in (["--all"], ["--sample", "2"]):
    p = run("verify", "oci:free-p:t", "-k", "k.pub", "-q", *option)
    check(f"{option[0]} without the original: undecided", p.returncode == 9 and "encoded again" in p.stderr, p.stderr)
done()
