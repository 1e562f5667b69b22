#!/usr/bin/env python3
"""`convert --to gguf --type nvfp4`: a matrix is NVFP4 only where llama.cpp's graph multiplies its product with NAME.scale. The generic loader reads
a scale for every matrix; which graphs use it was read in src/models/*.cpp of the version that tests/interop runs (llama-cpp-python 0.3.36), and is
written down here a second time. That the logits are right then: tests/interop/gguf_types_peer.py. Models of every architecture, of random
numbers, by bench/make_checkpoint."""
import glob, json, os, re, struct, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
MAKE = next(iter(sorted(glob.glob(ROOT + "/build/*/bench/make_checkpoint"))), None)


ATTN, FFN = {"attn_q", "attn_k", "attn_v", "attn_output"}, {"ffn_gate", "ffn_up", "ffn_down"}
EXPS, SHEXP = {f + "_exps" for f in FFN}, {f + "_shexp" for f in FFN}
SIZES = {"hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64, "vocab_size": 512,
         "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "hidden_act": "silu", "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2, "attention_bias": False,
         "tie_word_embeddings": False, "rope_theta": 10000.0}
MOE = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 64, "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []}
# name of the architecture -> configuration, what NVFP4 may be, and what it must not although llama.cpp loads a scale
FAMILIES = {
    "llama": ({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "mlp_bias": False}, ATTN | FFN, set()),
    "qwen3": ({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}, ATTN | FFN, set()),
    "qwen3moe": ({"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", **MOE}, ATTN | EXPS, set()),
    "gpt-oss": ({"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 8, "swiglu_limit": 7.0,
                 "attention_bias": True, "rope_scaling": {"rope_type": "yarn", "factor": 16.0, "beta_fast": 32.0, "beta_slow": 1.0, "original_max_position_embeddings": 32}}, ATTN, EXPS),
    "nemotron": ({"architectures": ["NemotronForCausalLM"], "model_type": "nemotron", "hidden_act": "relu2", "norm_eps": 1e-5, "partial_rotary_factor": 0.5, "mlp_bias": False}, ATTN, FFN - {"ffn_gate"}),
    "gemma3": ({"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 64, "sliding_window": 8,
                "sliding_window_pattern": 2, "rope_local_base_freq": 10000.0, "tie_word_embeddings": True}, ATTN, FFN),
    "qwen3next": ({"architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next", "shared_expert_intermediate_size": 64, "full_attention_interval": 2, "linear_conv_kernel_dim": 4,
                   "linear_key_head_dim": 32, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_value_head_dim": 32, "partial_rotary_factor": 0.25, **MOE},
                  ATTN | EXPS | SHEXP, {"attn_qkv", "attn_gate", "ssm_out"}),
    "deepseek2": ({"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "num_attention_heads": 2, "num_key_value_heads": 2, "q_lora_rank": 64, "kv_lora_rank": 64,
                   "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32, "moe_intermediate_size": 64, "n_routed_experts": 2, "n_shared_experts": 1, "num_experts_per_tok": 1,
                   "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "moe_layer_freq": 1, "norm_topk_prob": True, "scoring_func": "sigmoid", "topk_method": "noaux_tc",
                   "routed_scaling_factor": 2.5, "num_nextn_predict_layers": 0}, {"attn_output"}, FFN | EXPS | SHEXP),
}


def types(path):
    """{name: number of its type}"""
    b, at = open(path, "rb").read(), 24
    n_tensors, n_values = struct.unpack_from("<QQ", b, 8)
    size = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def text():
        nonlocal at
        n = struct.unpack_from("<Q", b, at)[0]
        at += 8 + n
        return b[at - n:at].decode()

    def skip(kind):
        nonlocal at
        if kind == 8:
            text()
        elif kind == 9:
            kind, n = struct.unpack_from("<IQ", b, at)
            at += 12
            for _ in range(n):
                skip(kind)
        else:
            at += size[kind]
    for _ in range(n_values):
        text()
        at += 4
        skip(struct.unpack_from("<I", b, at - 4)[0])
    out = {}
    for _ in range(n_tensors):
        name = text()
        n = struct.unpack_from("<I", b, at)[0]
        out[name] = struct.unpack_from("<I", b, at + 4 + 8 * n)[0]
        at += 4 + 8 * n + 12
    return out


part = lambda name: re.sub(r"^blk\.\d+\.|\.weight$", "", name)


def convert(source, out):
    return subprocess.run([INGOT, "convert", source, "--to", "gguf", "--no-tokenizer", "--type", "nvfp4", "-o", out, "--force", "-q"], capture_output=True, text=True)


def main(tmp):
    for name, (config, scaled, unscaled) in FAMILIES.items():
        with open(tmp + "/c.json", "w") as f:
            json.dump({**SIZES, **config}, f)
        p = subprocess.run([MAKE, f"{tmp}/{name}", tmp + "/c.json"], capture_output=True, text=True)
        p = p if p.returncode else convert(f"{tmp}/{name}", tmp + "/x.gguf")
        if p.returncode:
            check(name, False, p.stderr + p.stdout)
            continue
        t = types(tmp + "/x.gguf")
        fp4 = {n for n, k in t.items() if k == 40}
        check(f"{name}: NVFP4 where its scale counts", {part(n) for n in fp4} == scaled, fp4)
        check(f"{name}: a scale for each of them, and no other", {n[:-6] for n in t if n.endswith(".scale")} == {n[:-7] for n in fp4})
        if unscaled:
            check(f"{name}: nowhere else, though a scale would be loaded", {part(n) for n in t} >= unscaled and not any(part(n) in unscaled for n in fp4), sorted(t.items()))
    # Rows of 128 and 64 are no blocks of 256: every tensor that became something else is named.
    args = [INGOT, "convert", tmp + "/qwen3moe", "--to", "gguf", "--no-tokenizer", "--type", "q6_k", "-o", tmp + "/x.gguf", "--force", "-q"]
    said = json.loads(subprocess.run([*args, "--json"], capture_output=True, text=True).stdout)
    t, number = types(tmp + "/x.gguf"), {"Q8_0": 8, "F16": 1}
    want = {n: k for n, k in t.items() if k in number.values()}
    named = {f["name"]: number.get(f["type"]) for f in said["fallback_tensors"]}
    check("fallbacks: all of them by name and type", len(want) == said["fallbacks"] == len(said["fallback_tensors"]) > 16 and named == want, said)
    lines = subprocess.run(args, capture_output=True, text=True).stdout.splitlines()
    check("fallbacks: sixteen for people", sum(l.startswith("  ") and " as " in l for l in lines) == 16 and f"  and {len(want) - 16} more (--json names 256)" in lines, lines)
    deci = os.environ.get("INGOT_SHARED", "../shared") + "/fixtures/deci"
    if not os.path.isdir(deci):
        print("skip deci: no shared fixtures (INGOT_SHARED)")
        return
    config = json.load(open(deci + "/config.json"))
    linear = [i for i, b in enumerate(config["block_configs"]) if b["attention"]["replace_with_linear"]]
    check("deci converts", convert(deci, tmp + "/x.gguf").returncode == 0)
    fp4 = {n for n, k in types(tmp + "/x.gguf").items() if k == 40}
    check("deci: attention, but not where a matrix takes its place", {part(n) for n in fp4} == ATTN and linear and not any(n.startswith(f"blk.{i}.attn_output") for i in linear for n in fp4), fp4)
    p = subprocess.run([INGOT, "inspect", tmp + "/x.gguf"], capture_output=True, text=True)
    check("deci: read back", p.returncode == 0, p.stderr)


if __name__ == "__main__":
    if MAKE:
        with tempfile.TemporaryDirectory() as folder:
            main(folder)
    else:
        print("skip gguf_scales: build/*/bench/make_checkpoint is not built (make test-programs)")
    finish()
