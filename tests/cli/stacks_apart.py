#!/usr/bin/env python3
"""Stacks of inputs by outputs (GPT-OSS) in layouts whose tensors are those of single linears: experts come apart, biases with them,
under the names and in the shapes that llm-compressor 0.14 gave this layout's W4A16. What is written and what is solved of them is,
byte for byte, what becomes of the same experts stored one by one. ModelOpt's layout has no INT4 of stacks: its own export fails."""
import json, os, shutil, struct, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import ROOT, check, finish, ingot
from tensors import save, tensors

VECTORS = ROOT + "/tests/vectors/engine/"
OSS, BLOCKS = VECTORS + "gpt_oss", VECTORS + "gpt_oss_mxfp4"
W = tempfile.mkdtemp()
json.dump([[(7 * i + 3 * k) % 61 + 2 for i in range(48)] for k in range(6)], open(W + "/ids.json", "w"))


def taken_apart(t):
    """The same model with experts stored one by one, outputs by inputs."""
    out = {}
    for name, (dtype, shape, raw) in t.items():
        head, _, last = name.partition(".experts.")
        if last not in ("gate_up_proj", "down_proj", "gate_up_proj_bias", "down_proj_bias"):
            out[name] = (dtype, shape, raw)
            continue
        n, cols = shape[0], shape[-1]
        rows = shape[1] if len(shape) == 3 else 1
        each = 2 * rows * cols
        for e in range(n):
            values = struct.unpack(f"<{rows * cols}H", raw[e * each:(e + 1) * each])
            for k, proj in enumerate(("gate_proj", "up_proj") if "gate_up" in last else ("down_proj",)):
                mine = range(k, cols, 2) if "gate_up" in last else range(cols)
                flat = [values[r * cols + c] for c in mine for r in range(rows)]
                kind, dims = ("weight", [len(mine), rows]) if len(shape) == 3 else ("bias", [len(mine)])
                out[f"{head}.experts.{e}.{proj}.{kind}"] = (dtype, dims, struct.pack(f"<{len(flat)}H", *flat))
    return out


def recipe(layout, rule, who="role: routed_experts"):
    with open(W + "/recipe.yaml", "w") as f:
        f.write(f"name: t\nunseen_experts: layer_max\nlayout: {layout}\nrules:\n  - {{{who}, {rule}}}\n")
    return W + "/recipe.yaml"


def quantize(model, r, out, *more):
    return ingot("quantize", model, "-r", r, "--ids", W + "/ids.json", "-o", f"{W}/{out}", "-q", "--force", *more)


def logits(folder):
    p = ingot("logits", folder, "--ids", W + "/ids.json", "-o", W + "/l.safetensors", "-q")
    return tensors(W + "/l.safetensors") if p.returncode == 0 else p.stderr


# ---- the same experts, one by one ----
APART = W + "/apart"
shutil.copytree(OSS, APART)
save(APART, taken_apart(tensors(OSS + "/model.safetensors")))
check("the folder with experts one by one is the same model", logits(APART) == logits(OSS))

INT4 = "weights: int4, group: 32, "
for layout in ("compressed-tensors", "awq", "gptq"):
    for rule in (INT4 + "solve: none", INT4 + "solve: gptq", INT4 + "zero: true, solve: descent", INT4 + "solve: {method: gptq, act_order: true, block: 32}", INT4 + "solve: awq_clip"):
        r = recipe(layout, rule)
        p, q = quantize(OSS, r, "a", "--sequential"), quantize(APART, r, "b", "--sequential")
        a, b = ({} if x.returncode else tensors(f"{W}/{o}/model.safetensors") for x, o in ((p, "a"), (q, "b")))
        check(f"{layout}, {rule}: as experts one by one", p.returncode == 0 and len(a) > 100 and a == b, p.stderr + q.stderr + str(sorted(set(a) ^ set(b))[:4]))
        check(f"{layout}, {rule}: and so says the configuration", json.load(open(W + "/a/config.json")) == json.load(open(W + "/b/config.json")))

# ---- what calibration left: solved for each expert, better than rounding; threads and memory do not show ----
for rule in ("solve: gptq", "solve: descent", "solve: awq_clip"):
    r = recipe("compressed-tensors", INT4 + rule)
    p = ingot("calibrate", OSS, "-r", r, "--ids", W + "/ids.json", "-o", W + "/s.safetensors", "-q", "--json")
    q = ingot("calibrate", OSS, "-r", r, "--ids", W + "/ids.json", "-o", W + "/s1.safetensors", "-q", "-t", "1", "--solve-memory", "1")
    d = json.loads(p.stdout)["solved"] if p.returncode == 0 else {}
    check(f"int4 {rule}: less error than scales: max", q.returncode == 0 and d["count"] == 24 and 0 < d["error"] < 0.8 * d["error_max"] and d["lost"] == 0, p.stderr + q.stderr + str(d)[:200])
    check(f"int4 {rule}: one thread and no memory give the same file", open(W + "/s.safetensors", "rb").read() == open(W + "/s1.safetensors", "rb").read())

# ---- names and shapes, as llm-compressor 0.14.0.1 wrote them of experts of 64 by 64 (here 32 by 32) ----
r = recipe("compressed-tensors", INT4 + "solve: gptq")
quantize(OSS, r, "a")
t = tensors(W + "/a/model.safetensors")
at = "model.layers.0.mlp.experts.0.gate_proj."
shapes = {k[len(at):]: v[:2] for k, v in t.items() if k.startswith(at)}
out, into = tensors(APART + "/model.safetensors")[at + "weight"][1]
check("an expert's tensors have llm-compressor's names, types and shapes", shapes == {"weight_packed": ("I32", [out, into // 8]), "weight_scale": ("F32", [out, into // 32]), "weight_shape": ("I64", [2]), "bias": ("BF16", [out])}, shapes)
check("no stack is left", not [k for k in t if "gate_up_proj" in k or ".experts.down_proj" in k])
p = ingot("plan", OSS, "-r", r)
check("the plan says who passes such experts over", p.returncode == 0 and "expert by expert" in p.stdout + p.stderr and "vLLM" in p.stdout + p.stderr, p.stdout[-400:])
p = ingot("inspect", W + "/a")
check("the folder is in order", p.returncode == 0, p.stdout + p.stderr)

# ---- other types, and GPT-OSS's own MXFP4 as the source ----
for rule in ("weights: nvfp4, inputs: nvfp4", "weights: fp8, inputs: fp8", "weights: nvfp4, inputs: none, scales: mse, solve: gptq"):
    r = recipe("compressed-tensors", rule)
    p, q = quantize(OSS, r, "a"), quantize(APART, r, "b")
    check(f"{rule}: as experts one by one", p.returncode == q.returncode == 0 and tensors(W + "/a/model.safetensors") == tensors(W + "/b/model.safetensors"), p.stderr + q.stderr)
p = ingot("convert", BLOCKS, "--to", "safetensors", "--type", "bf16", "-o", W + "/plain", "-q")
r = recipe("compressed-tensors", INT4 + "solve: none")
a, b = quantize(BLOCKS, r, "a", "--allow-requantize"), quantize(W + "/plain", r, "b")
same = a.returncode == b.returncode == 0 and tensors(W + "/a/model.safetensors") == tensors(W + "/b/model.safetensors")
check("blocks of MXFP4 come apart as the numbers that they stand for", p.returncode == 0 and same, p.stderr + a.stderr + b.stderr)
p = quantize(BLOCKS, recipe("compressed-tensors", INT4 + "solve: gptq"), "no", "--allow-requantize")
check("and are not solved", p.returncode == 4 and "is mxfp4 already" in p.stderr, p.stderr)

# ---- refused ----
p = quantize(OSS, recipe("modelopt", INT4 + "solve: gptq"), "no")
check("ModelOpt's layout: refused, with what holds it", p.returncode == 4 and "layout modelopt does not hold as" in p.stderr and "compressed-tensors, awq and gptq" in p.stderr and not os.path.exists(W + "/no"), p.stderr)
for layout in ("modelopt", "compressed-tensors", "mxfp4"):
    for how in ("gptq", "descent", "awq_clip"):
        p = quantize(OSS, recipe(layout, "weights: mxfp4, solve: " + how), "no")
        check(f"MXFP4 is not solved: {layout}, {how}", p.returncode == 4 and f"solve: {how} needs nvfp4 or int4 weights, not" in p.stderr and "power-of-two scales" in p.stderr, p.stderr)
p = quantize(OSS, recipe("compressed-tensors", "weights: int4, group: 64"), "no")
check("inputs that the group does not divide", p.returncode == 4 and "are not a multiple of" in p.stderr and "experts.0." in p.stderr, p.stderr)

# ---- stacks of outputs by inputs, cut to inputs that a group divides ----
MISTRAL, WIDE = VECTORS + "mistral4", W + "/wide"
shutil.copytree(MISTRAL, WIDE)
config = json.load(open(MISTRAL + "/config.json"))
text = config.get("text_config", config)
text["moe_intermediate_size"] *= 2
with open(WIDE + "/config.json", "w") as f:
    json.dump(config, f)
t = tensors(MISTRAL + "/model.safetensors")


def doubled(name, dtype, shape, raw):
    """Experts twice as wide, shared ones too: gate, gate, up, up; of down_proj every row twice over."""
    if name.endswith((".shared_experts.gate_proj.weight", ".shared_experts.up_proj.weight")):
        return dtype, [2 * shape[0], shape[1]], raw * 2
    if name.endswith("experts.gate_up_proj"):
        half = len(raw) // shape[0] // 2
        return dtype, [shape[0], 2 * shape[1], shape[2]], b"".join(raw[i:i + half] * 2 for i in range(0, len(raw), half))
    if name.endswith(("experts.down_proj", "experts.down_proj.weight")):
        row = 2 * shape[-1]
        return dtype, [*shape[:-1], 2 * shape[-1]], b"".join(raw[i:i + row] * 2 for i in range(0, len(raw), row))
    return dtype, shape, raw


save(WIDE, {k: doubled(k, *v) for k, v in t.items()})
for layout in ("modelopt", "compressed-tensors", "awq", "gptq"):
    r = recipe(layout, INT4 + "solve: gptq")
    p = ingot("calibrate", WIDE, "-r", r, "--ids", W + "/ids.json", "-o", W + "/m.safetensors", "-q", "--json")
    q = ingot("quantize", WIDE, "-r", r, "-s", W + "/m.safetensors", "-o", W + "/m", "-q", "--force")
    d = json.loads(p.stdout)["solved"] if p.returncode == 0 else {}
    check(f"mistral4 in the layout {layout}: solved and written", p.returncode == q.returncode == 0 and 0 < d["error"] < d["error_max"] and isinstance(logits(W + "/m"), dict), p.stderr + q.stderr + str(d)[:200])

shutil.rmtree(W, ignore_errors=True)
finish()
