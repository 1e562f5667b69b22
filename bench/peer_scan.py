#!/usr/bin/env python3
"""Prefill of recurrent layers beside transformers' CPU path, in one run: the recurrence alone and one whole layer, per
token, for a text of 2048 and of 16384 tokens; and how far the two layers' outputs lie apart on 300 tokens.

usage: peer_scan.py BENCH_SCAN INGOT [THREADS]    (needs torch and transformers; made with 2.15.0 and 5.23.0)
Shapes: a Mamba-2 layer of Nemotron 3 Nano 30B, a DeltaNet layer of Qwen3-Next; random fp32 weights, fp32 arithmetic;
the layers then in bf16 too."""
import json, os, re, struct, subprocess, sys, tempfile, time

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import torch
import transformers
from transformers.models.nemotron_h import modeling_nemotron_h as nemotron
from transformers.models.qwen3_next import modeling_qwen3_next as qwen

bench, ingot = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
threads = int(sys.argv[3]) if len(sys.argv) > 3 else 2
torch.set_num_threads(threads)
torch.manual_seed(1)
LENGTHS = (2048, 16384)


def best_us(call, n, times=3):
    best = 1e9
    with torch.no_grad():
        for _ in range(times):
            start = time.time()
            call()
            best = min(best, time.time() - start)
    return best / n * 1e6


def mamba_scan(n):
    x, b, c = torch.randn(1, n, 64, 64), torch.randn(1, n, 8, 128), torch.randn(1, n, 8, 128)
    dt, a = torch.randn(1, n, 64), -torch.rand(64)
    return lambda: nemotron.mamba2_chunk_scan(x, dt, a, b, c, 128, D=torch.ones(64), dt_bias=torch.zeros(64), dt_softplus=True)


def delta_scan(n):
    q, k, v = torch.randn(1, n, 16, 128), torch.randn(1, n, 16, 128), torch.randn(1, n, 32, 128)
    g, beta = -torch.rand(1, n, 32), torch.rand(1, n, 32)
    return lambda: qwen.torch_chunk_gated_delta_rule(q, k, v, g, beta, use_qk_l2norm_in_kernel=True)


def mamba_model():
    return nemotron.NemotronHForCausalLM(transformers.NemotronHConfig(
        vocab_size=256, hidden_size=2688, layers_block_type=["mamba", "attention"], num_attention_heads=2, num_key_value_heads=2, head_dim=64,
        mamba_num_heads=64, mamba_head_dim=64, ssm_state_size=128, n_groups=8, conv_kernel=4, chunk_size=128, intermediate_size=64))


def delta_model():
    return qwen.Qwen3NextForCausalLM(transformers.Qwen3NextConfig(
        vocab_size=256, hidden_size=2048, num_hidden_layers=2, layer_types=["linear_attention", "full_attention"], num_attention_heads=2,
        num_key_value_heads=2, head_dim=64, linear_num_key_heads=16, linear_num_value_heads=32, linear_key_head_dim=128,
        linear_value_head_dim=128, linear_conv_kernel_dim=4, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=32,
        shared_expert_intermediate_size=32, intermediate_size=64, mlp_only_layers=[0, 1]))


def layer_rows(model, ids):
    """What the first layer's mixer adds to the residual stream: the block that the bench runs."""
    layer = model.model.layers[0]
    x = model.model.embed_tokens(ids) if hasattr(model.model, "embed_tokens") else model.model.embeddings(ids)
    if hasattr(layer, "linear_attn"):
        return x, lambda: layer.linear_attn(layer.input_layernorm(x)) + x
    return x, lambda: layer.mixer(layer.norm(x)) + x


def race_layer(name, model, folder, *compute):
    out = subprocess.run([bench, "-t", str(threads), folder, *compute], capture_output=True, text=True)
    if out.returncode:
        sys.exit(out.stderr)
    own = [float(v) for v in re.search(r"block: ([\d.]+) us/token at 2048, ([\d.]+)", out.stdout).groups()]
    peer = []
    for n in LENGTHS:
        _, call = layer_rows(model, torch.arange(n)[None] * 7919 % 251)
        peer.append(best_us(call, n))
    print(f"{name} layer{''.join(' ' + c for c in compute)}: ours {own[0]:.1f}, {own[1]:.1f} us/token (x {own[1] / own[0]:.2f}); transformers "
          f"{peer[0]:.1f}, {peer[1]:.1f} (x {peer[1] / peer[0]:.2f}); {peer[0] / own[0]:.1f} and {peer[1] / own[1]:.1f} times as fast", flush=True)


def hidden_of(path):
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        t = json.loads(f.read(n))["0.hidden.1"]
        f.seek(8 + n + t["data_offsets"][0])
        return torch.frombuffer(bytearray(f.read(t["data_offsets"][1] - t["data_offsets"][0])), dtype=torch.float32).view(t["shape"])


def whole_layer(model, ids):
    with torch.no_grad():
        return model(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states[1][0]


ours = subprocess.run([bench, "-t", str(threads)], capture_output=True, text=True, check=True).stdout
print(ours, end="")
for name, scan, make in (("nemotron_h", mamba_scan, mamba_model), ("qwen3_next", delta_scan, delta_model)):
    own = [float(v) for v in re.search(name + r" +scan: +([\d.]+) us/token at 2048, +([\d.]+) at 16384", ours).groups()]
    peer = [best_us(scan(n), n) for n in LENGTHS]
    print(f"{name} recurrence: ours {own[0]:.1f}, {own[1]:.1f} us/token (x {own[1] / own[0]:.2f}); transformers {peer[0]:.1f}, {peer[1]:.1f} "
          f"(x {peer[1] / peer[0]:.2f}); {peer[0] / own[0]:.1f} and {peer[1] / own[1]:.1f} times as fast", flush=True)
    with tempfile.TemporaryDirectory() as tmp:
        model = make().float().eval()
        with torch.no_grad():
            for k, v in model.named_parameters():
                if v.dim() >= 2 and "conv" not in k:
                    v.normal_(0, v.shape[-1] ** -0.5)
        model.save_pretrained(tmp)
        race_layer(name, model, tmp)
        ids = torch.randint(0, 256, (1, 300))
        with open(tmp + "/ids.json", "w") as f:
            json.dump(ids.tolist(), f)
        subprocess.run([ingot, "logits", tmp, "--ids", tmp + "/ids.json", "-o", tmp + "/out.safetensors", "--hidden", "-q"], check=True)
        got, want = hidden_of(tmp + "/out.safetensors"), whole_layer(model, ids)
        print(f"{name} layer on 300 tokens: largest difference {float((got - want).abs().max()):.1e}, largest value {float(want.abs().max()):.1f}", flush=True)
        model = model.bfloat16()
        model.save_pretrained(tmp)
        race_layer(name, model, tmp, "bf16")
