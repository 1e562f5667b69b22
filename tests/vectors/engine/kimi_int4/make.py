"""A tiny Kimi K2-Thinking: routed experts INT4 in groups of 32, packed by compressed-tensors itself; logits of transformers
in fp32 on the weights that compressed-tensors decompresses (with the stored scales widened to fp32 before, so that its
product is not rounded to bf16).

usage: make.py FOLDER      Needs: pip install torch transformers compressed-tensors safetensors.
"""
import json, os, sys, tempfile
os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from safetensors.torch import load_file, save_file
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM
from compressed_tensors.compressors import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

out = sys.argv[1]
sizes = dict(vocab_size=64, hidden_size=64, intermediate_size=96, moe_intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
             num_key_value_heads=2, n_shared_experts=1, n_routed_experts=4, routed_scaling_factor=2.827, kv_lora_rank=32, q_lora_rank=48,
             qk_rope_head_dim=8, v_head_dim=16, qk_nope_head_dim=16, n_group=1, topk_group=1, num_experts_per_tok=2, first_k_dense_replace=1,
             norm_topk_prob=True, hidden_act="silu", max_position_embeddings=4096, rms_norm_eps=1e-5, tie_word_embeddings=False)
rope = {"type": "yarn", "factor": 64.0, "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "original_max_position_embeddings": 64}
config = DeepseekV3Config(**sizes, rope_theta=50000.0, rope_scaling=dict(rope))
torch.manual_seed(5)
model = DeepseekV3ForCausalLM(config)
with torch.no_grad():
    for name, p in model.named_parameters():
        p.copy_(1 + 0.1 * torch.randn_like(p) if "norm" in name else torch.randn_like(p) * (1.0 if "embed" in name else p.shape[-1] ** -0.5))
    for name, b in model.named_buffers():
        if "e_score_correction_bias" in name:
            b.copy_(0.1 * torch.randn_like(b))
scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(num_bits=4, type="int", symmetric=True, strategy="group", group_size=32))
with tempfile.TemporaryDirectory() as tmp:
    model.save_pretrained(tmp)
    plain = load_file(tmp + "/model.safetensors")
stored, decoded = {}, {}
for name, w in plain.items():
    if "e_score_correction_bias" in name:
        stored[name] = decoded[name] = w
    elif ".mlp.experts." in name:
        module = name[: -len(".weight")]
        w = w.to(torch.bfloat16)
        scale = (w.float().reshape(w.shape[0], -1, 32).abs().amax(-1) / 7.5).to(torch.bfloat16)
        packed = PackedQuantizationCompressor.compress({"weight": w, "weight_scale": scale}, scheme)
        for part, t in packed.items():
            stored[f"{module}.{part}"] = t.to(torch.int32) if part == "weight_shape" else t.contiguous()
        decoded[name] = PackedQuantizationCompressor.decompress({**packed, "weight_scale": scale.float()}, scheme)["weight"]
        bf16 = PackedQuantizationCompressor.decompress(packed, scheme)["weight"]
        assert torch.equal(decoded[name].to(torch.bfloat16), bf16)
    else:
        stored[name] = w.to(torch.bfloat16)
        decoded[name] = stored[name].float()
os.makedirs(out + "/golden", exist_ok=True)
save_file(stored, out + "/model.safetensors", {"format": "pt"})
quant = {"quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed", "kv_cache_scheme": None,
         "global_compression_ratio": None,
         "config_groups": {"group_0": {"targets": ["Linear"], "input_activations": None, "output_activations": None,
                                       "weights": {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32,
                                                   "dynamic": False, "actorder": None, "block_structure": None, "observer": "minmax", "observer_kwargs": {}}}},
         "ignore": ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"]}
with open(out + "/config.json", "w") as f:
    json.dump({"architectures": ["DeepseekV3ForCausalLM"], "model_type": "kimi_k2", **sizes, "rope_theta": 50000.0, "rope_scaling": rope,
               "scoring_func": "sigmoid", "topk_method": "noaux_tc", "moe_layer_freq": 1, "num_nextn_predict_layers": 0, "ep_size": 1,
               "attention_bias": False, "bos_token_id": 0, "eos_token_id": 1, "torch_dtype": "bfloat16", "quantization_config": quant}, f, indent=1)
    f.write("\n")
with tempfile.TemporaryDirectory() as tmp:
    save_file(decoded, tmp + "/model.safetensors", {"format": "pt"})
    config.architectures = ["DeepseekV3ForCausalLM"]
    config.save_pretrained(tmp)
    model = DeepseekV3ForCausalLM.from_pretrained(tmp, dtype=torch.float32, attn_implementation="eager").eval()
golden = {}
for p, n in enumerate((29, 11)):
    ids = torch.randint(0, 64, (1, n))
    with torch.no_grad():
        golden[f"p{p}.input_ids"] = ids[0].to(torch.int32)
        golden[f"p{p}.logits"] = model(input_ids=ids).logits[0].float().contiguous()
        text = ids
        for _ in range(16):
            text = torch.cat([text, model(input_ids=text).logits[:, -1:].argmax(-1)], 1)
        golden[f"p{p}.greedy_ids"] = text[0, n:].to(torch.int32)
save_file(golden, out + "/golden/golden.safetensors")
print("logits std", golden["p0.logits"].std().item())
