#!/usr/bin/env python3
"""Writes the encoders of this folder and what transformers in fp32 makes of ids.json: make_encoders.py [DIR]

Bodies are transformers' LlamaModel and Qwen3Model, run on one text at a time with a mask of zeros (eager attention, no
cache), which is what NVIDIA's bidirectional classes do; pooling and score head as NeMo AutoModel describes them, written
here. Where transformers has the class itself (Qwen3ForSequenceClassification, and `is_causal: false` of either body), the
script fails unless that gives the same. Weights are random and bf16 holds them."""
import json, os, sys
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaModel, Qwen3Config, Qwen3ForSequenceClassification, Qwen3Model

OUT = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
SIZES = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "tie_word_embeddings": True}
POOLINGS = {"avg": lambda h: h.sum(0) / len(h), "weighted_avg": lambda h: h.sum(0), "cls": lambda h: h[0], "last": lambda h: h[-1]}
# One token, a few, more than a block of queries, more than a call's rows of a causal model, and a short one behind it.
IDS = [[(7 * i * i + 3 * i + 11 * k) % 96 for i in range(n)] for k, n in enumerate((1, 9, 150, 2100, 33))]
torch.manual_seed(7)
torch.set_num_threads(1)


def body(cls, cfg):
    m = cls._from_config(cfg, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, p in m.named_parameters():
            wide = 1.0 if "embed" in name else 0.2
            p.copy_((1 + 0.1 * torch.randn_like(p) if p.dim() == 1 else wide * torch.randn_like(p)).bfloat16().float())
    return m


def hidden(m, causal):
    """[tokens, hidden] of every text."""
    out = []
    for ids in IDS:
        n = len(ids)
        mask = torch.zeros(1, 1, n, n)
        if causal:
            mask = mask.masked_fill(torch.ones(n, n).triu(1).bool(), float("-inf"))
        with torch.no_grad():
            out.append(m(input_ids=torch.tensor([ids]), attention_mask=mask, use_cache=False).last_hidden_state[0])
    return out


def agrees(a, b, what):
    worst = max(float((x - y).abs().max()) for x, y in zip(a, b))
    print(f"{what}: {worst:.1e}")
    if not worst < 1e-4:
        sys.exit(f"{what}: differs by {worst}")


def by_switch(m):
    """The same body with the mask that transformers makes of is_causal."""
    m.config.is_causal = False
    with torch.no_grad():
        out = [m(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0] for ids in IDS]
    del m.config.is_causal
    return out


def write(name, config, state, expected):
    folder = f"{OUT}/{name}"
    os.makedirs(folder, exist_ok=True)
    config = {k: v for k, v in config.items() if v is not None}
    json.dump(config, open(folder + "/config.json", "w"), indent=1, sort_keys=True)
    save_file({k: v.detach().bfloat16().contiguous() for k, v in state.items()}, folder + "/model.safetensors")
    json.dump({k: [[float("%.8g" % x) for x in t.tolist()] for t in v] for k, v in expected.items()}, open(folder + "/expected.json", "w"))


def plain(cfg, **more):
    d = cfg.to_diff_dict()
    for k in ("transformers_version", "architectures", "model_type", "id2label", "label2id", "is_causal"):
        d.pop(k, None)
    return {**d, **more, "dtype": "bfloat16"}


json.dump(IDS, open(OUT + "/ids.json", "w"))
rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64}

cfg = LlamaConfig(**SIZES, rope_parameters=rope)
m = body(LlamaModel, cfg)
both, causal = hidden(m, False), hidden(m, True)
agrees(both, by_switch(m), "llama, is_causal false")
write("llama_embed", plain(cfg, architectures=["LlamaBidirectionalModel"], model_type="llama_bidirec", pooling="avg", temperature=0.02),
      m.state_dict(), {**{p: [f(h) for h in both] for p, f in POOLINGS.items()}, "causal avg": [POOLINGS["avg"](h) for h in causal]})

m = body(LlamaModel, cfg)
score = (0.3 * torch.randn(3, 32)).bfloat16().float()
both = hidden(m, False)
write("llama_rerank",
      plain(cfg, architectures=["LlamaBidirectionalForSequenceClassification"], model_type="llama_bidirec", pooling="avg", temperature=0.2,
            id2label={"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}),
      {**{"model." + k: v for k, v in m.state_dict().items()}, "score.weight": score},
      {p: [score @ f(h) / 0.2 for h in both] for p, f in POOLINGS.items()})

cfg = Qwen3Config(**SIZES, head_dim=16, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}, num_labels=1, pad_token_id=95)
m = body(Qwen3Model, cfg)
both, causal = hidden(m, False), hidden(m, True)
agrees(both, by_switch(m), "qwen3, is_causal false")
score = (0.3 * torch.randn(1, 32)).bfloat16().float()
c = Qwen3ForSequenceClassification._from_config(cfg, attn_implementation="eager").eval()
c.load_state_dict({**{"model." + k: v for k, v in m.state_dict().items()}, "score.weight": score})
last = [score @ h[-1] for h in causal]
c.config.pad_token_id = c.config.get_text_config().pad_token_id = None # one text at a time has no padding
with torch.no_grad():
    agrees(last, [c(input_ids=torch.tensor([ids]), use_cache=False).logits[0] for ids in IDS], "Qwen3ForSequenceClassification")
write("qwen3", plain(cfg, architectures=["Qwen3ForSequenceClassification"], model_type="qwen3", num_labels=1),
      {**{"model." + k: v for k, v in m.state_dict().items()}, "score.weight": score},
      {"scores": last, "bidirectional avg": [POOLINGS["avg"](h) for h in both], "causal last": [POOLINGS["last"](h) for h in causal]})
