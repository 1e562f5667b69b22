#!/usr/bin/env python3
"""`convert --merge-lora`: adapters that PEFT made against what PEFT makes of them (tests/vectors/lora); quantized bases; what does not
fit is refused by name."""
import json, os, shutil, struct, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import ROOT, check, finish, ingot
HERE = ROOT + "/tests/vectors/lora"
BASE = HERE + "/base"
W = tempfile.mkdtemp()


def tensors(path):
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        head, data = json.loads(f.read(n)), f.read()
    return {k: (v["dtype"], v["shape"], data[slice(*v["data_offsets"])]) for k, v in head.items() if k != "__metadata__"}


def save(path, content):
    head, data = {}, b""
    for k, (dtype, shape, raw) in content.items():
        head[k] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(head).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def floats(t):
    return struct.unpack(f"<{len(t[2]) // 4}f", t[2]) if t[0] == "F32" else [struct.unpack("<f", b"\0\0" + t[2][i:i + 2])[0] for i in range(0, len(t[2]), 2)]


def merge(adapter, *more, base=BASE):
    return ingot("convert", base, "--to", "safetensors", "--merge-lora", adapter, "-o", W + "/out", "--force", "-q", *more)


def difference(a, b):
    return max((abs(x - y) for k in a for x, y in zip(floats(a[k]), floats(b[k]))), default=9)


base = tensors(BASE + "/model.safetensors")
for name in ("plain", "patterns", "rslora", "dora"):
    p = merge(f"{HERE}/{name}", "--json")
    want = tensors(f"{HERE}/{name}.merged.safetensors")
    got = tensors(W + "/out/model.safetensors") if p.returncode == 0 else {}
    check(f"{name}: names, types and shapes of the model", {k: v[:2] for k, v in got.items()} == {k: v[:2] for k, v in base.items()}, p.stderr)
    if not got:
        continue
    d = difference({k: want[k] for k in got}, got)
    check(f"{name}: PEFT's numbers to 2e-6", d < 2e-6, d)
    changed = {k for k in got if got[k] != base[k]}
    touched = {k for k in got if want[k][2] != base[k][2]}
    check(f"{name}: what it does not touch keeps its bytes, {len(touched)} tensors changed", changed == touched and json.loads(p.stdout)["merged"] >= len(touched) > 0, changed ^ touched)
    p = merge(f"{HERE}/{name}", "--type", "bf16")
    b = tensors(W + "/out/model.safetensors") if p.returncode == 0 else {}
    worst = max((abs(x - y) / max(abs(x), 1e-30) for k in got for x, y in zip(floats(got[k]), floats(b[k]))), default=9) if b else p.stderr
    check(f"{name}: merged first, cast to BF16 then", b and worst <= 2.0 ** -8, worst)
one = open(W + "/out/model.safetensors", "rb").read()
merge(f"{HERE}/dora", "--type", "bf16", "-t", "1")
check("the same bytes with one thread", open(W + "/out/model.safetensors", "rb").read() == one)
p = ingot("logits", W + "/out", "--ids", "/dev/null", "-o", W + "/l")
p = ingot("inspect", W + "/out")
check("the result is a model", p.returncode == 0, p.stderr)

# ---- a quantized base ----
q = W + "/q"
with open(W + "/r.yaml", "w") as f:
    f.write("name: r\nrules:\n  - {role: attention, weights: nvfp4, inputs: none}\n")
p = ingot("quantize", BASE, "-r", W + "/r.yaml", "-o", q, "-q")
check("a quantized base", p.returncode == 0, p.stderr)
p = merge(f"{HERE}/plain", base=q)
check("refused without --type: codes are not merged", p.returncode == 4 and "--type" in p.stderr and not os.path.exists(W + "/out2"), p.stderr)
ingot("convert", q, "--to", "safetensors", "--type", "f32", "-o", W + "/decoded", "--force", "-q")
p = merge(f"{HERE}/plain", base=W + "/decoded")
first = tensors(W + "/out/model.safetensors")
p = merge(f"{HERE}/plain", "--type", "f32", base=q)
check("decoded and merged in one step as in two", p.returncode == 0 and tensors(W + "/out/model.safetensors") == first, p.stderr)

# ---- refused ----
ADAPTER = "adapter_model.safetensors"


def refused(name, status, part, config=None, content=None, source="plain", base=BASE):
    folder = W + "/bad"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(f"{HERE}/{source}", folder)
    if config:
        doc = json.load(open(folder + "/adapter_config.json"))
        doc.update(config)
        json.dump(doc, open(folder + "/adapter_config.json", "w"))
    if content:
        t = tensors(f"{folder}/{ADAPTER}")
        content(t)
        save(f"{folder}/{ADAPTER}", t)
    shutil.rmtree(W + "/none", ignore_errors=True)
    p = ingot("convert", base, "--to", "safetensors", "--merge-lora", folder, "-o", W + "/none", "-q")
    check(f"refused: {name}", p.returncode == status and part in p.stderr and p.stderr.count("\n") == 1 and not os.path.exists(W + "/none"), (p.returncode, p.stderr))


P = "base_model.model.model.layers.0."
A, B = P + "self_attn.q_proj.lora_A.weight", P + "self_attn.q_proj.lora_B.weight"
refused("another kind of adapter", 4, "IA3", {"peft_type": "IA3"})
refused("a base that training changed", 4, "pissa", {"init_lora_weights": "pissa_niter_4"})
for key, value in (("fan_in_fan_out", True), ("lora_bias", True), ("alora_invocation_tokens", [1]), ("trainable_token_indices", [3]), ("target_parameters", ["x"])):
    refused(key, 4, key, {key: value})
refused("another rank than the tensors have", 3, "expected shape [5, ", {"r": 5})
refused("a rank that is none", 3, "rank", {"r": 0})
refused("an alpha that is none", 3, "alpha", {"lora_alpha": "6"})
refused("half of a pair", 3, "lora_A without lora_B", content=lambda t: t.pop(B))
refused("a tensor without a place", 3, "no place in the model", content=lambda t: t.update({P + "self_attn.z_proj.lora_A.weight": t[A]}))
refused("a name of another program", 3, "no place in the model", content=lambda t: t.update({"lora_unet_x.lora_down.weight": t[A]}))
refused("a wrong shape", 3, "expected shape [32, 4]", content=lambda t: t.update({B: ("F32", [4, 32], t[B][2])}))
refused("integers", 3, "found I32", content=lambda t: t.update({A: ("I32", t[A][1], t[A][2])}))
refused("a NaN", 3, "not finite", content=lambda t: t.update({A: ("F32", t[A][1], struct.pack("<f", float("nan")) + t[A][2][4:])}))
refused("use_dora without magnitudes", 3, "magnitude", {"use_dora": True})
refused("magnitudes without use_dora", 3, "magnitude", {"use_dora": False}, source="dora")
refused("an empty adapter", 3, "no tensors", content=lambda t: t.clear())
p = ingot("convert", BASE, "--to", "gguf", "--merge-lora", HERE + "/plain", "-o", W + "/x.gguf")
check("refused: into gguf at once", p.returncode == 2 and "--merge-lora" in p.stderr, p.stderr)
p = ingot("convert", BASE, "--to", "safetensors", "--merge-lora", BASE, "-o", W + "/none", "-q")
check("refused: no adapter there", p.returncode == 3 and "adapter_config.json" in p.stderr, p.stderr)
p = ingot("inspect", HERE + "/plain")
check("an adapter where a model is meant", p.returncode == 4 and "--merge-lora" in p.stderr, p.stderr)
shutil.rmtree(W, ignore_errors=True)
finish()
