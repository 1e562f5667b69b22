#!/usr/bin/env python3
"""Mistral's own layout (params.json, consolidated*.safetensors): `convert` and `quantize` keep names and configuration; every recipe's result opens
again, also where several types are listed by name; its logits stay near the original's. GGUF is refused by name."""
import json, math, os, shutil, struct, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import ROOT, check, finish, ingot
MODEL = os.environ.get("INGOT_SHARED", ROOT + "/../shared") + "/fixtures/mistral_large3"


def tensors(folder):
    out = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            with open(f"{folder}/{name}", "rb") as f:
                n = struct.unpack("<Q", f.read(8))[0]
                head, data = json.loads(f.read(n)), f.read()
            out |= {k: (v["dtype"], v["shape"], data[slice(*v["data_offsets"])]) for k, v in head.items() if k != "__metadata__"}
    return out


if not os.path.isdir(MODEL):
    print("skip native: no shared fixtures (INGOT_SHARED)")
    sys.exit(0)
W = tempfile.mkdtemp()
with open(W + "/ids.json", "w") as f:
    json.dump([[1 + 7 * i % 500 for i in range(24)]], f)


def logits(folder):
    p = ingot("logits", folder, "--ids", W + "/ids.json", "-o", W + "/logits/l.safetensors", "-q")
    if p.returncode:
        return p.stderr
    dtype, (rows, cols), raw = tensors(W + "/logits")["0.logits"]
    flat = struct.unpack(f"<{rows * cols}f", raw)
    return [flat[i * cols:(i + 1) * cols] for i in range(rows)]


def kl(p, q):
    total = 0.0
    for a, b in zip(p, q):
        ma, mb = max(a), max(b)
        la, lb = ma + math.log(sum(math.exp(x - ma) for x in a)), mb + math.log(sum(math.exp(x - mb) for x in b))
        total += sum(math.exp(x - la) * ((x - la) - (y - lb)) for x, y in zip(a, b))
    return total / len(p)


os.makedirs(W + "/logits")
source, before = tensors(MODEL), logits(MODEL)
p = ingot("convert", MODEL, "--to", "safetensors", "-o", W + "/c", "-q")
check("convert keeps every tensor by its name", p.returncode == 0 and tensors(W + "/c") == source and logits(W + "/c") == before, p.stderr)
check("and params.json, without a config.json", json.load(open(W + "/c/params.json")) == json.load(open(MODEL + "/params.json")) and not os.path.exists(W + "/c/config.json"))
RECIPES = {
    "one type": "  - {role: routed_experts, weights: nvfp4, inputs: none}\n",
    "the same type with and without inputs": "  - {role: [shared_experts, mlp], weights: nvfp4, inputs: none}\n  - {role: routed_experts, weights: nvfp4, inputs: {type: nvfp4, amax: 2688}}\n",
    "two types": "  - {role: [shared_experts, mlp], weights: fp8, inputs: {type: fp8, amax: 448}}\n  - {role: routed_experts, weights: nvfp4, inputs: none}\n",
}
for name, rules in RECIPES.items():
    with open(W + "/r.yaml", "w") as f:
        f.write("name: r\nrules:\n" + rules)
    out = f"{W}/q"
    shutil.rmtree(out, ignore_errors=True)
    p = ingot("quantize", MODEL, "-r", W + "/r.yaml", "-o", out, "-q")
    check(f"quantized, {name}", p.returncode == 0, p.stderr)
    if p.returncode:
        continue
    t, config = tensors(out), json.load(open(out + "/params.json"))
    check(f"{name}: params.json says so", config.pop("quantization_config")["quant_method"] == "modelopt" and config == json.load(open(MODEL + "/params.json")))
    few = {k[:-len(".weight_scale")] for k in t if k.endswith(".weight_scale")}
    check(f"{name}: modules of the original's names, the rest as it was", few and all(m + ".weight" in source for m in few)
          and all(t[k] == v for k, v in source.items() if k[:-len(".weight")] not in few))
    d = kl(before, logits(out))
    check(f"{name}: KL {d:.4f}", 0 < d < 0.4, d)
p = ingot("convert", MODEL, "--to", "gguf", "--no-tokenizer", "-o", W + "/x.gguf", "-q")
check("refused: as GGUF", p.returncode == 4 and "params.json" in p.stderr and not os.path.exists(W + "/x.gguf"), p.stderr)
shutil.rmtree(W, ignore_errors=True)
finish()
