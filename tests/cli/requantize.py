#!/usr/bin/env python3
"""--allow-requantize from INT4 of every layout: AWQ, GPTQ (with act-order too) and compressed-tensors, with zero points and without.
The weights are decoded here, by the layouts' published orders, rounded to BF16 and put into a plain folder: what quantize makes of that
is what it must make of the quantized source, tensor by tensor. What no rule selects is those BF16 weights, or stays as it is where the
layout is the result's."""
import hashlib, json, os, random, shutil, struct, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
from int4_layouts import decoded, parts
from tensors import save, tensors

MODEL = ROOT + "/examples/nano-hybrid/model"
GROUP = 32
W = tempfile.mkdtemp()


def run(*args, status=0):
    p = subprocess.run([INGOT, *args], capture_output=True, text=True)
    if p.returncode != status:
        check(" ".join(args), False, f"status {p.returncode}, expected {status}: {p.stderr}")
    return p


def recipe(name, rules, top=""):
    with open(f"{W}/{name}.yaml", "w") as f:
        f.write(f"name: {name}\n{top}rules:\n" + "".join(f"  - {{{r}}}\n" for r in rules))
    return f"{W}/{name}.yaml"


def bf16(values):
    out = []
    for v in values:
        u = struct.unpack("<I", struct.pack("<f", v))[0]
        out.append((u + 0x7FFF + (u >> 16 & 1)) >> 16)
    return struct.pack(f"<{len(out)}H", *out)


def f32(values):
    return struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values))


original = tensors(MODEL)
INT4 = "role: [mlp, attention], weights: int4, group: 32, inputs: none"
AGAIN = recipe("again", ["role: mlp_up, weights: nvfp4, inputs: none", "role: mlp_down, weights: fp8_channel, inputs: fp8_token",
                         "role: attn_o, weights: int4, group: 64, inputs: none"])
for layout, zero, ordered in (("compressed-tensors", False, False), ("compressed-tensors", True, False), ("awq", False, False), ("awq", True, False),
                              ("gptq", False, False), ("gptq", True, False), ("gptq", True, True)):
    name = f"{layout}{' with zero points' if zero else ''}{' in act-order' if ordered else ''}"
    source = f"{W}/source"
    run("quantize", MODEL, "-r", recipe("first", [INT4 + ", zero: " + str(zero).lower()], f"layout: {layout}\n"), "-o", source, "-q", "--force")
    t = tensors(source)
    modules = sorted({k.rsplit(".", 1)[0] for k in t if k.endswith(("qweight", "weight_packed"))})
    order = {}
    if ordered:                           # any order will do: it is another matrix
        for m in modules:
            g = list(struct.unpack(f"<{t[m + '.g_idx'][1][0]}I", t[m + ".g_idx"][2]))
            random.Random(m).shuffle(g)
            order[m], t[m + ".g_idx"] = g, ("I32", [len(g)], struct.pack(f"<{len(g)}I", *g))
        save(source, t)
        os.remove(source + "/ingot.json")
        config = json.load(open(source + "/config.json"))
        config["quantization_config"]["desc_act"] = True
        json.dump(config, open(source + "/config.json", "w"))
    plain = dict(original)
    for m in modules:
        rows, cols = original[m + ".weight"][1]
        own = {k[len(m) + 1:]: v for k, v in t.items() if k.startswith(m + ".")}
        plain[m + ".weight"] = ("BF16", [rows, cols], bf16(f32(decoded(*parts(own, layout, rows, cols, GROUP), GROUP, order.get(m)))))
    folder = W + "/plain"
    shutil.copytree(MODEL, folder, dirs_exist_ok=True)
    save(folder, plain)
    run("quantize", source, "-r", AGAIN, "--allow-requantize", "-o", W + "/a", "-q", "--force")
    run("quantize", folder, "-r", AGAIN, "-o", W + "/b", "-q", "--force")
    a, b = tensors(W + "/a"), tensors(W + "/b")
    wrong = [k for k in sorted(set(a) | set(b)) if a.get(k) != b.get(k)]
    check(f"{name}: the same as from decoded weights", len(modules) > 5 and not wrong, wrong[:4])
    check(f"{name}: what no rule selects is decoded", all(a[m + ".weight"] == plain[m + ".weight"] for m in modules if m.endswith(("q_proj", "k_proj", "v_proj"))))
    digests = json.load(open(W + "/a/ingot.json"))
    stem = "weight_packed" if layout[0] == "c" else "qweight"
    check(f"{name}: the source's digests are those of its tensors",
          all(digests["tensors"][m + ".weight"]["source_sha256"] == hashlib.sha256(t[f"{m}.{stem}"][2]).hexdigest() for m in modules))
    run("quantize", source, "-r", AGAIN, "--allow-requantize", "-o", W + "/c", "-q", "--force", "-t", "1")
    check(f"{name}: the same with one thread", tensors(W + "/c") == a and json.load(open(W + "/c/ingot.json")) == digests)
    p = run("quantize", source, "-r", AGAIN, "-o", W + "/d", "-q", "--force", status=4)
    check(f"{name}: refused without the word", "--allow-requantize" in p.stderr, p.stderr)
    if layout != "awq" or zero:           # in its own layout what is not selected keeps its bytes
        run("quantize", source, "-r", recipe("own", ["role: mlp, weights: int4, group: 32, inputs: none, zero: " + str(zero).lower()], f"layout: {layout}\n"),
            "--allow-requantize", "-o", W + "/e", "-q", "--force")
        e = tensors(W + "/e")
        kept = [k for k in t if any(k.startswith(m + ".") for m in modules if m.endswith(("q_proj", "k_proj", "v_proj", "o_proj")))]
        check(f"{name}: in its own layout what is not selected stays", len(kept) > 8 and all(e.get(k) == t[k] for k in kept), len(kept))
        config = json.load(open(W + "/e/config.json"))["quantization_config"]
        check(f"{name}: and the configuration says whether its groups are in order", config.get("desc_act", False) == ordered, config.get("desc_act"))

# ---- bad sources ----
run("quantize", MODEL, "-r", recipe("first", [INT4 + ", zero: true"], "layout: gptq\n"), "-o", W + "/source", "-q", "--force")
t = tensors(W + "/source")
m = next(k for k in sorted(t) if k.endswith(".g_idx"))
for key, raw, text in ((m, struct.pack("<I", 99), "holds 99 for column 0"), (m[:-5] + "scales", struct.pack("<e", -1.0), "a scale is finite and not negative")):
    broken = dict(t)
    broken[key] = (t[key][0], t[key][1], raw + t[key][2][len(raw):])
    folder = W + "/broken"
    shutil.copytree(W + "/source", folder, dirs_exist_ok=True)
    save(folder, broken)
    if os.path.exists(folder + "/ingot.json"):
        os.remove(folder + "/ingot.json")
    p = run("quantize", folder, "-r", AGAIN, "--allow-requantize", "-o", W + "/no", "-q", status=3)
    check(f"a bad {key.rsplit('.', 1)[1]} is found", key.rsplit(".", 1)[0] in p.stderr and text in p.stderr and not os.path.exists(W + "/no"), p.stderr)

shutil.rmtree(W, ignore_errors=True)
finish()
