#!/usr/bin/env python3
"""GPTQ of one NVFP4 linear beside llm-compressor's own functions (or, where it is not installed, the same algorithm in
plain torch), on the CPU in one run: second moments of 128 texts of 2048 tokens, then the codes. A share of the tokens
is run and its time multiplied, on both sides alike. Prints seconds and CPU seconds; the latter are what a loaded
machine lets one compare.

usage: peer_gptq.py BENCH_GPTQ [THREADS [ROWS COLS [SHARE]]]     (torch; llmcompressor 0.14.0.1 and compressed-tensors)"""
import re, subprocess, sys, time

import torch

bench = sys.argv[1]
threads, rows, cols, share = ([int(x) for x in sys.argv[2:6]] + [2, 4096, 4096, 16][len(sys.argv[2:6]):])
TEXTS, TOKENS = 128, 2048
torch.set_num_threads(threads)
torch.manual_seed(1)


def timed(call):
    wall, cpu = time.time(), time.process_time()
    out = call()
    return out, time.time() - wall, time.process_time() - cpu


def plain_accumulate(x, module, h, n):
    h *= n / (n + 1)
    n += 1
    x = (2 / n) ** 0.5 * x.reshape(-1, x.shape[-1]).t().float()
    h += x.matmul(x.t())
    return h, n


def plain_solve(w, h):
    """The published algorithm, blocks of 128 columns, scales of blocks of 16 fixed before."""
    w = w.float().clone()
    s2 = w.abs().max() / 2688
    scales = (w.reshape(rows, -1, 16).abs().amax(-1) / (6 * s2)).to(torch.float8_e4m3fn)
    steps = (scales.float() * s2).repeat_interleave(16, 1)
    grid = torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5])
    values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    d = torch.arange(cols)
    h[d, d] += 0.01 * h.diag().mean()
    h = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    for i in range(0, cols, 128):
        part, err = w[:, i:i + 128].clone(), torch.zeros(rows, 128)
        for c in range(128):
            t, e = part[:, c], steps[:, i + c]
            q = values[torch.bucketize((t / e).abs(), grid[1:])] * t.sign() * e
            err[:, c] = (t - q) / h[i + c, i + c]
            part[:, c:] -= err[:, c:c + 1] * h[i + c:i + c + 1, i + c:i + 128]
        w[:, i + 128:] -= err @ h[i:i + 128, i + 128:]
    return w


try:
    from compressed_tensors.quantization import preset_name_to_scheme
    from llmcompressor.modifiers.gptq.gptq_quantize import quantize_weight
    from llmcompressor.modifiers.gptq.helpers import accumulate_hessian
    name = "llm-compressor"
    args = preset_name_to_scheme("NVFP4A16", ["Linear"]).weights

    def solve(w, h):
        g = 2688 / w.abs().max().float()
        scale = (w.reshape(rows, -1, 16).abs().amax(-1).float() / 6 * g).to(torch.float8_e4m3fn).float()
        zero = torch.zeros_like(scale)
        return quantize_weight(w[None].float(), h[None], scale[None], zero[None], g.reshape(1, 1), args)
except ImportError:
    name, accumulate_hessian, solve = "plain torch", plain_accumulate, plain_solve

linear = torch.nn.Linear(cols, rows, bias=False)
x = torch.randn(1, TOKENS, cols)
for i in range(1, 3):
    x[..., i:] += 0.4 * x[..., :-i]
x = x.bfloat16()
h, n = torch.zeros(cols, cols), 0


def moments():
    global h, n
    for _ in range(TEXTS // share):
        h, n = accumulate_hessian(x, linear, h, n)


with torch.no_grad():
    _, wall, cpu = timed(moments)
    _, wall2, cpu2 = timed(lambda: solve(linear.weight.data, h))
theirs = (wall * share + wall2, cpu * share + cpu2)
print(f"{name}, {threads} threads: moments {wall * share:.1f} s (cpu {cpu * share:.1f}), "
      f"codes {wall2:.1f} s (cpu {cpu2:.1f}), all {theirs[0]:.1f} s (cpu {theirs[1]:.1f})")
command = [bench, str(threads), str(rows), str(cols), str(TEXTS * TOKENS), str(share)]
out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
print(out, end="")
ours = [float(v) for v in re.search(r"^all +([\d.]+) s \(cpu +([\d.]+)\)", out, re.M).groups()]
print(f"ratio {theirs[0] / ours[0]:.2f}, of CPU time {theirs[1] / ours[1]:.2f}")
