"""Largest magnitudes of activations in the reference implementation, in fp32: an independent answer for `ingot calibrate`.

usage: make_amax.py FIXTURES_DIR GOLDEN_MODELOPT_DIR OUT_DIR NAME...

Runs transformers in fp32 (eager, one thread) on the calibration tokens that the ModelOpt goldens name and writes
OUT_DIR/<name>.json: per linear `<module>.input`, per attention `<k_proj|v_proj>.output`; the experts of a layer under one
name per projection, the layer's largest. `k_proj.output` is what a cache holds: of GPT-OSS the keys after rotary embedding. The Mamba step is clamped to time_step_limit, as the published code does. GPT-OSS's MXFP4 is
dequantized by transformers, which is exact.
Needs: pip install torch transformers safetensors (made with 2.15.0, 5.23.0, 0.8.0).
"""
import json, os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
import torch
torch.set_num_threads(1)
from transformers import AutoConfig, AutoModelForCausalLM, Mxfp4Config

fixtures, goldens, out = sys.argv[1:4]
for name in sys.argv[4:]:
    ids = json.load(open(f"{goldens}/{name}/fp8_default-kv_fp8.json"))["calibration_tokens"]
    more = {}
    if getattr(AutoConfig.from_pretrained(f"{fixtures}/{name}"), "quantization_config", {}).get("quant_method") == "mxfp4":
        more["quantization_config"] = Mxfp4Config(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(f"{fixtures}/{name}", dtype=torch.float32, attn_implementation="eager", **more).eval().float()
    low, high = (float(x) for x in getattr(model.config, "time_step_limit", (0, 0)))
    nemotron = model.config.model_type == "nemotron_h"
    amax = {}

    def keep(key, t):
        amax[key] = max(amax.get(key, 0.0), t.detach().abs().max().item())

    for path, mod in model.named_modules():
        if hasattr(mod, "time_step_limit"):
            mod.time_step_limit = (low, high)
        disk = "backbone." + path[6:] if nemotron and path.startswith("model.") else path
        if isinstance(mod, torch.nn.Linear):
            mod.register_forward_pre_hook(lambda m, a, d=disk: keep(d + ".input", a[0]))
            if nemotron and disk.endswith((".k_proj", ".v_proj")):
                mod.register_forward_hook(lambda m, a, o, d=disk: keep(d + ".output", o))
        if type(mod).__name__ == "NemotronHExperts":
            def run(hidden_states, top_k_index, top_k_weights, mod=mod, d=disk):
                result = torch.zeros_like(hidden_states)
                for e in range(mod.up_proj.shape[0]):
                    tok, slot = (top_k_index == e).nonzero(as_tuple=True)
                    if not len(tok):
                        continue
                    keep(d + ".up_proj.input", hidden_states[tok])
                    h = torch.relu(hidden_states[tok] @ mod.up_proj[e].T) ** 2
                    keep(d + ".down_proj.input", h)
                    result.index_add_(0, tok, (h @ mod.down_proj[e].T) * top_k_weights[tok, slot, None])
                return result
            mod.forward = run
        if type(mod).__name__ == "GptOssAttention":
            mod.disk = disk
            home = sys.modules[type(mod).__module__]
            if not hasattr(home, "plain_attention"):
                home.plain_attention = home.eager_attention_forward

            def attention(module, query, key, value, *args, home=home, **kwargs):
                keep(module.disk + ".k_proj.output", key)
                keep(module.disk + ".v_proj.output", value)
                return home.plain_attention(module, query, key, value, *args, **kwargs)
            home.eager_attention_forward = attention
        if type(mod).__name__ == "GptOssExperts":
            def run(hidden_states, router_indices=None, routing_weights=None, mod=mod, d=disk):
                result = torch.zeros_like(hidden_states)
                for e in range(mod.num_experts):
                    tok, slot = (router_indices == e).nonzero(as_tuple=True)
                    if not len(tok):
                        continue
                    for half in ("gate_proj", "up_proj"):
                        keep(f"{d}.{half}.input", hidden_states[tok])
                    h = mod._apply_gate(hidden_states[tok] @ mod.gate_up_proj[e] + mod.gate_up_proj_bias[e])
                    keep(d + ".down_proj.input", h)
                    result.index_add_(0, tok, (h @ mod.down_proj[e] + mod.down_proj_bias[e]) * routing_weights[tok, slot, None])
                return result
            mod.forward = run
    with torch.no_grad():
        for row in ids:
            model(input_ids=torch.tensor([row]))
    with open(f"{out}/{name}.json", "w") as f:
        json.dump({"tokens": ids, "amax": dict(sorted(amax.items()))}, f, indent=0)
        f.write("\n")
