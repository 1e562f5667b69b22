#!/usr/bin/env python3
"""Tokens per second of one checkpoint: ours, transformers, llama.cpp, in turn in one run, the best of each. Only ratios
of one run count: machines and hours differ by a factor of two.

usage: race.py FOLDER [--torch PYTHON] [--llama PYTHON FILE.gguf]... [--ours FOLDER]... [-n PROMPT] [-g NEW]
               [-t THREADS] [-r ROUNDS]
--torch: a Python with torch and transformers. --llama: one with llama_cpp, and the same weights as GGUF, which both then
read; may be given again for another type. --ours: the same model quantized, for us alone. Build first: make bench (or
build/release/bench/bench_engine)."""
import argparse, os, re, subprocess, sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
a = argparse.ArgumentParser()
a.add_argument("folder")
a.add_argument("--torch")
a.add_argument("--llama", nargs=2, action="append", default=[])
a.add_argument("--ours", action="append", default=[])
a.add_argument("-n", type=int, default=512)
a.add_argument("-g", type=int, default=32)
a.add_argument("-t", type=int, default=len(os.sched_getaffinity(0)))
a.add_argument("-r", type=int, default=3)
a = a.parse_args()

TORCH = """
import sys, time, torch
from transformers import AutoModelForCausalLM
torch.set_num_threads(int(sys.argv[4]))
m = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=getattr(torch, sys.argv[2])).eval()
ids = torch.tensor([[(i * 37 + 5) % m.config.vocab_size for i in range(int(sys.argv[3]))]])
best = 1e9
with torch.no_grad():
    for _ in range(3):
        t = time.time(); m(input_ids=ids, use_cache=False, logits_to_keep=1); best = min(best, time.time() - t)
print("prefill %.1f tokens/s" % (ids.shape[1] / best))
"""
LLAMA = """
import sys, time, ctypes, llama_cpp as L
path, n, g, threads = sys.argv[1].encode(), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
L.llama_backend_init()
mp = L.llama_model_default_params(); mp.n_gpu_layers = 0
m = L.llama_model_load_from_file(path, mp)
cp = L.llama_context_default_params(); cp.n_ctx = n + g + 32; cp.n_batch = n; cp.n_ubatch = min(n, 512); cp.n_threads = cp.n_threads_batch = threads
c = L.llama_init_from_model(m, cp)
def feed(k):
    t = time.time()
    ids = (ctypes.c_int32 * k)(*[(i * 37 + 5) % 2000 for i in range(k)])
    L.llama_decode(c, L.llama_batch_get_one(ids, k)); L.llama_get_logits_ith(c, -1)[0]
    return time.time() - t
feed(16)
p = feed(n)
d = sum(feed(1) for _ in range(g))
print("prefill %.1f tokens/s, decode %.2f tokens/s" % (n / p, g / d))
"""


def run(*command):
    p = subprocess.run(command, capture_output=True, text=True)
    if p.returncode:
        sys.exit(f"{command[0]}: {p.stderr[-500:]}")
    return {k: float(v) for k, v in re.findall(r"(prefill|decode) ([0-9.]+) tokens/s", p.stdout)}


ours = os.path.join(ROOT, "build/release/bench/bench_engine")
racers, weights = {}, {}  # of each racer: its command, whose weights it reads
for model in [a.folder] + [gguf for _, gguf in a.llama] + a.ours:
    for c in ("fp32", "bf16"):
        name = f"ingot {c}" + (" " + os.path.basename(model.rstrip("/")) if model != a.folder else "")
        racers[name], weights[name] = [ours, model, str(a.n), str(a.g), str(a.t), c], model
if a.torch:
    for c in ("float32", "bfloat16"):
        racers[f"transformers {c}"] = [a.torch, "-c", TORCH, a.folder, c, str(a.n), str(a.t)]
for python, gguf in a.llama:
    weights["llama.cpp " + os.path.basename(gguf)] = gguf
    racers["llama.cpp " + os.path.basename(gguf)] = [python, "-c", LLAMA, gguf, str(a.n), str(a.g), str(a.t)]
best = {}
for _ in range(a.r):
    for name, command in racers.items():
        for what, speed in run(*command).items():
            best[name, what] = max(speed, best.get((name, what), 0))
for what in ("prefill", "decode"):
    for name in racers:
        if (name, what) not in best:
            continue
        same = [o for o in racers if o.startswith("ingot") and weights[o] == weights.get(name, a.folder)]
        versus = " ".join(f"{best[o, what] / best[name, what]:6.2f}" for o in same)
        print(f"{what:8} {name:36} {best[name, what]:8.2f} tokens/s   ingot fp32, bf16 on these weights / this: {versus}")
