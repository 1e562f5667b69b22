#!/usr/bin/env python3
"""ingot quantize beside ModelOpt and llm-compressor, and beside the limit of the machine: reading the source with `cat`
and writing a file of the output's size. One run, in turn, the best of each; only ratios of one run count.

usage: quantize_peers.py INGOT FOLDER [--modelopt PYTHON] [--llmcompressor PYTHON] [-g GB] [-r ROUNDS] [-t THREADS] [-o OUT]
       quantize_peers.py INGOT FOLDER --linear 1,2,4,8 [...]: instead, seconds and CPU seconds per GB of checkpoints of so many GB
FOLDER gets a Llama-shaped bf16 checkpoint of GB gigabytes (default 2.2) unless it has one. PYTHON: one with nvidia-modelopt
and transformers, or with llmcompressor; what is not given is skipped. OUT: where outputs go (default: beside FOLDER)."""
import argparse, json, os, random, re, resource, shutil, subprocess, sys, time

a = argparse.ArgumentParser()
a.add_argument("ingot")
a.add_argument("folder")
a.add_argument("--modelopt")
a.add_argument("--llmcompressor")
a.add_argument("-g", type=float, default=2.2)
a.add_argument("-r", type=int, default=3)
a.add_argument("-t", type=int, default=2)
a.add_argument("-o")
a.add_argument("--linear")
a = a.parse_args()
out = (a.o or os.path.dirname(os.path.abspath(a.folder))) + "/quantize-peers-out"
HIDDEN, FFN, KV, VOCAB = 2048, 8192, 512, 32000
LAYER = {"self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (KV, HIDDEN), "self_attn.v_proj": (KV, HIDDEN), "self_attn.o_proj": (HIDDEN, HIDDEN), "mlp.gate_proj": (FFN, HIDDEN), "mlp.up_proj": (FFN, HIDDEN), "mlp.down_proj": (HIDDEN, FFN), "input_layernorm": (HIDDEN,), "post_attention_layernorm": (HIDDEN,)}
# The upper byte of a bf16 number of either sign between 2^-9 and 2^-5; the lower one is any.
UPPER = bytes((0x3b + i % 2) | i & 0x80 for i in range(256))


def make(folder, gb):
    os.makedirs(folder)
    shapes = {"model.embed_tokens.weight": (VOCAB, HIDDEN)}
    layers = max(1, round((gb * 1e9 / 2 - 2 * VOCAB * HIDDEN) / sum(s[0] * (s[1] if len(s) > 1 else 1) for s in LAYER.values())))
    for i in range(layers):
        shapes |= {f"model.layers.{i}.{k}.weight": v for k, v in LAYER.items()}
    shapes |= {"model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCAB, HIDDEN)}
    head, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        n = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        head[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    rng = random.Random(0)
    with open(folder + "/model.safetensors", "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for left in range(at, 0, -(1 << 22)):
            piece = bytearray(rng.randbytes(min(left, 1 << 22)))
            piece[1::2] = piece[1::2].translate(UPPER)
            f.write(piece)
    json.dump({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": FFN, "num_hidden_layers": layers, "num_attention_heads": HIDDEN // 64, "num_key_value_heads": KV // 64, "head_dim": 64, "vocab_size": VOCAB, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 8192, "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False, "hidden_act": "silu"}, open(folder + "/config.json", "w"))


if not os.path.exists(a.folder) and not a.linear:
    make(a.folder, a.g)
weights = sorted(os.path.join(a.folder, f) for f in os.listdir(a.folder) if f.endswith(".safetensors")) if not a.linear else []
size = sum(os.path.getsize(f) for f in weights)
FP8 = "name: fp8-weights\nsummary: \"FP8 weights, input scale 1\"\nrules:\n  - {role: [attention, mlp], weights: fp8, inputs: {type: fp8, amax: 448}}\n"
open(out + "-fp8.yaml", "w").write(FP8)
MODELOPT = """
import os, sys, time
os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from transformers import AutoModelForCausalLM
import modelopt.torch.quantization as mtq
from modelopt.recipe import load_recipe
from modelopt.torch.export import export_hf_checkpoint
torch.set_num_threads(int(sys.argv[4]))
t = time.time()
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype="auto").eval()
cfg = load_recipe(sys.argv[3]).quantize
model = mtq.quantize(model, cfg.model_dump() if hasattr(cfg, "model_dump") else cfg, None)
with torch.inference_mode():
    export_hf_checkpoint(model, export_dir=sys.argv[2])
print("took %.3f s" % (time.time() - t))
"""
LLMCOMPRESSOR = """
import os, sys, time
os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from llmcompressor import model_free_ptq
torch.set_num_threads(int(sys.argv[4]))
t = time.time()
model_free_ptq(sys.argv[1], sys.argv[2], scheme=sys.argv[3], ignore=["lm_head", "model.embed_tokens", "re:.*norm.*"], max_workers=1, device="cpu")
print("took %.3f s" % (time.time() - t))
"""


def clean():
    shutil.rmtree(out, ignore_errors=True)


def ours(recipe, folder=a.folder):
    clean()
    start = time.time()
    p = subprocess.Popen([a.ingot, "quantize", folder, "-r", recipe, "-o", out, "-t", str(a.t), "-q", "--backend", "cpu"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(p.pid, 0)
    if status:
        sys.exit(f"ingot quantize -r {recipe} ended with {status}")
    written = sum(os.path.getsize(os.path.join(out, f)) for f in os.listdir(out))
    return time.time() - start, usage.ru_maxrss / 1024, written, usage.ru_utime + usage.ru_stime


def peer(python, script, scheme):
    clean()
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    p = subprocess.run([python, "-c", script, a.folder, out, scheme, str(a.t)], capture_output=True, text=True)
    found = re.findall(r"took ([0-9.]+) s", p.stdout)
    if p.returncode or not found:
        print(f"skip {scheme}: {p.stderr.strip().splitlines()[-1:]}")
        return None
    return float(found[-1])


def limit(n):
    """Seconds of reading the source and writing n bytes."""
    clean()
    start = time.time()
    with open(os.devnull, "wb") as null:
        subprocess.run(["cat", *weights], stdout=null, check=True)
    piece = memoryview(bytearray(random.Random(1).randbytes(1 << 20)))
    with open(out + "-file", "wb", buffering=0) as f:
        for left in range(n, 0, -(1 << 20)):
            f.write(piece[:min(left, 1 << 20)])
        os.fsync(f.fileno())
    os.unlink(out + "-file")
    return time.time() - start


if a.linear:
    for gb in map(float, a.linear.split(",")):
        folder = f"{a.folder}-{gb:g}"
        make(folder, gb)
        n = os.path.getsize(folder + "/model.safetensors") / 1e9
        runs = [ours("nvfp4_weight_only-kv_fp16", folder) for _ in range(a.r)]
        print(f"{n:.2f} GB: {min(r[0] for r in runs) / n:.3f} s per GB, {min(r[3] for r in runs) / n:.3f} s of CPU per GB, {runs[0][1]:.0f} MiB", flush=True)
        shutil.rmtree(folder)
    clean()
    sys.exit()
print(f"{size / 1e9:.2f} GB of bf16, {a.t} threads, best of {a.r}; load {os.getloadavg()[0]:.1f}", flush=True)
for title, recipe, peers in (
        ("NVFP4", "nvfp4_weight_only-kv_fp16", [("ModelOpt", a.modelopt, MODELOPT, "general/ptq/nvfp4_weight_only-kv_fp16"), ("llm-compressor", a.llmcompressor, LLMCOMPRESSOR, "NVFP4A16")]),
        ("FP8", out + "-fp8.yaml", [("ModelOpt", a.modelopt, MODELOPT, "general/ptq/fp8_default-kv_fp8"), ("llm-compressor", a.llmcompressor, LLMCOMPRESSOR, "FP8_DYNAMIC")])):
    best, least = (1e9, 0, 0, 0), 1e9
    others = {}
    for _ in range(a.r):
        best = min(best, ours(recipe))
        least = min(least, limit(best[2]))
        for name, python, script, scheme in peers:
            t = peer(python, script, scheme) if python else None
            if t:
                others[name] = min(t, others.get(name, 1e9))
    print(f"{title}: {best[0]:.2f} s, {size / best[0] / 1e9:.2f} GB/s of source, {best[1]:.0f} MiB, {best[3]:.2f} s of CPU; the limit {least:.2f} s: {least / best[0]:.0%} of it", flush=True)
    for name, python, _, _ in peers:
        if name in others:
            print(f"{title}: {name} {others[name]:.1f} s, {size / others[name] / 1e9:.3f} GB/s: ours is {others[name] / best[0]:.1f} times as fast", flush=True)
        else:
            print(f"{title}: skip {name}" + ("" if python else ", no Python with it was given"), flush=True)
clean()
os.unlink(out + "-fp8.yaml")
