#!/usr/bin/env python3
"""What `ingot plan` says of the memory of a forward pass is what the pass takes, within 10 % either way: peaks as the kernel
reports them for the process (ru_maxrss), less what the process has before the pass. Checkpoints of several families are made
here, large enough that activations, weights and states are many times the process itself. MEMORY_ALL=1 (make check-memory)
runs every family in both arithmetics with one thread and two; otherwise each once."""
import json, os, shutil, subprocess, sys, tempfile

INGOT, MAKE = os.environ["INGOT"], os.path.join(os.environ["INGOT_TOOLS"], "../../bench/make_checkpoint")
ALL = os.environ.get("MEMORY_ALL")
MIB = 1 << 20
with open(INGOT, "rb") as program:
    if b"__asan_init" in program.read():
        print("skip memory: the address sanitizer's own memory is counted too")
        sys.exit(0)

COMMON = {"hidden_size": 1024, "vocab_size": 8192, "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 64, "rms_norm_eps": 1e-5,
          "hidden_act": "silu", "tie_word_embeddings": False, "max_position_embeddings": 8192, "rope_theta": 10000.0, "bos_token_id": 1, "eos_token_id": 2}
FAMILIES = {
    "llama": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 2, "intermediate_size": 4096},
    "qwen3_moe": {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_hidden_layers": 2, "intermediate_size": 2048, "num_experts": 32,
                  "num_experts_per_tok": 4, "moe_intermediate_size": 768, "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []},
    "qwen3_next": {"architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next", "num_hidden_layers": 2, "full_attention_interval": 2,
                   "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_num_key_heads": 8, "linear_num_value_heads": 16, "linear_conv_kernel_dim": 4,
                   "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512, "partial_rotary_factor": 0.25,
                   "mlp_only_layers": [1], "intermediate_size": 2048, "norm_topk_prob": True},
    "deepseek_v3": {"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "num_hidden_layers": 2, "num_key_value_heads": 16, "q_lora_rank": 512,
                    "kv_lora_rank": 256, "qk_nope_head_dim": 64, "qk_rope_head_dim": 32, "v_head_dim": 64, "intermediate_size": 4096, "first_k_dense_replace": 1,
                    "n_routed_experts": 16, "num_experts_per_tok": 4, "n_group": 4, "topk_group": 2, "n_shared_experts": 1, "moe_intermediate_size": 512,
                    "norm_topk_prob": True, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "topk_method": "noaux_tc"},
    "gpt_oss": {"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "num_hidden_layers": 2, "intermediate_size": 768, "num_local_experts": 16,
                "num_experts_per_tok": 4, "sliding_window": 128, "attention_bias": True, "swiglu_limit": 7.0, "rope_scaling": {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 4096},
                "layer_types": ["sliding_attention", "full_attention"]},
    "nemotron_h": {"architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", "intermediate_size": 4096, "mamba_num_heads": 32, "mamba_head_dim": 64,
                   "ssm_state_size": 128, "n_groups": 8, "conv_kernel": 4, "n_routed_experts": 16, "num_experts_per_tok": 4, "n_shared_experts": 1,
                   "moe_intermediate_size": 768, "moe_shared_expert_intermediate_size": 1536, "moe_latent_size": 512, "n_group": 1, "topk_group": 1,
                   "norm_topk_prob": True, "routed_scaling_factor": 2.5, "layer_norm_epsilon": 1e-5, "mlp_hidden_act": "relu2", "time_step_limit": [0.0, float("inf")],
                   "hybrid_override_pattern": "ME*-"},
}


def ask(*args):
    p = subprocess.run([INGOT, *args, "--json", "-q"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if p.returncode:
        sys.exit(f"FAIL ingot {' '.join(args)}: {p.stderr}")
    return json.loads(p.stdout.splitlines()[-1])


def peak_of(*args):
    """What the command said, and its peak by the kernel's count."""
    with tempfile.TemporaryFile() as out:
        p = subprocess.Popen([INGOT, *args, "--json", "-q"], stdout=out)
        _, status, usage = os.wait4(p.pid, 0)
        if status:
            sys.exit(f"FAIL ingot {' '.join(args)} ended with {status}")
        out.seek(0)
        return json.loads(out.read().splitlines()[-1]), usage.ru_maxrss * 1024


def compare(name, base, said, was, least=80 * MIB):
    said, was = said - base, was - base
    ok = said >= least and abs(was - said) <= said / 10
    print(("ok " if ok else "FAIL ") + f"{name}: {was / MIB:.0f} MiB beside the process, forecast {said / MIB:.0f} ({was / said - 1:+.1%})", flush=True)


def cases():
    for i, family in enumerate(FAMILIES):
        for compute in ("fp32", "bf16"):
            for threads in ("1", "2"):
                if ALL or (i % 2 == (compute == "bf16") and i // 2 % 2 == (threads == "1")):
                    yield family, compute, threads


with tempfile.TemporaryDirectory() as tmp:
    made = set()
    # Several calls, one of which ends inside of the long text; and one that is a single call.
    long = [[(7 * i + j) % 8000 for j in range(n)] for i, n in enumerate([600, 700, 1500, 300])]
    json.dump(long, open(tmp + "/long.json", "w"))
    json.dump([long[2], long[3]], open(tmp + "/short.json", "w"))
    for family, compute, threads in cases():
        folder = f"{tmp}/{family}"
        if family not in made:
            for old in made:
                shutil.rmtree(f"{tmp}/{old}")
            made = {family}
            json.dump({**COMMON, **FAMILIES[family]}, open(f"{tmp}/{family}.json", "w"))
            subprocess.run([MAKE, folder, f"{tmp}/{family}.json"], check=True, stdout=subprocess.DEVNULL)
        how = ["--compute", compute, "-t", threads]
        for ids in ("long", "short") if ALL else ("long",):
            data = ["--ids", f"{tmp}/{ids}.json", "--max-tokens", "4096"]
            plan = ask("plan", folder, *data, *how)["memory"]
            said, was = peak_of("eval", folder, *data, *how)
            label = f"{family}, {compute}, {threads} threads, {ids}"
            compare(label, plan["process_bytes"], plan["stream"]["peak_bytes"], was)
            own = said["memory"]
            same = abs(own["expected_bytes"] - plan["stream"]["peak_bytes"]) < 2 * MIB and abs(own["peak_bytes"] - was) < 2 * MIB
            print(("ok " if same else "FAIL ") + f"{label}: eval says what plan said: {own}")
        plan = ask("plan", folder, "--generate", "1200", *how)["memory"]
        prompt = ",".join(str(t) for t in long[2][:1190])
        _, was = peak_of("generate", folder, "--ids", prompt, "-n", "10", "--ignore-eos", *how)
        compare(f"{family}, {compute}, {threads} threads, a session", plan["process_bytes"], plan["session"]["peak_bytes"], was)
