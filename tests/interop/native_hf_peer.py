#!/usr/bin/env python3
"""Mistral Large 3's own files, made a Hugging Face folder by `convert --to hf`, in transformers: its class loads every tensor, and computes the golden
logits. (Of dense models tests/cli/native_hf.py gets the very files back that the goldens were computed from.)
usage: native_hf_peer.py WORK; INGOT names the program, INGOT_SHARED the fixtures. Needs transformers 5 and torch (tests/interop/quant_tools.sh)."""
import os, subprocess, sys

import torch
from safetensors.torch import load_file
from transformers import Mistral4ForCausalLM

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODEL, OUT = os.environ.get("INGOT_SHARED", "") + "/fixtures/mistral_large3", sys.argv[1] + "/large3.hf"
if not os.path.isdir(MODEL):
    print("skip Large 3 in transformers: no shared fixtures (INGOT_SHARED)")
    sys.exit(0)
subprocess.run([os.environ.get("INGOT", ROOT + "/build/ingot"), "convert", MODEL, "--to", "hf", "-o", OUT, "-q", "--force"], check=True, stdout=subprocess.DEVNULL)
model, info = Mistral4ForCausalLM.from_pretrained(OUT, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
golden, bad = load_file(MODEL + "/golden/golden.safetensors"), {k: v for k, v in info.items() if v}
print("FAIL" if bad else "ok  ", "Large 3: every tensor is loaded, none is left over", bad or "")
for i in range(2):
    with torch.no_grad():
        d = (model(golden[f"p{i}.input_ids"].long()[None]).logits[0] - golden[f"p{i}.logits"]).abs().max().item()
    print("ok  " if d <= 1e-4 else "FAIL", f"Large 3 p{i}: golden logits, {d:.1e} apart")
    bad = bad or d > 1e-4
sys.exit(bool(bad))
