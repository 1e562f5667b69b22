#!/usr/bin/env python3
"""`--sequential` with scales per channel (awq, smoothquant): what calibration lets each layer see is what the written model computes.
Held by the end of it all: the largest magnitude that calibration saw in front of the head is the largest that the forward pass of
the written folder shows there, to the rounding of fp32; with inputs, biases, norms of every family in tests/vectors/engine. An
input that lies on the border of two codes may fall to either side, by the last bit of x w / s: then other texts are taken, up to three times.
Folded and not quantized, the model gives the logits that the reference implementation gave (fixtures/README.md's tolerance).
The same bytes whatever the threads, the memory, and after a kill."""
import json, os, shutil, struct, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import ROOT, check, finish, ingot, kill_calibrate
from tensors import save, tensors

TINY, W = ROOT + "/tests/vectors/engine/", tempfile.mkdtemp()


def texts(n):
    with open(W + "/ids.json", "w") as f:
        json.dump([[(7 * i + 3 * k + 5 * n) % 61 + 2 for i in range(24)] for k in range(4)], f)


texts(0)
ROLES = "role: [attention, mamba_linears, delta_linears, mlp, shared_experts, routed_experts, latent], optional: true, "


def recipe(rule, head="fp8"):
    with open(W + "/r.yaml", "w") as f:
        layout = "compressed-tensors" if "fp8_block" in rule else "modelopt"
        f.write(f"name: t\nlayout: {layout}\nunseen_experts: layer_max\nrules:\n  - {{{ROLES}{rule}}}\n" + (f"  - {{role: lm_head, weights: {head}, inputs: {head}}}\n" if head else ""))
    return W + "/r.yaml"


def floats(t):
    return struct.unpack(f"<{len(t[2]) // 4}f", t[2])


def head_of(model, r, *more):
    """What calibration saw in front of the head, and what the written folder computes there."""
    p = ingot("calibrate", model, "-r", r, "--ids", W + "/ids.json", "-o", W + "/s.safetensors", "-q", *more)
    q = ingot("quantize", model, "-r", r, "-s", W + "/s.safetensors", "-o", W + "/q", "-q", "--force")
    l = ingot("logits", W + "/q", "--ids", W + "/ids.json", "-o", W + "/l.safetensors", "-q", "--hidden")
    if p.returncode or q.returncode or l.returncode:
        return 0, 0, p.stderr + q.stderr + l.stderr
    stats, out = tensors(W + "/s.safetensors"), tensors(W + "/l.safetensors")
    seen = next(floats(v)[0] for k, v in stats.items() if k.endswith("lm_head.input_amax"))
    return seen, max(abs(x) for k, v in out.items() if k.endswith("final_norm") for x in floats(v)), ""


FP8, AWQ = "weights: fp8, inputs: fp8, solve: smoothquant", "weights: nvfp4, inputs: nvfp4, solve: awq"
CLIP, PRE = "weights: nvfp4, inputs: none, solve: {method: awq, clip: true}", "weights: nvfp4, inputs: nvfp4, solve: {method: awq, pre_quant_scale: true}"
BLOCKS = "weights: fp8_block, inputs: fp8_group, solve: awq"
MIXED = "weights: nvfp4, inputs: nvfp4, solve: awq}\n  - {role: [attn_q, attn_k, attn_v], optional: true, weights: nvfp4, inputs: nvfp4, solve: gptq"
cases = [(n, FP8) for n in ("deci", "gpt_oss", "llama", "llama_vision", "ministral3", "mistral", "mistral3", "mistral4", "nemotron", "nemotron_h_omni", "qwen3_moe")]
cases += [(n, r) for r in (AWQ, CLIP, PRE, MIXED) for n in ("llama", "nemotron", "qwen3_moe")]
cases += [("mistral3", BLOCKS), ("nemotron_h_vision", BLOCKS)]
for name, rule in cases:
    for n in range(4):
        texts(n)
        seen, is_, err = head_of(TINY + name, recipe(rule), "--sequential")
        if err or abs(seen / is_ - 1) < 2e-6:
            break
    check(f"{name}, {rule.splitlines()[0]}: sequential sees the written model", is_ > 0 and abs(seen / is_ - 1) < 2e-6, (seen, is_, err))
texts(0)
seen, is_, err = head_of(TINY + "llama", recipe(AWQ))
check("without --sequential calibration sees another model", is_ > 0 and abs(seen / is_ - 1) > 1e-3, (seen, is_, err))

# ---- folded alone: the model as it was ----
for name in ("deci", "llama", "mistral4", "qwen3_moe", "nemotron_h_omni"):
    gold = tensors(f"{TINY}{name}/golden/golden.safetensors")
    n = sum(k.endswith(".input_ids") for k in gold)
    with open(W + "/gold.json", "w") as f:
        json.dump([list(struct.unpack(f"<{len(gold[f'p{i}.input_ids'][2]) // 4}i", gold[f"p{i}.input_ids"][2])) for i in range(n)], f)
    r = recipe("weights: none, inputs: none, solve: {method: smoothquant, exact: true}", None)
    p = ingot("quantize", TINY + name, "-r", r, "--ids", W + "/gold.json", "-o", W + "/q", "-q", "--force", "--sequential")
    l = ingot("logits", W + "/q", "--ids", W + "/gold.json", "-o", W + "/l.safetensors", "-q")
    out = tensors(W + "/l.safetensors") if p.returncode == l.returncode == 0 else {}
    d = [abs(x - y) for i in range(n) for x, y in zip(floats(out[f"{i}.logits"]), floats(gold[f"p{i}.logits"]))] if out else [9]
    was, now = tensors(TINY + name + "/model.safetensors"), tensors(W + "/q/model.safetensors") if out else {}
    changed = [k for k in was if was[k] != now.get(k)]
    check(f"{name}: folded, not quantized: the golden logits", len(changed) > 5 and max(d) <= 1e-3 and sum(d) / len(d) <= 1e-4, (len(changed), max(d), p.stderr + l.stderr))

# ---- threads, memory, a kill ----
MODEL = ROOT + "/examples/nano-hybrid/model"
DATA = ["--data", ROOT + "/examples/nano-hybrid/calibration.jsonl", "--max-texts", "2", "--max-tokens", "64", "--sequential", "-q"]
r = recipe("weights: int4, group: 64, solve: {method: awq, clip: true}}\n  - {role: mamba_linears, weights: int4, group: 64, solve: gptq", None)


def calibrate(out, *more):
    return ingot("calibrate", MODEL, "-r", r, *DATA, "-o", f"{W}/{out}.safetensors", *more)


def data(name):
    with open(f"{W}/{name}.safetensors", "rb") as f:
        return f.read()


p = calibrate("a")
q = calibrate("b", "-t", "1", "--solve-memory", "1")
check("one thread and no memory give the same file", p.returncode == q.returncode == 0 and data("a") == data("b"), p.stderr + q.stderr)
done = kill_calibrate(W + "/k.safetensors", 4, MODEL, "-r", r, *DATA)
p = calibrate("k")
check("a killed run goes on and ends in the same bytes", done >= 4 and p.returncode == 0 and data("a") == data("k"), (done, p.stderr))

# ---- a linear that makes channels and reads scaled ones has two vectors ----
r = recipe("weights: nvfp4, inputs: nvfp4}\n  - {role: latent, weights: nvfp4, inputs: nvfp4, solve: {method: awq, pre_quant_scale: true}", None)
p = calibrate("two")
names = {k.rsplit(".", 1)[1] for k in tensors(W + "/two.safetensors") if "fold_scale" in k} if p.returncode == 0 else set()
check("each by its own name", names == {"fold_scale", "input_fold_scale"}, (names, p.stderr))

# ---- inputs that are not finite, where nothing asks for their maximum ----
t = tensors(TINY + "llama/model.safetensors")
name = "model.layers.1.input_layernorm.weight"
t[name] = (t[name][0], t[name][1], b"\x7f\x7f" * (len(t[name][2]) // 2))   # the largest bf16
shutil.copytree(TINY + "llama", W + "/huge")
save(W + "/huge", t)
for rule in ("weights: nvfp4, solve: awq", "weights: nvfp4, solve: awq_clip", "weights: nvfp4, solve: {method: awq, clip: true}", "weights: none, inputs: none, solve: smoothquant"):
    p = ingot("calibrate", W + "/huge", "-r", recipe(rule, None), "--ids", W + "/ids.json", "-o", W + "/no.safetensors", "-q")
    check(f"{rule}: the linear is named", p.returncode == 3 and "the input of 'model.layers.1.self_attn." in p.stderr and "is not finite" in p.stderr and not os.path.exists(W + "/no.safetensors"), p.stderr)

shutil.rmtree(W, ignore_errors=True)
finish()
