#!/usr/bin/env python3
"""Makes base/, and for every adapter here NAME/ (as PEFT saves it) and NAME.merged.safetensors (as PEFT merges it): what
`ingot convert --merge-lora` is held against. Random numbers from a fixed seed. Made with peft 0.21.2, transformers 5.23, torch 2.15.
usage: make_lora.py (writes beside itself)"""
import os, shutil, torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
ATTENTION, MLP = ["q_proj", "v_proj", "o_proj"], ["gate_proj", "down_proj"]
CONFIGS = {
    "plain": LoraConfig(r=4, lora_alpha=6, target_modules=ATTENTION + MLP),
    "patterns": LoraConfig(r=4, lora_alpha=8, target_modules=ATTENTION + MLP, rank_pattern={"down_proj": 2, "layers.1.self_attn.q_proj": 3},
                           alpha_pattern={"layers.0.*.v_proj": 5, "gate_proj": 1}, modules_to_save=["lm_head"]),
    "rslora": LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=["embed_tokens", "up_proj", "k_proj"]),
    "dora": LoraConfig(r=4, lora_alpha=6, use_dora=True, target_modules=ATTENTION + MLP),
}


def base():
    torch.manual_seed(7)
    config = LlamaConfig(vocab_size=48, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                         max_position_embeddings=64, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)
    return LlamaForCausalLM(config).float()


os.chdir(HERE)
for name in ["base", *CONFIGS]:
    shutil.rmtree(name, ignore_errors=True)
base().save_pretrained("base")
for name, config in CONFIGS.items():
    model = get_peft_model(base(), config)
    torch.manual_seed(11)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "lora_" in key and "magnitude" not in key or "modules_to_save" in key:
                p.copy_(torch.randn_like(p) * 0.3)
            if "magnitude" in key:
                p.mul_(1 + 0.2 * torch.randn_like(p))
    model.save_pretrained(name)
    merged = model.merge_and_unload()
    save_file({k: v.contiguous() for k, v in merged.state_dict().items()}, name + ".merged.safetensors")
    for extra in ("README.md", ".gitattributes"):
        if os.path.exists(f"{name}/{extra}"):
            os.remove(f"{name}/{extra}")
