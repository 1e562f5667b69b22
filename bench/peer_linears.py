#!/usr/bin/env python3
"""The linears of one layer of a 1.1B Llama shape: build/release/bench/bench_gemm and torch.nn.functional.linear, in turn,
the best of each; ratios of one run. usage: peer_linears.py PYTHON-WITH-TORCH [THREADS [ROUNDS]]"""
import os, re, subprocess, sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
python, threads = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else str(len(os.sched_getaffinity(0)))
rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
# Shapes and number of layers as in bench_gemm.c; every layer has weights of its own, so that no cache helps decoding.
TORCH = """
import sys, time, torch
torch.set_num_threads(int(sys.argv[1]))
shapes = [(2048, 2048), (512, 2048), (2048, 2048), (11264, 2048), (2048, 5632)]
for name in ("float32", "bfloat16"):
    t = getattr(torch, name)
    layers = [[torch.randn(o, i).to(t) for o, i in shapes] for _ in range(8)]
    for m in (1, 512):
        x = {i: torch.randn(m, i).to(t) for _, i in shapes}
        best, end = 1e9, time.time() + 1.5
        with torch.no_grad():
            while time.time() < end:
                s = time.time()
                for l in layers if m == 1 else layers[:1]:
                    for w in l: torch.nn.functional.linear(x[w.shape[1]], w)
                best = min(best, (time.time() - s) / (8 if m == 1 else 1))
        print("peer", name, m, best)
"""
best = {}


def note(key, seconds):
    best[key] = min(best.get(key, 1e9), float(seconds))


for _ in range(rounds):
    for kind in ("f32", "bf16"):
        out = subprocess.run([ROOT + "/build/release/bench/bench_gemm", threads, kind], capture_output=True, text=True, check=True).stdout
        for k, c, one, many in re.findall(r"^peer (\S+) (\S+) (\S+) (\S+)$", out, re.M):
            if k == kind:
                note((k, c, 1), one), note((k, c, 512), many)
    out = subprocess.run([python, "-c", TORCH, threads], capture_output=True, text=True, check=True).stdout
    for t, m, s in re.findall(r"^peer (\S+) (\d+) (\S+)$", out, re.M):
        note((t, int(m)), s)
WEIGHTS = 2048 * 2048 * 2 + 512 * 2048 + 11264 * 2048 + 2048 * 5632
for kind, compute, torch in (("f32", "fp32", "float32"), ("bf16", "fp32", "float32"), ("bf16", "bf16", "bfloat16")):
    for m in (512, 1):
        ours, theirs = best[kind, compute, m], best[torch, m]
        print(f"{kind:4} weights, {compute} compute, {m:3} rows: ours {2e-9 * m * WEIGHTS / ours:7.1f} GFLOP/s, torch {torch:8} {2e-9 * m * WEIGHTS / theirs:7.1f}, ratio {theirs / ours:5.2f}")
