#!/usr/bin/env python3
"""Quantized folders that were changed after they were written: a scale that is none, a cache's scale without its partner, configurations
that say something else than the tensors. And what is named: element and value."""
import glob, json, os, shutil, struct, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import ROOT, check, finish, ingot
from tensors import save, tensors

W = tempfile.mkdtemp()
SOURCE = W + "/source"
shutil.copytree(ROOT + "/tests/vectors/engine/qwen3", SOURCE)
json.dump([[1, 2, 3, 4, 5, 6, 7, 8]], open(W + "/ids.json", "w"))
for name in glob.glob(ROOT + "/examples/nano-hybrid/model/tokenizer*"):
    shutil.copy(name, SOURCE)
Q = "model.layers.0.self_attn.q_proj"
K = "model.layers.0.self_attn.k_proj"
DOWN = "model.layers.0.mlp.down_proj"


def quantize(name, weights, inputs, layout, top="kv_cache: fp8\n", more=""):
    with open(W + "/r.yaml", "w") as f:
        f.write(f"name: t\nlayout: {layout}\n{top}rules:\n  - {{role: [attention, mlp], weights: {weights}, inputs: {inputs}{more}}}\n")
    p = ingot("quantize", SOURCE, "-r", W + "/r.yaml", "--ids", W + "/ids.json", "-o", f"{W}/{name}", "-q")
    check(f"{name}: is written", p.returncode == 0, p.stderr)
    p = ingot("inspect", f"{W}/{name}", "--strict", "-q")
    check(f"{name}: is as it should be", p.returncode == 0, p.stderr)
    return f"{W}/{name}"


def refused(title, folder, words, commands, all_tensors=None, config=None, status=3, file="config.json"):
    """The folder, with other tensors or another quantization_config."""
    changed = W + "/changed"
    shutil.rmtree(changed, ignore_errors=True)
    shutil.copytree(folder, changed)
    if all_tensors:
        save(changed, all_tensors)
    if config:
        doc = json.load(open(f"{changed}/{file}"))
        config(doc["quantization_config"])
        json.dump(doc, open(f"{changed}/{file}", "w"))
    for command in commands:
        args = {"inspect": ["inspect", changed, "-q"], "strict": ["inspect", changed, "--strict", "-q"],
                "logits": ["logits", changed, "--ids", W + "/ids.json", "-o", W + "/l.safetensors", "-q"],
                "logits bf16": ["logits", changed, "--ids", W + "/ids.json", "-o", W + "/l.safetensors", "-q", "--compute", "bf16"],
                "convert": ["convert", changed, "--to", "safetensors", "--type", "bf16", "-o", W + "/bf16", "-q"]}[command]
        p = ingot(*args)
        shutil.rmtree(W + "/bf16", ignore_errors=True)
        check(f"{title}: {command}", p.returncode == status and all(w in p.stderr for w in words) and p.stderr.count("\n") == 1,
              f"status {p.returncode}, expected {status} with {words}: {p.stderr}")


def put(all_tensors, name, raw, at=0):
    dtype, shape, old = all_tensors[name]
    return {**all_tensors, name: (dtype, shape, old[:at] + raw + old[at + len(raw):])}


def without(all_tensors, name):
    return {k: v for k, v in all_tensors.items() if k != name}


def f32(x):
    return struct.pack("<f", x)


EVERY = ["inspect", "logits", "convert"]
VALUES = ["strict", "logits", "logits bf16", "convert"]

nvfp4 = quantize("nvfp4", "nvfp4", "nvfp4", "modelopt")
t = tensors(nvfp4)
cols = t[Q + ".weight_scale"][1][1]
refused("a negative scale of a block", nvfp4, [Q + ".weight_scale"], VALUES, put(t, Q + ".weight_scale", b"\xb8", cols + 1))
refused("it is named", nvfp4, ["element [1, 1] is -1; a scale is positive"], ["strict"], put(t, Q + ".weight_scale", b"\xb8", cols + 1))
refused("a block's scale of zero", nvfp4, [Q + ".weight_scale", "element [1, 0] is 0; a scale is positive"], ["strict"], put(t, Q + ".weight_scale", b"\0", cols))
refused("NaN in a norm", nvfp4, ["model.norm.weight", "element [3] is NaN"], ["strict", "logits"], put(t, "model.norm.weight", b"\xc0\x7f", 6))
refused("K's scale without V's", nvfp4, [K + ".k_scale", "no v_scale beside it"], EVERY, without(t, "model.layers.0.self_attn.v_proj.v_scale"))
refused("V's scale without K's", nvfp4, ["v_proj.v_scale", "no k_scale beside it"], EVERY, without(t, K + ".k_scale"))
for side, key, value in (("weights", "num_bits", 8), ("weights", "type", "int"), ("input_activations", "num_bits", 8)):
    refused(f"config_groups: {key} of {side}", nvfp4, ["group_0", side + " of NVFP4 have 4 bits (float)"], EVERY,
            config=lambda q: q["config_groups"]["group_0"][side].update({key: value}))

for kind, inputs, parts in (("nvfp4", "nvfp4", ("weight_global_scale", "input_global_scale")), ("fp8", "fp8", ("weight_scale", "input_scale"))):
    folder = quantize(kind + " in compressed-tensors", kind, inputs, "compressed-tensors")
    t = tensors(folder)
    for part in parts:
        for value in (0.0, -1.0, float("inf"), float("nan")):
            refused(f"{kind}: {part} of {value}", folder, [f"{Q}.{part}"], ["strict", "logits", "convert"], put(t, f"{Q}.{part}", f32(value)))
    refused(f"{kind}: a cache that no configuration declares", folder, ["self_attn.k_scale", "the quantization config says nothing of one"], EVERY,
            config=lambda q: q.pop("kv_cache_scheme"))
    refused(f"{kind}: a format that the groups are not of", folder, ["format 'pack-quantized' does not fit its config_groups"], EVERY,
            config=lambda q: q.update(format="pack-quantized"))

folder = quantize("channels", "fp8_channel", "fp8_token", "compressed-tensors", "")
t = tensors(folder)
refused("a row's scale of zero", folder, [DOWN + ".weight_scale", "element [2, 0] is 0"], ["strict"], put(t, DOWN + ".weight_scale", f32(0.0), 8))
refused("a row's scale below zero", folder, [DOWN + ".weight_scale"], ["strict", "logits", "convert"], put(t, DOWN + ".weight_scale", f32(-1.0), 8))

# ---- sources: which element ----
t = tensors(SOURCE)
for name, at, place in (("model.embed_tokens.weight", 2 * (32 + 5), "element [1, 5] is NaN"), (DOWN + ".weight", 2 * (48 * 3 + 7), "[3, 7]"), ("model.norm.weight", 8, "[4]")):
    save(SOURCE, put(t, name, b"\xc0\x7f", at))
    for r in ("weights: nvfp4, inputs: nvfp4", "weights: nvfp4, inputs: none", "weights: fp8, inputs: {type: fp8, amax: 4}"):
        open(W + "/r.yaml", "w").write("name: t\nrules:\n  - {role: [attention, mlp], %s}\n" % r)
        p = ingot("quantize", SOURCE, "-r", W + "/r.yaml", "--ids", W + "/ids.json", "-o", W + "/bad", "-q")
        check(f"NaN in {name}, {r}: its place", p.returncode == 3 and name in p.stderr and place in p.stderr and not os.path.exists(W + "/bad"), p.stderr)
save(SOURCE, t)

# ---- an NVFP4 cache of latents ----
open(W + "/r.yaml", "w").write("name: t\nkv_cache: nvfp4_cast\nrules:\n  - {role: mlp, weights: fp8, inputs: {type: fp8, amax: 4}}\n")
p = ingot("quantize", ROOT + "/tests/vectors/engine/mistral4", "-r", W + "/r.yaml", "-o", W + "/latent", "-q")
check("NVFP4 cache: a latent that is no multiple of 16 is refused", p.returncode == 4 and "heads of 28 are no multiple" in p.stderr and not os.path.exists(W + "/latent"), p.stderr)

# ---- what the recipe was told to accept is in the report ----
MODEL = ROOT + "/examples/nano-hybrid/model"
RECIPE = "name: t\nallow_ssm: true\nrules:\n  - {role: ssm_out, weights: nvfp4, inputs: {type: nvfp4, amax: 4}, scales: four_over_six, layers: [0]}\n"
open(W + "/r.yaml", "w").write(RECIPE)
p = ingot("quantize", MODEL, "-r", W + "/r.yaml", "-o", W + "/ssm", "-q")
check("allow_ssm: the report shows the cost", p.returncode == 0 and "note: 1 Mamba projections get 4/6 scales" in p.stdout and "84.71 against 98.32" in p.stdout, p.stdout + p.stderr)
p = ingot("quantize", MODEL, "-r", W + "/r.yaml", "-o", W + "/ssm", "-q", "--json", "--force")
check("allow_ssm: so does its JSON", p.returncode == 0 and "84.71 against 98.32" in json.loads(p.stdout)["notes"][0], p.stdout + p.stderr)
shutil.rmtree(W)
finish()
