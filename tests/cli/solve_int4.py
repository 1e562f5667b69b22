#!/usr/bin/env python3
"""Solved INT4 in every layout that holds it: modelopt, compressed-tensors, awq and gptq, with zero points and without. Codes and
scales in the folder are those that calibration left in the statistics, in the layout's published order; the error is that of
ModelOpt's layout where the grid is the same; on a file whose weights were decoded here the engine gives the same logits; and these
are nearer to the original's than those of plain rounding."""
import json, math, os, shutil, struct, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import ROOT, check, finish, ingot
from int4_layouts import decoded, parts
from tensors import save, tensors

MODEL, TEXTS = ROOT + "/examples/nano-hybrid/model", ROOT + "/examples/nano-hybrid/calibration.jsonl"
GROUP = 32
W = tempfile.mkdtemp()
DATA = ["--data", TEXTS, "--max-texts", "6", "--max-tokens", "128"]


def recipe(layout, zero, solve):
    path = f"{W}/recipe.yaml"
    with open(path, "w") as f:
        f.write(f"name: t\nunseen_experts: layer_max\nlayout: {layout}\nrules:\n  - {{role: [mlp, attention], weights: int4, group: {GROUP}, "
                f"zero: {str(zero).lower()}, solve: {solve}}}\n")
    return path


def solve(layout, zero, how, *more):
    """The folder, the statistics' solved tensors, and what calibrate says."""
    r = recipe(layout, zero, how)
    p = ingot("calibrate", MODEL, "-r", r, *DATA, "-o", f"{W}/s.safetensors", "-q", "--json", *more)
    q = ingot("quantize", MODEL, "-r", r, "-s", f"{W}/s.safetensors", "-o", f"{W}/out", "-q", "--force")
    if p.returncode or q.returncode:
        check(f"{layout}, {how}", False, p.stderr + q.stderr)
        return None
    return f"{W}/out", tensors(f"{W}/s.safetensors", "solved."), json.loads(p.stdout)["solved"]


def logits(folder):
    p = ingot("logits", folder, "--ids", W + "/ids.json", "-o", W + "/logits.safetensors", "-q")
    if p.returncode:
        check("logits", False, p.stderr)
    return tensors(W + "/logits.safetensors")


def kl(a, b):
    """Mean over tokens, from the bytes of two [tokens, vocab]."""
    total, rows = 0.0, 0
    for name, (_, shape, raw) in a.items():
        n = shape[1]
        for r in range(shape[0]):
            x = struct.unpack(f"<{n}f", raw[r * n * 4:(r + 1) * n * 4])
            y = struct.unpack(f"<{n}f", b[name][2][r * n * 4:(r + 1) * n * 4])
            zx, zy = math.log(sum(map(math.exp, x))), math.log(sum(map(math.exp, y)))
            total += sum(math.exp(p - zx) * (p - zx - q + zy) for p, q in zip(x, y))
            rows += 1
    return total / rows


def nibbles(raw):
    return [n for v in raw for n in (v & 15, v >> 4)]


def solved_parts(stats, module, zero, rows, cols):
    n, raw = cols // GROUP, nibbles(stats[module + ".weight"][2])
    flip = 0 if zero else 8
    codes = [[raw[r * cols + c] ^ flip for c in range(cols)] for r in range(rows)]
    z = stats[module + ".weight_zero_point"][2] if zero else bytes([8]) * (rows * n)
    return codes, [list(z[r * n:(r + 1) * n]) for r in range(rows)], struct.unpack(f"<{rows * n}f", stats[module + ".weight_scale"][2])


def plain(original, linears):
    """A folder with the weights decoded in float32, as the engine reads them."""
    out = dict(original)
    for module, (codes, zeros, scales) in linears.items():
        values = decoded(codes, zeros, scales, GROUP)
        out[module + ".weight"] = ("F32", original[module + ".weight"][1], struct.pack(f"<{len(values)}f", *values))
    folder = W + "/plain"
    shutil.copytree(MODEL, folder, dirs_exist_ok=True)
    save(folder, out)
    return folder


# texts that calibration does not see
p = ingot("tokenize", MODEL, "--file", TEXTS, "--json")
with open(W + "/ids.json", "w") as f:
    json.dump([json.loads(line)["ids"][:64] for line in p.stdout.splitlines()[20:23]], f)
ORDERED = "{method: gptq, act_order: true}"
original, of_original = tensors(MODEL), logits(MODEL)
errors = {}
for layout, zero in (("modelopt", False), ("compressed-tensors", False), ("awq", False), ("gptq", False), ("compressed-tensors", True), ("awq", True), ("gptq", True)):
    name = f"{layout}{' with zero points' if zero else ''}"
    q = ingot("quantize", MODEL, "-r", recipe(layout, zero, "none"), "-o", f"{W}/rounded", "-q", "--force")
    worst = kl(of_original, logits(f"{W}/rounded")) if q.returncode == 0 else 0
    for how in ("gptq", "descent", ORDERED)[:3 if layout in ("gptq", "modelopt") else 2]:
        got = solve(layout, zero, how)
        if not got:
            continue
        folder, stats, said = got
        errors[layout, zero, how] = (said["count"], said["error"], said["error_max"])
        check(f"{name}, {how}: the outputs' error falls", 0 < said["error"] < 0.5 * said["error_max"] and said["lost"] == 0, said)
        mine = logits(folder)
        check(f"{name}, {how}: nearer to the original than plain rounding", kl(of_original, mine) < worst, (kl(of_original, mine), worst))
        written, linears = tensors(folder), {}
        for module in sorted({k.rsplit(".", 1)[0] for k in stats if k.endswith(".weight")}):
            rows, cols = original[module + ".weight"][1]
            linears[module] = parts({k[len(module) + 1:]: v for k, v in written.items() if k.startswith(module + ".")}, layout, rows, cols, GROUP)
            if [list(x) for x in linears[module]] != [list(x) for x in solved_parts(stats, module, zero, rows, cols)]:
                check(f"{name}, {how}: {module} is what was solved", False)
        check(f"{name}, {how}: what is written is what was solved", len(linears) == said["count"] and len(linears) > 5, len(linears))
        if how == "descent":
            check(f"{name}: the engine reads what was solved", mine == logits(plain(original, linears)))
        if layout == "gptq":
            g_idx = {k: struct.unpack(f"<{v[1][0]}I", v[2]) for k, v in written.items() if k.endswith(".g_idx")}
            config = json.load(open(folder + "/config.json"))["quantization_config"]
            check(f"{name}, {how}: groups stay where they are, and the file says so", len(g_idx) == said["count"]
                  and all(v == tuple(c // GROUP for c in range(len(v))) for v in g_idx.values()) and not config.get("desc_act"), config)
            check(f"{name}, {how}: no zero point is 0", all(z for _, zeros, _ in linears.values() for row in zeros for z in row))

same = lambda a, b: a[0] == b[0] and all(abs(x - y) <= 0.003 * y for x, y in zip(a[1:], b[1:]))
for how in ("gptq", "descent"):
    check(f"{how}: compressed-tensors solves what modelopt does", errors["compressed-tensors", False, how] == errors["modelopt", False, how], errors)
    for zero in (False, True):
        a, g = errors["awq", zero, how], errors["gptq", zero, how]
        check(f"{how}: awq and gptq {'with' if zero else 'without'} zero points solve the same grid", a == g or zero and same(a, g), (a, g))
        check(f"{how}: with scales of 16 bits the errors are nearly the same", same(a, errors["compressed-tensors", zero, how]), (a, errors["compressed-tensors", zero, how]))

# ---- a group whose weights are all above zero: GPTQ's layout cannot hold its zero point ----
t = tensors(MODEL)
module = next(k for k in sorted(t) if k.endswith("mixer.q_proj.weight"))
dtype, shape, raw = t[module]
t[module] = (dtype, shape, bytes(b & 0x7F if i % 2 else b for i, b in enumerate(raw)))
folder = W + "/positive"
shutil.copytree(MODEL, folder)
save(folder, t)
found = {}
for layout in ("gptq", "awq"):
    r = recipe(layout, True, "gptq")
    p = ingot("calibrate", folder, "-r", r, *DATA, "-o", f"{W}/p.safetensors", "-q", "--json", "--sequential")
    q = ingot("quantize", folder, "-r", r, "-s", f"{W}/p.safetensors", "-o", f"{W}/p", "-q", "--force")
    zeros = tensors(f"{W}/p.safetensors", "solved.")[module + "_zero_point"][2] if p.returncode == 0 else b""
    found[layout] = set(zeros)
    check(f"{layout}: a group above zero is solved and written", p.returncode == q.returncode == 0, p.stderr + q.stderr)
check("its zero point is 0 for awq, and 1 for gptq from the start", found == {"gptq": {1}, "awq": {0}}, found)

# ---- threads and memory do not show ----
r = recipe("gptq", True, "descent")
for out, more in (("a", []), ("b", ["-t", "1", "--solve-memory", "1"])):
    ingot("calibrate", MODEL, "-r", r, *DATA, "-o", f"{W}/{out}.safetensors", "-q", *more)
check("the same with one thread and no memory", open(f"{W}/a.safetensors", "rb").read() == open(f"{W}/b.safetensors", "rb").read())

shutil.rmtree(W, ignore_errors=True)
finish()
