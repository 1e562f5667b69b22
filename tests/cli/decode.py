#!/usr/bin/env python3
"""`convert --to safetensors --type` of a quantized model: plain numbers, the same that the engine computes with, in every layout that
is read; nothing is left of scales and of the quantization configuration."""
import json, os, shutil, struct, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import ROOT, check, finish, ingot
SHARED = os.environ.get("INGOT_SHARED", "")
MODEL, TEXTS = ROOT + "/examples/nano-hybrid/model", ROOT + "/examples/nano-hybrid/calibration.jsonl"
W = tempfile.mkdtemp()
IDS = W + "/ids.json"


def headers(folder):
    found = {}
    for file in sorted(os.listdir(folder)):
        if file.endswith(".safetensors"):
            with open(f"{folder}/{file}", "rb") as f:
                found.update(json.loads(f.read(struct.unpack("<Q", f.read(8))[0])))
    found.pop("__metadata__", None)
    return found


def logits(model, *more):
    p = ingot("logits", model, "--ids", IDS, "-o", W + "/l.safetensors", *more)
    if p.returncode:
        return p.stderr
    with open(W + "/l.safetensors", "rb") as f:
        return f.read()


def one(name, source, original):
    """Every linear in F32: the very numbers, so the very logits; and the tensors of a checkpoint that was never quantized."""
    out = W + "/out"
    p = ingot("convert", source, "--to", "safetensors", "--type", "f32", "-o", out, "--force", "-q")
    if p.returncode:
        return check(f"{name}: convert --type f32", False, p.stderr)
    a, b = logits(source, "--plain-inputs"), logits(out)
    check(f"{name}: F32 gives the same logits", isinstance(a, bytes) and a == b, a if isinstance(a, str) else b if isinstance(b, str) else "they differ")
    config = json.load(open(out + "/config.json"))
    inner = config.get("text_config") or config.get("llm_config") or {}
    check(f"{name}: no word of quantization", "quantization_config" not in config and "quantization_config" not in inner and not os.path.exists(out + "/hf_quant_config.json"))
    if original:
        want, got = headers(original), headers(out)
        check(f"{name}: the original's names and shapes", {k: v["shape"] for k, v in want.items()} == {k: v["shape"] for k, v in got.items()}, set(want) ^ set(got))
    doc = json.loads(ingot("inspect", out, "--json").stdout or "{}")
    check(f"{name}: inspect finds nothing quantized", doc.get("quantized") is False and doc.get("kv_cache") is None, doc)
    p = ingot("convert", source, "--to", "safetensors", "--type", "bf16", "-o", out, "--force", "-q")
    kinds = {v["dtype"] for v in headers(out).values()} if p.returncode == 0 else p.stderr
    check(f"{name}: BF16", p.returncode == 0 and kinds <= {"BF16", "F32"} and isinstance(logits(out), bytes), kinds)


def recipe(name, text):
    with open(f"{W}/{name}.yaml", "w") as f:
        f.write(f"name: {name}\nunseen_experts: layer_max\n{text}")
    return f"{W}/{name}.yaml"


json.dump([[5, 9, 100, 31, 7, 8, 60, 2], [1, 2, 3]], open(IDS, "w"))
LINEARS = "role: [routed_experts, shared_experts, mamba_linears, attention, mlp]"
ROWS = [(n, f"rules:\n  - {{{LINEARS}, {t}}}\n", None) for n, t in (
    ("nvfp4", "weights: nvfp4, inputs: nvfp4"), ("fp8", "weights: fp8, inputs: fp8"), ("fp8_block", "weights: fp8_block, inputs: none"),
    ("mxfp8", "weights: mxfp8, inputs: mxfp8"), ("mxfp4", "weights: mxfp4, inputs: none"), ("int4", "weights: int4, group: 32, inputs: none"))]
ROWS += [(f"{l}-int4{z and '-zero'}", f"layout: {l}\nrules:\n  - {{{LINEARS}, weights: int4, group: 32, inputs: none{z}}}\n", None)
         for l, z in (("compressed-tensors", ""), ("compressed-tensors", ", zero: true"), ("awq", ", zero: true"), ("gptq", ""))]
ROWS += [("compressed-tensors-nvfp4", f"layout: compressed-tensors\nrules:\n  - {{{LINEARS}, weights: nvfp4, inputs: nvfp4}}\n", None),
         ("cache", f"kv_cache: fp8\nrules:\n  - {{role: mlp, weights: fp8, inputs: fp8}}\n", None)]
for name, text, _ in ROWS:
    q = W + "/q"
    p = ingot("quantize", MODEL, "-r", recipe(name, text), "--data", TEXTS, "--max-texts", "2", "--max-tokens", "64", "-o", q, "--force", "-q")
    if p.returncode:
        check(f"{name}: quantize", False, p.stderr)
        continue
    one(name, q, MODEL)
p = ingot("convert", W + "/q", "--to", "safetensors", "-o", W + "/same", "-q")
check("without --type a quantized model stays what it is", p.returncode == 0 and logits(W + "/same") == logits(W + "/q"), p.stderr)
for fixture, original in (("deepseek_v3_fp8", None), ("gpt_oss_mxfp4", "gpt_oss"), ("kimi_k2", None)):
    folder = f"{SHARED}/fixtures/{fixture}"
    if not SHARED or not os.path.isdir(folder):
        print(f"skip {fixture}: the shared fixtures are not here")
        continue
    one(fixture, folder, original and f"{SHARED}/fixtures/{original}")
shutil.rmtree(W, ignore_errors=True)
finish()
