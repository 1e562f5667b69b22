#!/usr/bin/env python3
"""GPT-OSS's own MXFP4 (layout mxfp4): what is written has the published names, shapes and configuration and decodes, by a reader written
here, to the source within the type's bound; what OpenAI's rule made, decoded and written again, is the same bytes; what the layout does
not hold is refused by name."""
import json, os, struct, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
from tensors import tensors

SHARED = os.environ.get("INGOT_SHARED", "../shared")
VECTORS = ROOT + "/tests/vectors/engine/"
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


E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]
OSS, MX = VECTORS + "gpt_oss", VECTORS + "gpt_oss_mxfp4"
STACK = "model.layers.0.mlp.experts.gate_up_proj"
_, (experts, ins, outs), data = tensors(OSS)[STACK]
plain = [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]


def own_blocks(t, name):
    """[experts, outputs, inputs] of `..._blocks` and `..._scales`, and that shape."""
    (kind, (experts, outs, n, width), data), scales = t[name + "_blocks"], t[name + "_scales"]
    assert kind == scales[0] == "U8" and width == 16 and scales[1] == [experts, outs, n]
    return [E2M1[data[i // 2] >> 4 * (i % 2) & 15] * 2.0 ** (scales[2][i // 32] - 127) for i in range(2 * len(data))], (experts, outs, 32 * n)


out = f"{WORK}/own"
run("quantize", OSS, "-r", "gpt-oss-mxfp4", "-o", out, "-q")
t, config = tensors(out), json.load(open(out + "/config.json"))["quantization_config"]
check("layout mxfp4: names as published", {k: v[:2] for k, v in t.items()} == {k: v[:2] for k, v in tensors(MX).items()}, sorted(t)[:8])
published = json.load(open(MX + "/config.json"))["quantization_config"]
check("layout mxfp4: configuration as published", {k: sorted(v) if isinstance(v, list) else v for k, v in config.items()}
      == {k: sorted(v) if isinstance(v, list) else v for k, v in published.items()} and not os.path.exists(out + "/hf_quant_config.json"), config)
values, (experts, outs, ins) = own_blocks(t, STACK)
turned = [plain[(e * ins + i) * outs + o] for e in range(experts) for o in range(outs) for i in range(ins)]
worst = max(max(abs(a - b) for a, b in zip(values[i:i + 32], turned[i:i + 32])) - 0.25 * max(map(abs, turned[i:i + 32])) for i in range(0, len(turned), 32))
check("layout mxfp4: every block decodes to the source within the type's bound", len(values) == len(turned) and worst <= 0 and values != turned, worst)
run("convert", out, "--to", "safetensors", "--type", "bf16", "-o", WORK + "/rounded", "-q")
check("layout mxfp4: logits are those of the rounded weights", logits(out) == logits(WORK + "/rounded"))
again = quantize(OSS, ["role: routed_experts, weights: mxfp4_ocp, inputs: none"], "--layout", "mxfp4", "-t", "1")
check("layout mxfp4: the same by --layout, with one thread", tensors(again) == t)
for folder in [MX] + [f for f in [f"{SHARED}/fixtures/gpt_oss_mxfp4"] if os.path.isdir(f)]:
    name, want = "the fixture" if folder != MX else "a vector", tensors(folder)
    run("convert", folder, "--to", "safetensors", "--type", "bf16", "-o", WORK + "/plain", "-q", "--force")
    back = quantize(WORK + "/plain", ["role: routed_experts, weights: mxfp4_ocp, inputs: none"], "--layout", "mxfp4")
    check(f"MXFP4 of {name}, decoded and written again, is what it was", tensors(back) == want)
    back = quantize(folder, ["role: routed_experts, weights: mxfp4_ocp, inputs: none"], "--layout", "mxfp4", "--allow-requantize")
    check(f"MXFP4 of {name}, quantized again, is what it was", tensors(back) == want)
    back = tensors(quantize(WORK + "/plain", ["role: routed_experts, weights: mxfp4, inputs: none"], "--layout", "mxfp4"))
    check(f"MXFP4 of {name} by ModelOpt's rule: the same numbers", all(own_blocks(back, k[:-7])[0] == own_blocks(want, k[:-7])[0] for k in want if k.endswith("_blocks")))
if not os.path.isdir(SHARED + "/fixtures/gpt_oss_mxfp4"):
    print("skip gpt_oss_mxfp4: the shared fixtures are not here")
for source, rules, text in [(OSS, ["role: attention, weights: mxfp4, inputs: none"], "does not lie in a stack of experts, inputs by outputs (GPT-OSS); the layout mxfp4 holds nothing else"),
                            (OSS, ["role: routed_experts, weights: nvfp4, inputs: none"], "is no format that engines load in the layout mxfp4"),
                            (OSS, ["role: routed_experts, layers: [0], weights: mxfp4, inputs: none"], "the layout mxfp4 has the experts of all layers; 'model.layers.1.mlp.experts.0.gate_proj' would stay as it is")]:
    err = quantize(source, rules, "--layout", "mxfp4", status=4)
    check(f"refused in the layout mxfp4: {os.path.basename(source)}, {rules[0]}", text in err, err)
# DeepSeek's own FP8, decoded and written again by the same rule.
folder = f"{SHARED}/fixtures/deepseek_v3_fp8"
if os.path.isdir(folder):
    run("convert", folder, "--to", "safetensors", "--type", "bf16", "-o", WORK + "/fp8", "-q")
    back, want = tensors(quantize(WORK + "/fp8", ["role: [attention, mlp, routed_experts, shared_experts], weights: fp8_block, inputs: none"], "--layout", "fp8")), tensors(folder)
    packed = [k for k in want if want[k][0] == "F8_E4M3" or k.endswith("_scale_inv")]
    check(f"FP8 blocks of the fixture, decoded and written again: {len(packed)} tensors of codes and scales", len(packed) > 50 and back.keys() == want.keys() and all(back[k] == want[k] for k in packed))
else:
    print("skip deepseek_v3_fp8: the shared fixtures are not here")
subprocess.run(["rm", "-rf", WORK])
finish()
