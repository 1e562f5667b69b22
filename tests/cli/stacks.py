#!/usr/bin/env python3
"""Experts in stacks, and sources that are quantized already: what is written decodes, by readers written here, to numbers near
the source's; logits of the result stay near the source's; a cast from MXFP4 to NVFP4 changes not one bit of them; what cannot be
done is refused by name."""
import json, math, os, struct, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
from tensors import tensors

SHARED = os.environ.get("INGOT_SHARED", "../shared")
VECTORS = ROOT + "/tests/vectors/engine/"
EXAMPLE = ROOT + "/examples/nano-hybrid/model"
WORK = tempfile.mkdtemp()
count = 0
IDS = [[(7 * i + 3 * k) % 61 + 2 for i in range(24)] for k in range(4)]
json.dump(IDS, open(WORK + "/ids.json", "w"))


def run(*args, status=0):
    p = subprocess.run([INGOT, *args], capture_output=True, text=True)
    if p.returncode != status:
        check(" ".join(args), False, f"status {p.returncode}, expected {status}: {p.stderr}")
    return p


def quantize(source, rules, *more, status=0):
    """A recipe of these rules on the source; the folder that was written."""
    global count
    count += 1
    out, recipe = f"{WORK}/{count}", WORK + "/recipe.yaml"
    with open(recipe, "w") as f:
        f.write("name: t\nunseen_experts: layer_max\nrules:\n" + "".join(f"  - {{{r}}}\n" for r in rules))
    p = run("quantize", source, "-r", recipe, "-o", out, "-q", *more, status=status)
    return p.stderr if status else out


def logits(folder):
    out = WORK + "/logits.safetensors"
    if os.path.exists(out):
        os.remove(out)
    run("logits", folder, "--ids", WORK + "/ids.json", "-o", out, "-q")
    return {k: v for k, v in tensors(out).items() if k.endswith("logits")}


def kl(a, b):
    """Mean over tokens of the divergence of b's next token from a's."""
    total = n = 0
    for k, (_, (rows, cols), data) in a.items():
        x, y = struct.unpack(f"<{rows * cols}f", data), struct.unpack(f"<{rows * cols}f", b[k][2])
        for r in range(rows):
            p, q = x[r * cols:(r + 1) * cols], y[r * cols:(r + 1) * cols]
            mp, mq = max(p), max(q)
            zp, zq = math.log(sum(math.exp(v - mp) for v in p)) + mp, math.log(sum(math.exp(v - mq) for v in q)) + mq
            total += sum(math.exp(u - zp) * ((u - zp) - (v - zq)) for u, v in zip(p, q))
            n += 1
    return total / n


def e4m3(c):
    e, m = c >> 3 & 15, c & 7
    return (-1 if c & 128 else 1) * (math.ldexp(m, -9) if e == 0 else math.ldexp(8 + m, e - 10))


E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]


def bf16(data):
    return [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]


def scalar(t):
    return struct.unpack("<f", t[2])[0]


def decode_stack(t, name):
    """[experts * inputs, outputs] of a stack as ModelOpt stores it."""
    dtype, (experts, rows, cols), data = t[name]
    if dtype == "BF16":
        return bf16(data), cols
    if dtype == "F8_E4M3":
        return [e4m3(c) * scalar(t[name + "_weight_scale"]) for c in data], cols
    kind, sshape, scales = t[name + "_weight_scale"]
    if kind == "U8":         # blocks of 32 outputs
        n = 2 * cols
        return [E2M1[data[i // 2] >> 4 * (i % 2) & 15] * 2.0 ** (scales[i // 32] - 127) for i in range(experts * rows * n)], n
    s2, out = scalar(t[name + "_weight_scale_2"]), []
    for e in range(experts):      # blocks of 16 inputs, codes and scales of one input beside each other
        for i in range(2 * rows):
            for o in range(cols):
                code = data[(e * rows + i // 2) * cols + o] >> 4 * (i % 2) & 15
                out.append(E2M1[code] * e4m3(scales[(e * sshape[1] + i // 16) * cols + o]) * s2)
    return out, cols


# ---- GPT-OSS's plain stacks ----

OSS = VECTORS + "gpt_oss"
source, before = tensors(OSS), logits(OSS)
STACK = "model.layers.0.mlp.experts.gate_up_proj"
plain, _ = decode_stack(source, STACK)
top = max(abs(v) for v in plain)
for weights, inputs, bound, limit in [("nvfp4", "none", 0.18, 0.2), ("fp8", "{type: fp8, amax: 200}", 0.04, 0.05), ("mxfp4", "none", 0.2, 0.2), ("mxfp4_ocp", "none", 0.25, 0.2),
                                      ("nvfp4", "{type: nvfp4, amax: 200}", 0.18, 0.4)]:
    out = quantize(OSS, [f"role: routed_experts, weights: {weights}, inputs: {inputs}"])
    t = tensors(out)
    values, cols = decode_stack(t, STACK)
    worst = max(abs(a - b) for a, b in zip(values, plain)) / top
    check(f"stack {weights}: decodes to the source", len(values) == len(plain) and 0 < worst <= bound, worst)
    check(f"stack {weights}: biases and nothing else beside it", sorted(k for k in t if ".experts." in k and "layers.0" in k and "scale" not in k) == sorted(k for k in source if ".experts." in k and "layers.0" in k))
    d = kl(before, logits(out))
    check(f"stack {weights}/{inputs}: KL {d:.4f}", 0 < d < limit, d)
    again = quantize(OSS, [f"role: routed_experts, weights: {weights}, inputs: {inputs}"], "-t", "1")
    check(f"stack {weights}: the same with one thread", tensors(again) == t)
    copy = WORK + "/copy"
    run("quantize", out, "-r", "copy", "-o", copy, "-q")
    check(f"stack {weights}: copied whole", tensors(copy) == t)
    subprocess.run(["rm", "-rf", copy])
for rule, text in [("weights: int4, inputs: none", "lies in the stack '" + STACK + "', which the layout modelopt does not hold as w4a16_awq_g128"),
                   ("weights: mxfp8, inputs: mxfp8", "which the layout modelopt does not hold as mxfp8"),
                   ("weights: mxfp4, inputs: none, solve: gptq", "solve: gptq needs nvfp4 or int4 weights"),
                   ("weights: int4, group: 32, inputs: none, solve: gptq", "lies in the stack '" + STACK + "', which the layout modelopt does not hold as w4a16_awq_g32"),
                   ("weights: nvfp4, inputs: none, scales: mxfp4_cast", "scales: mxfp4_cast needs a source in MXFP4, this one is plain numbers")]:
    err = quantize(OSS, ["role: routed_experts, " + rule], status=4)
    check(f"refused in a stack: {rule}", text in err, err)

# ---- stacks of outputs by inputs come apart ----

MISTRAL = VECTORS + "mistral4"
out = quantize(MISTRAL, ["role: routed_experts, weights: nvfp4, inputs: none"])
names = tensors(out)
check("a stack of outputs by inputs comes apart", any(".experts.0.gate_proj.weight_scale_2" in k for k in names) and not any(k.endswith("experts.gate_up_proj") for k in names))
d = kl(logits(MISTRAL), logits(out))
check(f"experts that came apart: KL {d:.4f}", 0 < d < 0.1, d)

# ---- quantized sources ----

MX = VECTORS + "gpt_oss_mxfp4"
CAST = ["role: routed_experts, weights: nvfp4, inputs: none, scales: mxfp4_cast"]
err = quantize(MX, CAST, status=4)
check("a quantized source is refused", "quantized already" in err and "--allow-requantize" in err, err)
before = logits(MX)
out = quantize(MX, CAST, "--allow-requantize")
check("cast: logits are the source's, bit for bit", logits(out) == before)
t = tensors(out)
check("cast: weight_scale_2 is a power of two", math.frexp(scalar(t[STACK + "_weight_scale_2"]))[0] == 0.5)
check("the recipe in ingot.json says it", json.load(open(out + "/ingot.json"))["recipe"]["requantize"] is True)
for weights in "nvfp4", "mxfp4":
    d = kl(before, logits(quantize(MX, [f"role: routed_experts, weights: {weights}, inputs: none"], "--allow-requantize")))
    check(f"MXFP4 to {weights}: KL {d:.4f}", 0 <= d < 0.1, d)
err = quantize(MX, ["role: attention, weights: nvfp4, inputs: none"], "--allow-requantize", status=4)
check("MXFP4 experts cannot stay beside ModelOpt's types", "no line selects 'model.layers.0.mlp.experts.0.gate_proj.weight'" in err, err)

KIMI = VECTORS + "kimi_int4"
before, source = logits(KIMI), tensors(KIMI)
out = quantize(KIMI, ["role: routed_experts, weights: fp8_channel, inputs: fp8_token"], "--allow-requantize")
d = kl(before, logits(out))
check(f"INT4 to FP8: KL {d:.4f}", 0 < d < 0.01, d)
left = [k for k in tensors(out) if k.endswith(("weight_packed", "weight_shape"))]
check("nothing of INT4 is left", any(k.endswith("weight_packed") for k in source) and not left, left)

for fixture in "deepseek_v3_fp8", "mistral_large3":
    folder = f"{SHARED}/fixtures/{fixture}"
    if not os.path.isdir(folder):
        print(f"skip {fixture}: the shared fixtures are not here")
        continue
    before = logits(folder)
    out = quantize(folder, ["role: routed_experts, weights: nvfp4, inputs: none"], "--allow-requantize")
    t, config = tensors(out), json.load(open(out + "/hf_quant_config.json"))["quantization"]
    check(f"{fixture}: what is not selected is BF16", config["quant_algo"] == "W4A16_NVFP4" and all(v[0] != "F8_E4M3" for k, v in t.items() if k.endswith(".weight")))
    d = kl(before, logits(out))
    check(f"{fixture}: KL {d:.4f}", 0 < d < 0.1, d)

first = quantize(EXAMPLE, ["role: routed_experts, weights: nvfp4, inputs: none", "role: mamba_linears, weights: int4, group: 32, inputs: none"])
second = quantize(first, ["role: routed_experts, weights: fp8_block, inputs: none"], "--allow-requantize")
a, b = tensors(first), tensors(second)
algos = {k: v["quant_algo"] for k, v in json.load(open(second + "/hf_quant_config.json"))["quantization"]["quantized_layers"].items()}
check("ModelOpt's other types stay as they are", all(a[k] == b[k] for k in a if ".mixer.in_proj" in k) and set(algos.values()) == {"W4A16_AWQ", "fp8_pb_wo"}, set(algos.values()))
d = kl(logits(first), logits(second))
check(f"NVFP4 to FP8 blocks: KL {d:.5f}", 0 < d < 0.01, d)
subprocess.run(["rm", "-rf", WORK])
finish()
