#!/usr/bin/env python3
"""What engines fuse into one product has one NVFP4 tensor scale and one type: DeltaNet's pairs, which no model of the tree has,
on a Qwen3.5 of one layer. ModelOpt gives all linears that read one input the largest of their scales (shared reference,
quantize.md 2.6), so in_proj_qkv and in_proj_z share; FP8 scales stay apart, as in its exports of q, k and v."""
import json, os, random, struct, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, check, finish
from tensors import save, tensors


H, KEYS, VALUES, WIDE = 32, 16, 32, 32      # one key head, two value heads of 16
CONFIG = {"architectures": ["Qwen3_5ForCausalLM"], "model_type": "qwen3_5_text", "hidden_size": H, "vocab_size": 40, "num_hidden_layers": 1,
          "layer_types": ["linear_attention"], "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "rms_norm_eps": 1e-6, "hidden_act": "silu",
          "intermediate_size": WIDE, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 16, "linear_num_key_heads": 1,
          "linear_num_value_heads": 2, "tie_word_embeddings": False, "max_position_embeddings": 64,
          "rope_parameters": {"rope_theta": 1e6, "rope_type": "default", "partial_rotary_factor": 0.5}, "torch_dtype": "bfloat16"}
D = "model.layers.0.linear_attn."
LARGEST = {D + "in_proj_qkv.weight": 0.5, D + "in_proj_z.weight": 0.75, D + "in_proj_b.weight": 0.875, D + "in_proj_a.weight": 0.625}
SHAPES = {"model.embed_tokens.weight": [40, H], "lm_head.weight": [40, H], "model.norm.weight": [H], "model.layers.0.input_layernorm.weight": [H],
          "model.layers.0.post_attention_layernorm.weight": [H], D + "in_proj_qkv.weight": [2 * KEYS + VALUES, H], D + "in_proj_z.weight": [VALUES, H],
          D + "in_proj_b.weight": [2, H], D + "in_proj_a.weight": [2, H], D + "conv1d.weight": [2 * KEYS + VALUES, 1, 4], D + "A_log": [2], D + "dt_bias": [2],
          D + "norm.weight": [16], D + "out_proj.weight": [H, VALUES], "model.layers.0.mlp.gate_proj.weight": [WIDE, H],
          "model.layers.0.mlp.up_proj.weight": [WIDE, H], "model.layers.0.mlp.down_proj.weight": [H, WIDE]}


def bf16(x):
    return struct.pack("<f", x)[2:]


def weights(name, shape):
    r, n = random.Random(name), 1
    for d in shape:
        n *= d
    top = LARGEST.get(name, 0.5)
    return b"".join(bf16(top if i == n // 2 else r.uniform(-0.25, 0.25)) for i in range(n))


def f32(b):
    return struct.unpack("<f", b)[0]


def near(a, b):
    return abs(a - b) <= 1e-7 * b


with tempfile.TemporaryDirectory() as W:
    os.mkdir(W + "/m")
    save(W + "/m", {k: ("BF16", s, weights(k, s)) for k, s in SHAPES.items()})
    json.dump(CONFIG, open(W + "/m/config.json", "w"))

    def quantize(rules, status=0):
        with open(W + "/r.yaml", "w") as f:
            json.dump({"name": "fused", "rules": rules}, f)
        p = subprocess.run([INGOT, "quantize", W + "/m", "-r", W + "/r.yaml", "-o", W + "/q", "--force", "-q"], capture_output=True, text=True)
        check(f"quantize ends with {status}", p.returncode == status, p.stderr)
        return p if status else tensors(W + "/q")

    q = quantize([{"role": "delta_linears", "weights": "nvfp4"}])
    got = {k[len(D):].split(".")[0]: f32(v[2]) for k, v in q.items() if k.startswith(D) and k.endswith("weight_scale_2")}
    for a, b, largest in (("in_proj_qkv", "in_proj_z", 0.75), ("in_proj_b", "in_proj_a", 0.875)):
        check(f"{a} and {b} share the larger scale", near(got.get(a, 0), largest / 2688) and got.get(a) == got.get(b), got)
    check("out_proj has its own", near(got["out_proj"], 0.5 / 2688), got)
    q = quantize([{"role": "delta_linears", "weights": "fp8", "inputs": {"type": "fp8", "amax": 448}}])
    check("FP8 scales stay apart", near(f32(q[D + "in_proj_qkv.weight_scale"][2]), 0.5 / 448) and near(f32(q[D + "in_proj_z.weight_scale"][2]), 0.75 / 448), q.keys())
    p = quantize([{"module": "*in_proj_qkv", "weights": "nvfp4"}, {"module": "*.out_proj", "weights": "nvfp4"}], 4)
    check("one of a pair is refused by name", D + "in_proj_qkv" in p.stderr and D + "in_proj_z" in p.stderr and p.stderr.count("\n") == 1, p.stderr)
    check("and leaves nothing", sorted(os.listdir(W)) == ["m", "q", "r.yaml"], os.listdir(W))
    text = subprocess.run([INGOT, "plan", W + "/m", "-r", "nvfp4_default-kv_fp8", "--explain", D + "in_proj_z"], capture_output=True, text=True).stdout
    check("plan --explain says so", "shares its scale with:\n    " + D + "in_proj_qkv.weight\n" in text, text)

finish()
