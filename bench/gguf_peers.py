#!/usr/bin/env python3
"""GGUF written by ingot and by llama.cpp's own quantizer, turn by turn in one run: seconds, GB/s of the bf16 source, their ratio, and
whether every tensor has the same bytes (then the error is the same too; otherwise the mean squared errors are printed).
usage: gguf_peers.py INGOT WORK --python PYTHON [--make MAKE_CHECKPOINT] [--gib 1] [--types q8_0,q4_k_s,...] [--threads 2] [--rounds 2]
PYTHON: one with llama-cpp-python and gguf."""
import argparse, json, os, subprocess, sys, time

PEER = r'''
import ctypes, sys, time, llama_cpp as L
p = L.llama_model_quantize_default_params(); p.nthread, p.ftype = int(sys.argv[4]), int(sys.argv[3])
t = time.time(); rc = L.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(p)); print(time.time() - t)
sys.exit(rc)
'''
SAME = r'''
import sys, gguf, numpy as np
a, b, s = [{t.name: t for t in gguf.GGUFReader(p).tensors} for p in sys.argv[1:4]]
bad = [n for n in a if n not in b or a[n].tensor_type != b[n].tensor_type or not np.array_equal(a[n].data, b[n].data)]
if not bad and len(a) == len(b): print("same bytes")
else:
    e = [sum(float(((gguf.quants.dequantize(x[n].data, x[n].tensor_type) - gguf.quants.dequantize(s[n].data, s[n].tensor_type)) ** 2).sum()) for n in bad if n in b) for x in (a, b)]
    print(len(bad), "tensors differ; squared error of these: ours %.6g, theirs %.6g" % tuple(e))
'''
TYPES = {"q8_0": 7, "q4_0": 2, "q4_k_s": 14, "q4_k_m": 15, "q5_k_m": 17, "q6_k": 18}
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048, "intermediate_size": 5632, "num_attention_heads": 32,
          "num_key_value_heads": 4, "num_hidden_layers": 1, "vocab_size": 32000, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
          "hidden_act": "silu", "tie_word_embeddings": False, "torch_dtype": "bfloat16", "attention_bias": False, "mlp_bias": False, "bos_token_id": 1, "eos_token_id": 2}

a = argparse.ArgumentParser()
a.add_argument("ingot"), a.add_argument("work"), a.add_argument("--python", required=True), a.add_argument("--make", default="build/release/bench/make_checkpoint")
a.add_argument("--gib", type=float, default=1), a.add_argument("--types", default="q8_0,q4_0,q4_k_s,q5_k_m,q6_k"), a.add_argument("--threads", default="2"), a.add_argument("--rounds", type=int, default=2)
a = a.parse_args()
os.makedirs(a.work, exist_ok=True)
layer = 2 * (2 * 2048 * 2048 + 2 * 2048 * 256 + 3 * 2048 * 5632)
CONFIG["num_hidden_layers"] = max(1, round((a.gib * 2**30 - 4 * 32000 * 2048) / layer))
with open(a.work + "/config.json", "w") as f:
    json.dump(CONFIG, f)
source, wide = a.work + "/model", a.work + "/bf16.gguf"
if not os.path.isdir(source):
    subprocess.run([a.make, source, a.work + "/config.json"], check=True)
subprocess.run([a.ingot, "convert", source, "--to", "gguf", "--no-tokenizer", "-o", wide, "--force", "-q"], check=True, stdout=subprocess.DEVNULL)
size = os.path.getsize(wide) / 1e9
for kind in a.types.split(","):
    best = [1e9, 1e9]
    for _ in range(a.rounds):
        t = time.time()
        subprocess.run([a.ingot, "convert", source, "--to", "gguf", "--no-tokenizer", "--type", kind, "-o", a.work + "/ours.gguf", "--force", "-q", "-t", a.threads], check=True, stdout=subprocess.DEVNULL)
        best[0] = min(best[0], time.time() - t)
        p = subprocess.run([a.python, "-c", PEER, wide, a.work + "/theirs.gguf", str(TYPES[kind]), a.threads], capture_output=True, text=True)
        if p.returncode:
            sys.exit("llama.cpp: " + p.stderr[-500:])
        best[1] = min(best[1], float(p.stdout.split()[-1]))
    same = subprocess.run([a.python, "-c", SAME, a.work + "/ours.gguf", a.work + "/theirs.gguf", wide], capture_output=True, text=True)
    print(f"{kind:8} ingot {best[0]:7.2f} s {size / best[0]:6.3f} GB/s   llama.cpp {best[1]:7.2f} s {size / best[1]:6.3f} GB/s   {best[1] / best[0]:5.2f} times as fast   {same.stdout.strip() or same.stderr[-200:]}", flush=True)
