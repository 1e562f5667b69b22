#!/usr/bin/env python3
"""FP8 weights under mse over multiples of the maximum: the scale that is written is the multiplier with the least squared error, found
here by a codec of its own, and the codes are those of that scale; what it was worth is said; other types and searches are refused.
And --sequential with FP8 in blocks: linears behind see what the rounded ones give."""
import bisect, json, math, os, shutil, struct, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
from tensors import save, tensors

MODEL = ROOT + "/examples/nano-hybrid/model"
W = tempfile.mkdtemp()


def run(*args, status=0):
    p = subprocess.run([INGOT, *args], capture_output=True, text=True)
    if p.returncode != status:
        check(" ".join(args), False, f"status {p.returncode}, expected {status}: {p.stderr}")
    return p


def recipe(rules, top=""):
    with open(W + "/r.yaml", "w") as f:
        f.write(f"name: t\n{top}rules:\n" + "".join(f"  - {{{r}}}\n" for r in rules))
    return W + "/r.yaml"


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


# the magnitudes of E4M3, and halves between them
GRID = [(m / 8) * 2.0 ** -6 if e == 0 else (1 + m / 8) * 2.0 ** (e - 7) for e in range(16) for m in range(8)][:127]
HALVES = [(a + b) / 2 for a, b in zip(GRID, GRID[1:])]


def e4m3(x):
    """Code of a magnitude: to the nearest, ties to the even code."""
    i = bisect.bisect_left(HALVES, x)
    return i + 1 if i < 126 and HALVES[i] == x and i % 2 else i


def counts_of(t):
    """Magnitude -> how often."""
    n, values = {}, t[2]
    for u in struct.unpack(f"<{len(values) // 2}H", values):
        n[u & 0x7FFF] = n.get(u & 0x7FFF, 0) + 1
    return {struct.unpack("<f", struct.pack("<I", u << 16))[0]: k for u, k in n.items()}


def best(counts, multipliers):
    """Of a tensor: the scale, and the errors of 1 and of the best."""
    own = max(counts)
    error = lambda amax: sum(k * (v - f32(GRID[e4m3(f32(v / f32(amax / 448)))] * f32(amax / 448))) ** 2 for v, k in counts.items())
    errors = [error(f32(own * m)) for m in multipliers]
    return f32(f32(own * multipliers[errors.index(min(errors))]) / 448), error(own), min(errors)


source = tensors(MODEL)
for rule, multipliers in (("{method: mse, start: 1.0, stop: 1.5, step: 0.5}", [1.0, 1.5]),
                          ("{method: mse, start: 0.75, stop: 2.0, step: 0.25}", [0.75, 1.0, 1.25, 1.5, 1.75, 2.0])):
    r = recipe([f"role: [mlp, mamba_linears], weights: fp8, inputs: {{type: fp8, amax: 8}}, scales: {rule}"])
    p = run("quantize", MODEL, "-r", r, "-o", W + "/out", "-q", "--force", "--json")
    t, seen, total = tensors(W + "/out"), set(), [0.0, 0.0]
    modules = sorted(k[:-13] for k in t if k.endswith(".weight_scale"))
    for m in modules:
        scale, own, least = best(counts_of(source[m + ".weight"]), multipliers)
        total = [total[0] + own, total[1] + least]
        got = struct.unpack("<f", t[m + ".weight_scale"][2])[0]
        seen.add(round(got * 448 / max(counts_of(source[m + ".weight"])), 3))
        if got != scale:
            check(f"{rule}: {m}", False, (got, scale))
        values = struct.unpack(f"<{len(source[m + '.weight'][2]) // 2}H", source[m + ".weight"][2])[:400]
        codes = [e4m3(f32(struct.unpack("<f", struct.pack("<I", (u & 0x7FFF) << 16))[0] / scale)) | u >> 8 & 128 for u in values]
        if bytes(codes) != t[m + ".weight"][2][:400]:
            check(f"{rule}: codes of {m}", False)
    check(f"{rule}: each scale is the best of its multiples", len(modules) > 6 and len(seen) > 1 and seen <= set(multipliers), (len(modules), seen))
    said = json.dumps(json.loads(p.stdout))
    check(f"{rule}: what it was worth is said", f'"mse' in said and total[1] < total[0], said)
    one = run("quantize", MODEL, "-r", r, "-o", W + "/one", "-q", "--force", "-t", "1")
    check(f"{rule}: the same with one thread", tensors(W + "/one") == t)

r = recipe(["role: [mlp, mamba_linears], weights: fp8, inputs: {type: fp8, amax: 8}, scales: {method: mse, start: 1, stop: 1, step: 1}"])
run("quantize", MODEL, "-r", r, "-o", W + "/a", "-q", "--force")
run("quantize", MODEL, "-r", recipe(["role: [mlp, mamba_linears], weights: fp8, inputs: {type: fp8, amax: 8}"]), "-o", W + "/b", "-q", "--force")
check("the multiplier 1 alone is max", tensors(W + "/a") == tensors(W + "/b"))

for rule, status, text in (("weights: fp8, inputs: {type: fp8, amax: 8}, scales: mse", 3, "scales: mse needs weights: nvfp4"),
                           ("weights: fp8_channel, inputs: fp8_token, scales: mse_range", 3, "needs weights: nvfp4 or fp8"),
                           ("weights: fp8, inputs: {type: fp8, amax: 8}, scales: four_over_six", 3, "needs weights: nvfp4")):
    p = run("plan", MODEL, "-r", recipe(["role: mlp, " + rule]), status=status)
    check(f"refused: {rule}", text in p.stderr, p.stderr)

# ---- --sequential: the same maxima as calibrating a model whose FP8 blocks were rounded before ----
texts = ["--data", ROOT + "/examples/nano-hybrid/calibration.jsonl", "--max-texts", "2", "--max-tokens", "64"]
rules = ["role: mamba_linears, weights: fp8_block, inputs: none", "role: mlp, weights: nvfp4, inputs: nvfp4"]
LAYOUT = "layout: compressed-tensors\n"
run("calibrate", MODEL, "-r", recipe(rules, LAYOUT), *texts, "-o", W + "/plain.safetensors", "-q")
run("calibrate", MODEL, "-r", recipe(rules, LAYOUT), *texts, "--sequential", "-o", W + "/seq.safetensors", "-q")
plain, seq = tensors(W + "/plain.safetensors"), tensors(W + "/seq.safetensors")
check("FP8 in blocks stands in under --sequential", {k for k in plain} == {k for k in seq} and any(plain[k] != seq[k] for k in plain if k.endswith("input_amax")),
      [k for k in plain if plain[k] != seq.get(k)][:5])
run("quantize", MODEL, "-r", recipe(rules[:1], LAYOUT), "-o", W + "/blocks", "-q", "--force")
t, decoded = tensors(W + "/blocks"), dict(source)
for m in sorted(k[:-13] for k in t if k.endswith(".weight_scale")):
    (_, (rows, cols), codes), scales = t[m + ".weight"], t[m + ".weight_scale"]
    n, s = scales[1][1], struct.unpack(f"<{len(scales[2]) // 4}f", scales[2])
    values = [math.copysign(GRID[c & 127], -1 if c & 128 else 1) * s[i // cols // 128 * n + i % cols // 128] for i, c in enumerate(codes)]
    decoded[m + ".weight"] = ("F32", [rows, cols], struct.pack(f"<{len(values)}f", *values))
shutil.copytree(MODEL, W + "/decoded")
save(W + "/decoded", decoded)
run("calibrate", W + "/decoded", "-r", recipe([rules[1]], LAYOUT), *texts, "-o", W + "/of_decoded.safetensors", "-q")
first = [k for k in sorted(seq) if k.endswith("input_amax")][:1]
other = tensors(W + "/of_decoded.safetensors")
check("the first MLP behind them sees what rounded weights give", first and other[first[0]] == seq[first[0]] != plain[first[0]], [struct.unpack("<f", x[first[0]][2]) for x in (plain, seq, other)])

shutil.rmtree(W, ignore_errors=True)
finish()
