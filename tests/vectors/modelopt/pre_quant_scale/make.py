#!/usr/bin/env python3
"""Checkpoints with pre_quant_scale, as ModelOpt's AWQ leaves them where nothing in front of a linear can be folded, and their logits.

usage: make.py ENGINE_VECTORS_DIR OUT_DIR        (torch, transformers, nvidia-modelopt, safetensors)

Calibration and export are ModelOpt's. Its fake quantization to NVFP4, with which AWQ tries scales, needs a GPU; on a CPU a stand-in
written here takes its place, so that which scales were found depends on it, what they mean does not. The logits are transformers'
in fp32 on plain weights: codes times scales, times pre_quant_scale column by column, decoded here."""
import copy, json, os, shutil, sys
os.environ["HF_HUB_OFFLINE"] = "1"
import torch
torch.set_num_threads(1)
torch.manual_seed(7)
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
import modelopt.torch.quantization as mtq
import modelopt.torch.quantization.tensor_quant as tensor_quant
from modelopt.torch.export import export_hf_checkpoint

E2M1 = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6])
SIGNED = torch.cat([E2M1, -E2M1])


def on_cpu(inputs, block_size, amax, *bits):
    s2, shape = amax.float().max() / 2688, inputs.shape
    b = inputs.float().reshape(-1, 16)
    e = (b.abs().amax(1, keepdim=True) / (6 * s2)).clamp(2**-9, 448).to(torch.float8_e4m3fn).float() * s2
    code = ((b / e).abs().clamp(max=6).unsqueeze(-1) - E2M1).abs().argmin(-1)
    return (E2M1[code] * b.sign() * e).reshape(shape).to(inputs.dtype)


def decode(t, module):
    v, s = t[module + ".weight"], t[module + ".weight_scale"].float()
    if module + ".weight_scale_2" in t:
        codes = torch.stack([v & 15, v >> 4], -1).reshape(v.shape[0], -1).long()
        return SIGNED[codes] * (s * t[module + ".weight_scale_2"]).repeat_interleave(16, 1)
    codes = torch.stack([v & 15, v >> 4], 1).reshape(-1, v.shape[1]).to(torch.int8)
    return torch.where(codes > 7, codes - 16, codes).float() * s.repeat_interleave(codes.shape[1] // s.shape[1], 1)


def one(source, out, config, mlp):
    model = AutoModelForCausalLM.from_pretrained(source, dtype="auto").eval()
    ids = [[(7 + i * 37 + j * 11) % model.config.vocab_size for i in range(32)] for j in range(8)]
    config = copy.deepcopy(config)
    if not mlp:                                            # 48 columns are no multiple of 32
        config["quant_cfg"].append({"quantizer_name": "*mlp*", "enable": False})
        for line in config["quant_cfg"]:
            sizes = (line.get("cfg") or {}).get("block_sizes") or {}
            if -1 in sizes:
                sizes[-1] = 32
    model = mtq.quantize(model, config, lambda m: [m(input_ids=torch.tensor([row])) for row in ids])
    shutil.rmtree(out, ignore_errors=True)
    with torch.inference_mode():
        export_hf_checkpoint(model, export_dir=out)
    os.remove(out + "/generation_config.json")
    t = load_file(out + "/model.safetensors")
    modules = [k[:-len(".weight_scale")] for k in t if k.endswith(".weight_scale")]
    plain = {k: v.float() for k, v in t.items() if k.rpartition(".")[0] not in modules}
    for m in modules:
        plain[m + ".weight"] = decode(t, m) * t.get(m + ".pre_quant_scale", torch.ones(())).float()
    reference = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    left = reference.load_state_dict(plain, strict=False)
    assert not left.unexpected_keys and left.missing_keys in ([], ["lm_head.weight"]), left
    reference.tie_weights()
    logits = {f"{i}.logits": reference(input_ids=torch.tensor([row])).logits[0].detach().contiguous() for i, row in enumerate(ids[:2])}
    for m in modules:
        if m + ".pre_quant_scale" in t:
            logits[m + ".weight"] = plain[m + ".weight"].contiguous()
    os.mkdir(out + "/golden")
    save_file(logits, out + "/golden/golden.safetensors")
    json.dump(ids[:2], open(out + "/golden/ids.json", "w"))


tensor_quant.dynamic_block_quantize_op = on_cpu
with torch.no_grad():
    for name, config, mlp in (("nvfp4", mtq.NVFP4_AWQ_LITE_CFG, True), ("int4", mtq.INT4_AWQ_CFG, False)):
        one(sys.argv[1] + "/qwen3", f"{sys.argv[2]}/{name}", config, mlp)
