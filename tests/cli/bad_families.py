#!/usr/bin/env python3
"""Configurations of every family that contradict themselves or their tensors: one sentence that names key and value, status
3 or 4, never a crash, never a guess. Each case changes the config.json of a tiny model of tests/vectors/engine, whose
unchanged form runs."""
import copy, json, os, re, shutil, struct, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INGOT = os.environ.get("INGOT", ROOT + "/build/ingot")
TINY = ROOT + "/tests/vectors/engine/"
WORK = tempfile.mkdtemp()
NAN, INF = float("nan"), float("inf")
bad = 0


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + ("" if ok else ": " + detail))


def part_of(config):
    return config.get("text_config", config.get("llm_config", config))


def put(config, path, value):
    """Sets a dotted path of the language model's object; None removes it."""
    *way, last = path.split(".")
    o = part_of(config)
    for k in way:
        o = o[k]
    if value is None:
        o.pop(last, None)
    else:
        o[last] = value


def try_config(title, model, config, status, words):
    folder = tempfile.mkdtemp(dir=WORK)
    os.symlink(TINY + model + "/model.safetensors", folder + "/model.safetensors")
    with open(folder + "/config.json", "w") as f:
        json.dump(config, f)
    p = subprocess.run([INGOT, "logits", folder, "--ids", IDS, "-o", WORK + "/out.safetensors", "-q"], capture_output=True, text=True, timeout=60)
    lines = p.stderr.strip().split("\n")
    wanted = status if isinstance(status, tuple) else (status,)
    if p.returncode not in wanted:
        check(title, False, f"status {p.returncode}, expected {status}: {p.stderr[:300]}")
    else:
        check(title, len(lines) == 1 and re.search(words, lines[0]) is not None, f"expected '{words}' in: {p.stderr[:300]}")
    shutil.rmtree(folder)


def run(model, path, value, words, status=3):
    config = json.load(open(TINY + model + "/config.json"))
    put(config, path, value)
    try_config(f"{model}: {path} = {value if value is None or len(str(value)) < 40 else '...'}", model, config, status, words)


IDS = WORK + "/ids.json"
json.dump([[1, 2, 3]], open(IDS, "w"))
ALL = ["deci", "gemma3", "gemma3_vision", "gpt_oss", "gpt_oss_mxfp4", "llama", "llama_vision", "ministral3", "mistral", "mistral3", "nemotron", "qwen3", "qwen3_moe"]
CONFIGS = {n: json.load(open(TINY + n + "/config.json")) for n in ALL + ["nemotron_h_vision"]}

run("nemotron_h_vision", "hidden_size", 48, "expected shape")
run("nemotron_h_vision", "hybrid_override_pattern", "M*E", "not part of")
run("nemotron_h_vision", "hybrid_override_pattern", "M*E?", "hybrid_override_pattern")
run("nemotron_h_vision", "num_key_value_heads", 3, "num_key_value_heads 3")
run("nemotron_h_vision", "head_dim", 8, "expected shape")
run("nemotron_h_vision", "n_groups", 3, "n_groups")
for v in ([0.5, 0.1], [-1, 2], [0], "x", [NAN, 1]):
    run("nemotron_h_vision", "time_step_limit", v, "time_step_limit")
for m in ALL:
    c = part_of(CONFIGS[m])
    try_config(f"{m}: as it is", m, CONFIGS[m], 0, "^$")
    run(m, "hidden_size", 48, "hidden_size|expected shape")
    run(m, "hidden_size", 0, "hidden_size.*0")
    run(m, "hidden_size", 1 << 40, "hidden_size.*1099511627776")
    run(m, "hidden_size", None, "hidden_size.*missing")
    run(m, "vocab_size", 65, r"expected shape \[65, 32\].*found \[64, 32\]")
    run(m, "vocab_size", -1, "vocab_size.*-1")
    run(m, "num_attention_heads", 3, "num_attention_heads 3|expected shape" if m == "deci" else "num_attention_heads 3")
    run(m, "num_attention_heads", "4", "num_attention_heads.*4")
    run(m, "num_hidden_layers", 1 << 33, "num_hidden_layers.*8589934592")
    run(m, "num_hidden_layers", 0, "num_hidden_layers.*0")
    run(m, "num_hidden_layers", 4096, "layer|missing|num_hidden_layers")
    run(m, "num_hidden_layers", 1, "not part of|num_hidden_layers|layer_types|mlp_only_layers")
    run(m, "num_hidden_layers", 2.5, "num_hidden_layers.*2.5")
    eps = "norm_eps" if m == "nemotron" else "rms_norm_eps"
    for v in (NAN, INF, -1e-5, 2, "small"):
        run(m, eps, v, eps)
    run(m, "max_position_embeddings", -5, "max_position_embeddings.*-5")
    run(m, "tie_word_embeddings", 3, "tie_word_embeddings")
    if m != "deci":
        run(m, "num_key_value_heads", 3, "num_key_value_heads 3")
        run(m, "num_key_value_heads", 0, "num_key_value_heads.*0")
    if "head_dim" in c:
        run(m, "head_dim", 7, "7 of a head's 7|3 of a head's 7|expected shape" if m != "nemotron" else "of a head's 7")
        run(m, "head_dim", 1 << 30, "head_dim")
    if "intermediate_size" in c:
        run(m, "intermediate_size", 50, "expected shape|multiple of MXFP4")
        run(m, "intermediate_size", None, "intermediate_size.*missing")
    act = "hidden_activation" if m.startswith("gemma3") else "hidden_act"
    run(m, act, "tanh", f"{act}.*tanh", 4)
    for at in ("rope_parameters", "rope_scaling"):
        if at not in c:
            continue
        inner = at + (".full_attention" if "full_attention" in c[at] else "")
        run(m, at, 5, f"{at}.*5")
        run(m, at, [1], at)
        run(m, inner + ".rope_type", "cubic", "cubic", 4)
        run(m, inner + ".rope_type", "dynamic", "dynamic", 4)
        run(m, inner + ".rope_type", 7, "rope_type.*7")
        for v in (0, -2, NAN, INF, "8"):
            run(m, inner + ".factor", v, "factor")
        if part_of(CONFIGS[m])[at].get("rope_type", "linear") != "yarn":
            run(m, inner + ".factor", None, "factor.*missing")
    for v in (1, 0, -1, NAN, INF, "big"):
        run(m, "rope_theta", v, "rope_theta") if "rope_parameters" not in c else None
    if "rope_parameters" in c and "rope_theta" in c["rope_parameters"]:
        for v in (1, 0, -1, NAN, INF, "big"):
            run(m, "rope_parameters.rope_theta", v, "rope_theta")

for key in ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings"):
    for m in ("llama", "deci"):
        run(m, "rope_scaling." + key, None, key + ".*missing")
        run(m, "rope_scaling." + key, 0, key)
        run(m, "rope_scaling." + key, NAN, key)
run("llama", "rope_scaling.high_freq_factor", 1.0, "high_freq_factor 1 .*low_freq_factor 1")
for key in ("beta_fast", "beta_slow", "original_max_position_embeddings"):
    for v in (0, -1, NAN, INF):
        run("ministral3", "rope_parameters." + key, v, key)
for key in ("mscale", "mscale_all_dim", "attention_factor", "llama_4_scaling_beta"):
    for v in (-1, NAN, INF):
        run("ministral3", "rope_parameters." + key, v, key)
run("ministral3", "rope_parameters", None, "rope_parameters.*missing")
run("gpt_oss", "rope_scaling", None, "rope_scaling.*missing")
for m in ("mistral", "gemma3", "gemma3_vision", "gpt_oss"):
    for v in (0, -3, 2.5, "wide"):
        run(m, "sliding_window", v, "sliding_window.*" + str(v))
for m in ("gemma3", "gpt_oss"):
    types = part_of(CONFIGS[m])["layer_types"]
    run(m, "layer_types", types[:-1], f"layer_types.*{len(types)}.*{len(types) - 1}")
    run(m, "layer_types", types + types, f"layer_types.*{len(types)}")
    run(m, "layer_types", ["sliding_attention"] * (len(types) - 1) + ["striped"], "layer_types.*striped")
    run(m, "layer_types", [7] * len(types), "layer_types.*7")
    run(m, "layer_types", "sliding", "layer_types.*sliding")
run("gemma3_vision", "sliding_window_pattern", 0, "sliding_window_pattern.*0")
for v in (0, 1, -1, NAN, "x"):
    run("gemma3_vision", "rope_local_base_freq", v, "rope_local_base_freq")
for v in (0, -4, NAN, INF):
    run("gemma3", "query_pre_attn_scalar", v, "query_pre_attn_scalar")
run("gemma3", "final_logit_softcapping", 30.0, "final_logit_softcapping", 4)
run("gemma3", "attn_logit_softcapping", 30.0, "attn_logit_softcapping", 4)
run("gemma3", "use_bidirectional_attention", True, "use_bidirectional_attention", 4)
run("qwen3", "layer_types", ["full_attention", "full_attention", "sliding_attention"], "layer 2: sliding_attention", 4)
run("qwen3", "layer_types", ["full_attention"], "layer_types.*3 layers.*1")
run("qwen3", "use_sliding_window", True, "use_sliding_window", 4)
for v in (0, 1.5, NAN, -1):
    run("nemotron", "partial_rotary_factor", v, "partial_rotary_factor")
run("nemotron", "partial_rotary_factor", 0.2, "3 of a head's 16")
for m, experts in (("qwen3_moe", "num_experts"), ("gpt_oss", "num_local_experts"), ("gpt_oss_mxfp4", "num_local_experts")):
    n = part_of(CONFIGS[m])[experts]
    run(m, experts, n + 1, "missing|expected shape")
    run(m, experts, n - 1, "not part of|expected shape")
    run(m, experts, 1 << 20, experts)
    run(m, "num_experts_per_tok", n + 1, "num_experts_per_tok.*" + str(n + 1))
    run(m, "num_experts_per_tok", 0, "num_experts_per_tok.*0")
    run(m, "num_experts_per_tok", None, "num_experts_per_tok.*missing")
run("qwen3_moe", "decoder_sparse_step", 0, "decoder_sparse_step.*0")
run("qwen3_moe", "mlp_only_layers", [9], "mlp_only_layers.*9")
run("qwen3_moe", "mlp_only_layers", 1, "mlp_only_layers")
run("qwen3_moe", "moe_intermediate_size", 17, "expected shape")
for v in (0, -7, NAN, INF, "x"):
    run("gpt_oss", "swiglu_limit", v, "swiglu_limit")
run("gpt_oss_mxfp4", "quantization_config", {"quant_method": "mxfp5"}, "mxfp5", 4)
run("gpt_oss_mxfp4", "quantization_config", None, "MXFP4.*neither")
run("gpt_oss", "quantization_config", {"quant_method": "mxfp4"}, "says MXFP4.*plain numbers")
run("gpt_oss_mxfp4", "intermediate_size", 16, "expected shape|multiple of MXFP4's block")
blocks = CONFIGS["deci"]["block_configs"]
run("deci", "block_configs", blocks[:-1], "block_configs")
run("deci", "block_configs", 4, "block_configs.*4")
for path, value, words in (("n_heads_in_group", 3, "n_heads_in_group.*3"), ("n_heads_in_group", 0, "n_heads_in_group.*0"), ("n_heads_in_group", "a", "n_heads_in_group"),
                           ("no_op", 7, "no_op.*7")):
    b = copy.deepcopy(blocks)
    b[0]["attention"][path] = value
    run("deci", "block_configs", b, words)
for value, words in ((NAN, "ffn_mult"), (-1, "ffn_mult"), (0, "ffn_mult"), (1e30, "ffn_mult"), ("x", "ffn_mult")):
    b = copy.deepcopy(blocks)
    b[0]["ffn"]["ffn_mult"] = value
    run("deci", "block_configs", b, words)

# Beyond max_position_embeddings: computed, as the reference does, and said.
short = copy.deepcopy(CONFIGS["llama"])
short["max_position_embeddings"] = 2
folder = tempfile.mkdtemp(dir=WORK)
os.symlink(TINY + "llama/model.safetensors", folder + "/model.safetensors")
json.dump(short, open(folder + "/config.json", "w"))
for args in (["logits", folder, "--ids", IDS, "-o", WORK + "/out.safetensors", "-q"], ["generate", folder, "--ids", "1,2", "-n", "2", "--greedy", "--ignore-eos", "-q"],
             ["eval", folder, "--ids", IDS, "-q"]):
    p = subprocess.run([INGOT] + args, capture_output=True, text=True)
    check(f"{args[0]}: a text beyond max_position_embeddings is computed and said", p.returncode == 0 and re.fullmatch(
        r"ingot \w+: note: 3 tokens are more than max_position_embeddings 2; .*\n", p.stderr) is not None, f"{p.returncode}: {p.stderr}")
for args, status, words in ((["generate", folder, "--ids", "", "-n", "2"], (2, 3), "ids|empty"), (["generate", folder, "--ids", "1,64", "-n", "2"], (3,), "64.*vocabulary of 64"),
                            (["generate", folder, "--ids", "1,-2", "-n", "2"], (2, 3), "-2|ids"), (["generate", folder, "--prompt", "", "-n", "2"], (2, 3), "prompt|empty|tokenizer")):
    p = subprocess.run([INGOT] + args + ["--greedy", "-q"], capture_output=True, text=True)
    check(f"generate {' '.join(args[2:4])}", p.returncode in status and re.search(words, p.stderr) is not None, f"{p.returncode}: {p.stderr}")

# Stacks of experts: what a header can say wrong.
def stack_case(title, model, tensor, change, status, words):
    folder = tempfile.mkdtemp(dir=WORK)
    shutil.copy(TINY + model + "/config.json", folder)
    with open(TINY + model + "/model.safetensors", "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        head, data = json.loads(f.read(n)), f.read()
    change(head, tensor)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    open(folder + "/model.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + data)
    for command in (["inspect", folder], ["logits", folder, "--ids", IDS, "-o", WORK + "/out.safetensors", "-q"]):
        p = subprocess.run([INGOT] + command, capture_output=True, text=True, timeout=60)
        check(f"{command[0]}: {title}", p.returncode == status and re.search(words, p.stderr) is not None, f"status {p.returncode}: {p.stderr[:300]}")
    shutil.rmtree(folder)


def rename(to):
    return lambda h, t: h.update({t.rsplit(".", 1)[0] + "." + to: h.pop(t)})


UP, BLOCKS = "model.layers.1.mlp.experts.gate_up_proj", "model.layers.1.mlp.experts.gate_up_proj_blocks"
stack_case("stack turned over", "gpt_oss", UP, lambda h, t: h[t].update(shape=[4, 64, 32]), 3, r"gate_up_proj.*expected shape \[4, 32, 64\].*found \[4, 64, 32\]")
stack_case("stack flat", "gpt_oss", UP, lambda h, t: h[t].update(shape=[4 * 64 * 32]), 3, "gate_up_proj.*expected shape")
stack_case("stack of an integer type", "gpt_oss", UP, lambda h, t: h[t].update(dtype="I16"), 3, "gate_up_proj.*I16")
stack_case("stack missing", "gpt_oss", UP, rename("surprise"), 3, "gate_up_proj.*missing")
stack_case("packed stack of bf16", "gpt_oss_mxfp4", BLOCKS, lambda h, t: h[t].update(dtype="BF16", shape=[4, 64, 1, 8]), 3, "gate_up_proj_blocks.*U8.*BF16")
stack_case("packed stack without scales", "gpt_oss_mxfp4", BLOCKS.replace("blocks", "scales"), rename("surprise"), 3, "no quantization type|gate_up_proj|surprise")
stack_case("packed stack of another shape", "gpt_oss_mxfp4", BLOCKS, lambda h, t: h[t].update(shape=[4, 64, 16, 1]), 3, "gate_up_proj_blocks.*expected shape")
stack_case("one expert beside its stack", "gpt_oss", "model.layers.1.post_attention_layernorm.weight", rename("mlp.experts.0.gate_proj.weight"), 3, "there twice|missing|not part of")
shutil.rmtree(WORK)
sys.exit(bad > 0)
