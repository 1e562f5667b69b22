#!/usr/bin/env python3
"""AWQ, SmoothQuant and clipping from the command line: less error than scales: max, as the program says and as the written
weights say by themselves; the scales of a group are in the statistics, and what is written is the source times and over
them, worked out here; the same bytes whatever the threads and after an interruption; what does not belong is refused."""
import json, math, os, shutil, struct, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import ROOT, check, digest, finish, ingot, kill_calibrate
MODEL, TEXTS = ROOT + "/examples/nano-hybrid/model", ROOT + "/examples/nano-hybrid/calibration.jsonl"
W = tempfile.mkdtemp()
DATA = ["--data", TEXTS, "--max-texts", "2", "--max-tokens", "64"]


def recipe(name, rules, head="unseen_experts: layer_max\n"):
    path = f"{W}/{name}.yaml"
    with open(path, "w") as f:
        f.write(f"name: {name}\n{head}rules:\n" + "".join(f"  - {{{r}}}\n" for r in rules))
    return path


def calibrate(r, out, *args):
    return ingot("calibrate", MODEL, "-r", r, *DATA, "-o", f"{W}/{out}.safetensors", "-q", *args)


def quantize(r, stats, out, *args):
    return ingot("quantize", MODEL, "-r", r, "-s", f"{W}/{stats}.safetensors", "-o", f"{W}/{out}", "-q", "--force", *args)


def same(a, b):
    return digest(f"{W}/{a}.safetensors") == digest(f"{W}/{b}.safetensors")


def tensors(path):
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        head, data = json.loads(f.read(n)), f.read()
    return {k: (v["dtype"], v["shape"], data[slice(*v["data_offsets"])]) for k, v in head.items() if k != "__metadata__"}


def floats(t):
    kind, _, raw = t
    if kind == "F32":
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    return list(struct.unpack(f"<{len(raw) // 2}f", b"".join(b"\0\0" + raw[i:i + 2] for i in range(0, len(raw), 2))))


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def bf16(x):
    """Round to nearest, ties to even."""
    u = struct.unpack("<I", struct.pack("<f", x))[0]
    return struct.unpack("<f", struct.pack("<I", (u + 0x7fff + (u >> 16 & 1)) >> 16 << 16))[0]


ALL = "role: [attention, mamba_linears, mlp, latent, shared_experts, routed_experts]"
source = {}
for f in sorted(os.listdir(MODEL)):
    if f.endswith(".safetensors"):
        source.update(tensors(MODEL + "/" + f))

# ---- the words: less error than max ----
for name, rule in (
    ("awq", "weights: nvfp4, inputs: none, solve: awq"),
    ("awq4", "weights: nvfp4, inputs: nvfp4, solve: awq"),
    ("smooth", "weights: nvfp4, inputs: nvfp4, solve: {method: smoothquant, alpha: 0.25}"),
    ("full", "weights: int4, group: 64, inputs: none, solve: {method: awq, clip: true}"),
    ("eight", "weights: fp8, inputs: fp8, solve: {method: awq, duo: false}"),
):
    r = recipe(name, [f"{ALL}, {rule}"])
    p = calibrate(r, name, "--json")
    q = quantize(r, name, "q_" + name)
    d = json.loads(p.stdout or "{}").get("solved", {})
    check(f"{name}: calibrates and quantizes", p.returncode == q.returncode == 0 and d.get("count") == 164, p.stderr + q.stderr + str(d)[:200])
    check(f"{name}: less error than max", 0 < d.get("error", 0) < d.get("error_max", 0), (d.get("error"), d.get("error_max")))
    check(f"{name}: what lost is said", d.get("lost") == sum(x["lost"] for x in d.get("linears", [])) == sum(x["error"] > x["error_max"] and x["damp"] > 0 for x in d.get("linears", [])), d.get("lost"))
check("no work folder stays", not [f for f in os.listdir(W) if "partial" in f], os.listdir(W))

# ---- what is written: the source, times and over the scales of the statistics ----
stats, written = tensors(f"{W}/awq.safetensors"), tensors(f"{W}/q_awq/model.safetensors")
scale = {k[7:-11]: floats(v) for k, v in stats.items() if k.endswith(".fold_scale")}
check("a group of scales for every maker", len(scale) == 5 * 2 + 2 * 2 + 1 * 2 + 4 * (1 + 1 + 1 + 16 + 1), sorted(scale)[:4])
check("scales are positive, and not all 1", all(x > 0 for v in scale.values() for x in v) and sum(any(x != 1 for x in v) for v in scale.values()) > len(scale) / 2)
exact = [scale[k.replace("mixer.gate.weight", "norm")] for k in source if k.endswith("mixer.gate.weight")]
check("where a router reads, norms' scales are powers of two", exact and all(math.frexp(x)[0] == 0.5 for v in exact for x in v) and any(x != 1 for v in exact for x in v))
norms = [k for k in source if k.endswith("norm.weight") and k[:-7] in scale]
ok = bool(norms)
for k in norms:
    was, now, s = floats(source[k]), floats(written[k]), scale[k[:-7]]
    ok &= all(b == bf16(f32(a / x)) and (b == 0 or x == f32(a / b) or x == 1) for a, b, x in zip(was, now, s))
check("norms are divided, and the scale is what that leaves after rounding", ok, len(norms))
routers = [k for k in source if k.endswith("mixer.gate.weight")]
ok = bool(routers)
for k in routers:
    s, n = scale[k.replace("mixer.gate.weight", "norm")], source[k][1][1]
    pack = bf16 if source[k][0] == "BF16" else f32
    ok &= all(b == pack(f32(a * s[i % n])) for i, (a, b) in enumerate(zip(floats(source[k]), floats(written[k]))))
check("routers read what they read before: their columns are multiplied", ok, len(routers))
others = [k for k in source if k in written and written[k][0] == source[k][0] and k not in norms and k not in routers]
check("everything else that is not quantized is the source's", len(others) > 30 and all(source[k] == written[k] for k in others), [k for k in others if source[k] != written[k]][:3])

# fold alone: the written bf16 weights of a relu^2 MLP, whose maker is divided by the root
alone = recipe("alone", ["role: mlp, weights: none, inputs: none, solve: smoothquant"])
p, q = calibrate(alone, "alone"), None
q = quantize(alone, "alone", "q_alone")
check("weights: none folds without quantizing", p.returncode == q.returncode == 0, p.stderr + q.stderr)
stats, written = tensors(f"{W}/alone.safetensors"), tensors(f"{W}/q_alone/model.safetensors")
scale = {k[7:-11]: floats(v) for k, v in stats.items() if k.endswith(".fold_scale")}
up = next(k for k in source if k.endswith("mixer.up_proj.weight"))
down, norm = up.replace("up_proj", "down_proj"), up.replace("mixer.up_proj.weight", "norm")
s_in, s = scale[norm], scale[up[:-7]]
cols = source[up][1][1]
ok = all(b == bf16(f32(f32(a * s_in[i % cols]) / f32(math.sqrt(s[i // cols])))) for i, (a, b) in enumerate(zip(floats(source[up]), floats(written[up]))))
check("up: columns times the norm's scales, rows over the root of its own", ok)
cols = source[down][1][1]
check("down: columns times up's scales", all(b == bf16(f32(a * s[i % cols])) for i, (a, b) in enumerate(zip(floats(source[down]), floats(written[down])))))
# SmoothQuant's rule at alpha 0: 1 / max |w|, from the weights alone; up's channels are kept by down's columns only
zero = recipe("zero", ["role: mlp, weights: none, inputs: none, solve: {method: smoothquant, alpha: 0}"])
calibrate(zero, "zero")
s = floats(tensors(f"{W}/zero.safetensors")["solved." + up[:-7] + ".fold_scale"])
w = floats(source[down])
most = [max(abs(x) for x in w[c::cols]) for c in range(cols)]
check("alpha 0: scales are 1 over the largest weight of the column, to the power of four", all(x == 1 or (0.5 <= x * m <= 2 and math.log(x, 4) % 1 == 0) for x, m in zip(s, most)) and sum(x != 1 for x in s) > cols / 2)

# ---- threads, interruptions ----
for name in ("full",):
    calibrate(f"{W}/{name}.yaml", "t1", "-t", "1")
    check(f"{name}: one thread gives the same statistics", same(name, "t1"))
    quantize(f"{W}/{name}.yaml", name, "q_t1", "-t", "1")
    check(f"{name}: and the same checkpoint", digest(f"{W}/q_{name}/model.safetensors") == digest(f"{W}/q_t1/model.safetensors"))
done = kill_calibrate(f"{W}/k.safetensors", 3, MODEL, "-r", f"{W}/full.yaml", *DATA)
p = calibrate(f"{W}/full.yaml", "k")
check("a killed run goes on and ends in the same bytes", done >= 3 and p.returncode == 0 and same("full", "k"), p.stderr)

# ---- refused ----
with open(f"{W}/awq.safetensors", "rb") as f:
    file = bytearray(f.read())
n = struct.unpack("<Q", file[:8])[0]
head = json.loads(file[8:8 + n])
name = next(k for k in head if k.endswith(".fold_scale"))
for what, change, part in (("a changed scale", lambda b: b[:1] + bytes([b[1] ^ 1]) + b[2:], "other bytes"),):
    at = 8 + n + head[name]["data_offsets"][0]
    file[at:at + 4] = change(bytes(file[at:at + 4]))
    with open(f"{W}/bad.safetensors", "wb") as f:
        f.write(file)
    p = quantize(f"{W}/awq.yaml", "bad", "no")
    check(f"refused: {what}", p.returncode == 3 and part in p.stderr and name[7:] in p.stderr and not os.path.exists(f"{W}/no"), p.stderr)
p = quantize(f"{W}/awq4.yaml", "awq", "no")
check("refused: statistics of another recipe", p.returncode == 3 and "another checkpoint or recipe" in p.stderr, p.stderr)
for text, status, part in (
    ("role: mlp, weights: nvfp4, solve: {method: smoothquant, alpha: 1.5}", 3, "solve.alpha: expected a number from 0 to 1, found 1.5"),
    ("role: mlp, weights: nvfp4, solve: {method: smoothquant, duo: true}", 3, "duo"),
    ("role: mlp, weights: nvfp4, solve: {method: awq, alpha: 0.5}", 3, "alpha"),
    ("role: mlp, inputs: nvfp4, solve: awq", 3, "needs 'weights'"),
    ("role: lm_head, weights: nvfp4, inputs: none, solve: awq", 4, "folds nothing: nothing in front of it"),
    ("role: mlp, weights: fp8, inputs: fp8, solve: awq_clip", 4, "needs nvfp4 or int4"),
    ("role: mlp, weights: nvfp4, inputs: none, scales: mse, solve: awq_clip", 4, "scales: mse"),
    ("role: mlp, weights: nvfp4, inputs: none, scales: local_hessian, solve: awq", 4, "scales: local_hessian"),
    ("role: mlp, weights: fp8, inputs: {type: fp8, observer: percentile}, solve: awq", 4, "observer: percentile"),
):
    p = ingot("plan", MODEL, "-r", recipe("refused", [text]))
    check(f"refused: {text.split('weights')[-1]}", p.returncode == status and part in p.stderr, p.stderr)
p = ingot("plan", MODEL, "-r", recipe("two", ["role: attn_q, weights: nvfp4, solve: awq", "role: [attn_k, attn_v], weights: nvfp4, solve: smoothquant"]))
check("refused: two kinds of scales for one norm", p.returncode == 4 and "read the same channels" in p.stderr, p.stderr)

# ---- said ----
p = ingot("plan", MODEL, "-r", recipe("mixed", ["role: [attention, mlp], weights: nvfp4, inputs: none, solve: awq", "role: attn_q, weights: nvfp4, inputs: none, solve: gptq"]))
check("a linear whose channels stay is named, with who keeps it from that", p.returncode == 0 and "note: solve: awq:" in p.stdout and "q_proj.weight' is solved for its inputs as they are" in p.stdout, p.stdout + p.stderr)
p = ingot("plan", MODEL, "-r", f"{W}/awq.yaml", "--json")
items = {i["tensor"]: i for i in json.loads(p.stdout)["items"]}
check("the plan says what folds", items[norms[0]]["action"] == "fold" and items[norms[0]]["divided_by"] == norms[0][:-7] + ".fold_scale" and items[routers[0]]["action"] == "fold" and "columns_times" in items[routers[0]], items[norms[0]])
p = ingot("plan", MODEL, "-r", f"{W}/awq.yaml", "--explain", norms[0])
check("--explain too", "fold_scale" in p.stdout, p.stdout)
p = ingot("plan", MODEL, "-r", f"{W}/awq.yaml")
check("and the memory", "nvfp4 awq" in p.stdout and "calibrate solves in" in p.stdout, p.stdout)

shutil.rmtree(W, ignore_errors=True)
finish()
