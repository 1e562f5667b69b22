#!/usr/bin/env python3
"""`ingot diff`: finds what was changed in a copy, and nothing else; folders, packages and formats alike."""
import json, os, shutil, struct, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import ROOT, check, finish, ingot
MODEL = ROOT + "/examples/nano-hybrid/model"
W = tempfile.mkdtemp()


def diff(a, b, *more):
    p = ingot("diff", a, b, "--json", "-q", *more)
    lines = p.stdout.splitlines()
    return p.returncode, json.loads(lines[0]) if lines else {"error": p.stderr}


def copy(name):
    shutil.rmtree(f"{W}/{name}", ignore_errors=True)
    shutil.copytree(MODEL, f"{W}/{name}")
    return f"{W}/{name}"


def locate(folder, tensor):
    """file, offset of the data, header entry"""
    for file in sorted(os.listdir(folder)):
        if file.endswith(".safetensors"):
            with open(f"{folder}/{file}", "rb") as f:
                n = struct.unpack("<Q", f.read(8))[0]
                t = json.loads(f.read(n)).get(tensor)
            if t:
                return f"{folder}/{file}", 8 + n + t["data_offsets"][0], t


def names(folder):
    found = set()
    for file in os.listdir(folder):
        if file.endswith(".safetensors"):
            with open(f"{folder}/{file}", "rb") as f:
                found |= set(json.loads(f.read(struct.unpack("<Q", f.read(8))[0])))
    return found - {"__metadata__"}


T = "backbone.layers.0.mixer.in_proj.weight"
rc, doc = diff(MODEL, MODEL)
check("a model and itself", rc == 0 and doc["same"] and doc["differences"] == [] and doc["tensors"] == doc["tensors_same"] == 217, doc)

m = copy("m")
file, at, t = locate(m, T)
with open(file, "r+b") as f:
    f.seek(at)
    raw = f.read(8)
    f.seek(at)
    f.write(struct.pack("<4H", *(v ^ (0x8000 if i in (0, 2) else 0) for i, v in enumerate(struct.unpack("<4H", raw)))))
old = [struct.unpack("<f", b"\0\0" + raw[i:i + 2])[0] for i in (0, 4)]
rc, doc = diff(MODEL, m)
row = doc["differences"][0] if len(doc.get("differences", [])) == 1 else {}
check("two numbers with another sign", rc == 1 and row.get("name") == T and row.get("how") == "values" and row.get("numbers_differ") == 2
      and row.get("of") == t["shape"][0] * t["shape"][1] and row.get("largest") == max(2 * abs(x) for x in old), doc)
text = ingot("diff", MODEL, m, "-q")
check("for people", text.returncode == 1 and f"{T}: 2 of " in text.stdout and "216 of 217 tensors" in text.stdout and "differ in 1 place" in text.stderr, (text.stdout, text.stderr))

m = copy("files")
config = json.load(open(m + "/config.json"))
config.update(rope_theta=7, added={"x": [1, 2]})
config.pop("vocab_size")
json.dump(config, open(m + "/config.json", "w"))
os.remove(m + "/README.md")
open(m + "/extra.txt", "w").write("x")
open(m + "/chat_template.jinja", "a").write(" ")
generation = open(m + "/generation_config.json").read()
open(m + "/generation_config.json", "w").write(generation + "\n")
rc, doc = diff(MODEL, m)
found = {(r["what"], r["name"], r["how"]) for r in doc.get("differences", [])}
want = {("key", "config.json/vocab_size", "only in a"), ("key", "config.json/added", "only in b"), ("file", "README.md", "only in a"), ("file", "extra.txt", "only in b"),
        ("file", "chat_template.jinja", "values"), ("file", "generation_config.json", "values")}
want.add(("key", "config.json/rope_theta", "values" if "rope_theta" in json.load(open(MODEL + "/config.json")) else "only in b"))
check("keys and files, each with its name", rc == 1 and found == want and doc["tensors_same"] == 217, found ^ want)
rc, back = diff(m, MODEL)
turn = {"only in a": "only in b", "only in b": "only in a"}
check("the other way round the other way", {(r["what"], r["name"], turn.get(r["how"], r["how"])) for r in back["differences"]} == found)

out = W + "/one"
p = ingot("convert", MODEL, "--to", "safetensors", "--shard-size", "1G", "-o", out, "-q")
rc, doc = diff(MODEL, out)
check("other shards are no difference", p.returncode == 0 and rc == 0 and doc["same"], doc.get("differences"))
p = ingot("convert", MODEL, "--to", "safetensors", "--type", "f32", "-o", out, "--force", "-q")
rc, doc = diff(MODEL, out)
rows = [r for r in doc["differences"] if r["what"] == "tensor"]
check("another type with the same numbers is a difference of types", rc == 1 and rows and all(r["how"] == "type" and r["numbers_differ"] == 0 for r in rows), rows[:2])
q = W + "/q"
ingot("quantize", MODEL, "-r", "nvfp4-data-free", "-o", q, "-q")
rc, doc = diff(MODEL, q)
hows = {}
for r in doc["differences"]:
    hows[(r["what"], r["how"])] = hows.get((r["what"], r["how"]), 0) + 1
check("a quantized model: packed weights, scales, configuration", rc == 1 and hows.get(("tensor", "shape")) == 138 and hows.get(("tensor", "only in b")) == len(names(q) - names(MODEL)) > 138 and ("tensor", "only in a") not in hows, hows)
p = ingot("pack", q, "-o", f"oci:{W}/package:t", "-q")
rc, doc = diff(q, f"oci:{W}/package:t")
check("a folder and the package made of it", p.returncode == 0 and doc.get("tensors_same") == doc.get("tensors") and not [r for r in doc["differences"] if r["how"] != "only in b"], doc.get("differences"))
one = ingot("diff", MODEL, q, "--json", "-q", "-t", "1").stdout
check("the same report with any number of threads", one == ingot("diff", MODEL, q, "--json", "-q", "-t", "3").stdout)
text = ingot("diff", MODEL, q, "-q", "--limit", "3").stdout.splitlines()
check("--limit", len(text) == 5 and text[3].startswith("and "), text)
for name, args, status in (("no such folder", (MODEL, W + "/none"), 3), ("one operand", (MODEL,), 2), ("a folder without weights", (MODEL, ROOT + "/docs"), 3)):
    p = ingot("diff", *args)
    check(f"refused: {name}", p.returncode == status and p.stderr, (p.returncode, p.stderr))
shutil.rmtree(W, ignore_errors=True)
finish()
