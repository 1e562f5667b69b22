#!/usr/bin/env python3
"""GGUF written and read, held against a reader of GGUF and an encoder of Q8_0 that stand here, independent of the program:
small models of every family, each tensor's name, type, shape and bytes; back to a folder, byte for byte; the same logits,
bit for bit. With the shared fixtures also the goldens of the reference implementation. llama.cpp itself:
tests/interop/check_gguf.sh."""
import json, math, os, random, struct, subprocess, sys, tempfile
from array import array

INGOT = os.environ.get("INGOT", "build/ingot")
SHARED = os.environ.get("INGOT_SHARED", "../shared")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT + "/tests/tools")
from tensors import save as save_tensors, tensors as load

bad = 0


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + ("" if ok else ": " + str(detail)[:500]), flush=True)


def run(*args, status=0):
    p = subprocess.run([INGOT, *args], capture_output=True, text=True)
    if p.returncode != status:
        check(" ".join(args), False, f"status {p.returncode}, expected {status}: {p.stderr}")
    return p


# ---- safetensors ----

def save(folder, tensors, config):
    os.makedirs(folder, exist_ok=True)
    save_tensors(folder, tensors)
    with open(folder + "/config.json", "w") as f:
        json.dump(config, f)


# ---- GGUF ----

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
TYPES = {0: ("F32", 1, 4), 1: ("F16", 1, 2), 8: ("Q8_0", 32, 34), 30: ("BF16", 1, 2)}


def read_gguf(path):
    with open(path, "rb") as f:
        b = f.read()
    at = 0

    def take(form):
        nonlocal at
        v = struct.unpack_from("<" + form, b, at)[0]
        at += struct.calcsize("<" + form)
        return v

    def text():
        nonlocal at
        n = take("Q")
        at += n
        return b[at - n:at].decode()

    def value(kind):
        if kind == 8:
            return text()
        if kind == 9:
            kind, n = take("I"), take("Q")
            return [value(kind) for _ in range(n)]
        return take(SCALARS[kind])

    assert b[:4] == b"GGUF" and struct.unpack_from("<I", b, 4)[0] == 3
    at = 8
    n_tensors, n_values = take("Q"), take("Q")
    values, tensors = {}, {}
    for _ in range(n_values):
        key = text()
        assert key not in values, key
        values[key] = value(take("I"))
    infos = []
    for _ in range(n_tensors):
        name = text()
        shape = [take("Q") for _ in range(take("I"))][::-1]
        infos.append((name, shape, take("I"), take("Q")))
    start = -(-at // 32) * 32
    for name, shape, kind, offset in infos:
        dtype, block, size = TYPES[kind]
        assert offset % 32 == 0 and name not in tensors
        tensors[name] = (dtype, shape, b[start + offset:start + offset + math.prod(shape) // block * size])
    return values, tensors


# ---- numbers: every operation in double and rounded once, which for + - * / gives what fp32 gives ----

def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def floats(t):
    dtype, _, raw = t
    if dtype == "F32":
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    if dtype == "F16":
        return list(struct.unpack(f"<{len(raw) // 2}e", raw))
    if dtype == "BF16":
        return list(struct.unpack(f"<{len(raw) // 2}f", b"".join(b"\0\0" + raw[i:i + 2] for i in range(0, len(raw), 2))))
    out = []
    for i in range(0, len(raw), 34):
        d = struct.unpack_from("<e", raw, i)[0]
        out += [d * q for q in struct.unpack_from("<32b", raw, i + 2)]
    return out


def q8_0(values):
    out = b""
    for i in range(0, len(values), 32):
        w = values[i:i + 32]
        s = f32(max(map(abs, w)) / 127)
        r = f32(1 / s) if s else 0.0
        codes = [math.copysign(math.floor(abs(f32(x * r)) + 0.5), x) for x in w]
        out += struct.pack("<e32b", s, *map(int, codes))
    return out


def pack(dtype, values):
    if dtype == "Q8_0":
        return q8_0(values)
    if dtype == "BF16":       # nearest, ties to even
        u = struct.unpack(f"<{len(values)}I", struct.pack(f"<{len(values)}f", *values))
        return b"".join(struct.pack("<H", (x + 0x7FFF + (x >> 16 & 1)) >> 16) for x in u)
    return struct.pack(f"<{len(values)}" + ("f" if dtype == "F32" else "e"), *values)


# ---- small models ----

rnd = random.Random(5)


def some(*shape, dtype="BF16", positive=False, scale=0.2):
    n = math.prod(shape)
    v = [rnd.gauss(0, 1) * scale for _ in range(n)]
    v = [abs(x) + 0.1 for x in v] if positive else v
    return (dtype, list(shape), pack(dtype, v))


V, H, L = 48, 32, 2


def decoder(family, **more):
    hd, nh, nkv, ff = 16, 2, 1, 64
    if family == "nemotron":
        nh = 2
    c = {"architectures": [{"llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM", "qwen3_moe": "Qwen3MoeForCausalLM", "nemotron": "NemotronForCausalLM", "gemma3_text": "Gemma3ForCausalLM"}[family]],
         "model_type": family, "vocab_size": V, "hidden_size": H, "num_hidden_layers": L, "num_attention_heads": nh, "num_key_value_heads": nkv, "intermediate_size": ff,
         "rope_theta": 10000.0, "max_position_embeddings": 128, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2}
    t = {"model.embed_tokens.weight": some(V, H, scale=1)}
    norm = lambda: some(H, positive=family != "nemotron", scale=0.5)
    for i in range(L):
        p = f"model.layers.{i}."
        for n in ("input_layernorm", "post_attention_layernorm") + ("pre_feedforward_layernorm", "post_feedforward_layernorm") * (family == "gemma3_text"):
            t[p + n + ".weight"] = norm()
            if family == "nemotron":
                t[p + n + ".bias"] = some(H)
        t |= {p + "self_attn.q_proj.weight": some(nh * hd, H), p + "self_attn.k_proj.weight": some(nkv * hd, H), p + "self_attn.v_proj.weight": some(nkv * hd, H),
              p + "self_attn.o_proj.weight": some(H, nh * hd)}
        if family.startswith(("qwen3", "gemma3")):
            t |= {p + "self_attn.q_norm.weight": some(hd, positive=True), p + "self_attn.k_norm.weight": some(hd, positive=True)}
        mlp = {"mlp.up_proj.weight": (ff, H), "mlp.down_proj.weight": (H, ff)} | ({} if family == "nemotron" else {"mlp.gate_proj.weight": (ff, H)})
        if family == "qwen3_moe":
            mlp = {"mlp.gate.weight": (4, H)} | {f"mlp.experts.{e}.{w}_proj.weight": (H, 32) if w == "down" else (32, H) for e in range(4) for w in ("gate", "up", "down")}
        t |= {p + k: some(*s) for k, s in mlp.items()}
    t["model.norm.weight"] = norm()
    if family == "nemotron":
        t["model.norm.bias"] = some(H)
    if family == "gemma3_text":
        c |= {"tie_word_embeddings": True}
    else:
        t["lm_head.weight"] = some(V, H)
    c |= {"gemma3_text": {"rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh", "head_dim": hd, "query_pre_attn_scalar": hd, "sliding_window": 4, "attention_bias": False,
                          "layer_types": ["sliding_attention", "full_attention"], "rope_theta": 1e6, "rope_local_base_freq": 500.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
          "nemotron": {"norm_eps": 1e-5, "hidden_act": "relu2", "partial_rotary_factor": 0.5, "head_dim": hd}}.get(family, {"rms_norm_eps": 1e-5, "hidden_act": "silu", "head_dim": hd})
    if family == "qwen3_moe":
        c |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []}
    return c | more, t


def hybrid(pattern, mtp=False):
    nh, hd, g, s, k = 4, 16, 2, 16, 4
    di = nh * hd
    c = {"architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", "vocab_size": V, "hidden_size": H, "hybrid_override_pattern": pattern, "num_hidden_layers": len(pattern),
         "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "intermediate_size": 64, "layer_norm_epsilon": 1e-5, "mamba_num_heads": nh, "mamba_head_dim": hd,
         "ssm_state_size": s, "n_groups": g, "conv_kernel": k, "use_conv_bias": True, "use_bias": False, "mlp_bias": False, "attention_bias": False, "mlp_hidden_act": "relu2",
         "max_position_embeddings": 128, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2}
    attention = lambda p: {p + "q_proj.weight": some(32, H), p + "k_proj.weight": some(16, H), p + "v_proj.weight": some(16, H), p + "o_proj.weight": some(H, 32)}
    moe = lambda p: ({p + "gate.weight": some(4, H), p + "gate.e_score_correction_bias": some(4, dtype="F32"), p + "fc1_latent_proj.weight": some(32, H), p + "fc2_latent_proj.weight": some(H, 32),
                      p + "shared_experts.up_proj.weight": some(64, H), p + "shared_experts.down_proj.weight": some(H, 64)} |
                     {f"{p}experts.{e}.{n}_proj.weight": some(*((64, 32) if n == "up" else (32, 64))) for e in range(4) for n in ("up", "down")})
    t = {"backbone.embeddings.weight": some(V, H, scale=1)}
    for i, kind in enumerate(pattern):
        p = f"backbone.layers.{i}."
        t[p + "norm.weight"] = some(H, positive=True)
        p += "mixer."
        if kind == "M":
            t |= {p + "in_proj.weight": some(2 * di + 2 * g * s + nh, H), p + "conv1d.weight": some(di + 2 * g * s, 1, k), p + "conv1d.bias": some(di + 2 * g * s),
                  p + "A_log": some(nh, dtype="F32", positive=True), p + "D": some(nh, dtype="F32"), p + "dt_bias": some(nh, dtype="F32"), p + "norm.weight": some(di, positive=True),
                  p + "out_proj.weight": some(H, di)}
        t |= attention(p) if kind == "*" else moe(p) if kind == "E" else {}
        if kind == "-":
            t |= {p + "up_proj.weight": some(64, H), p + "down_proj.weight": some(H, 64)}
    t |= {"backbone.norm_f.weight": some(H, positive=True), "lm_head.weight": some(V, H)}
    if "E" in pattern:
        c |= {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 64, "moe_shared_expert_intermediate_size": 64, "moe_latent_size": 32,
              "n_group": 1, "topk_group": 1, "norm_topk_prob": True, "routed_scaling_factor": 2.5, "num_nextn_predict_layers": int(mtp)}
    if mtp:
        m = "mtp.layers.0."
        c["mtp_hybrid_override_pattern"] = "*E"
        t |= {m + "enorm.weight": some(H, positive=True), m + "hnorm.weight": some(H, positive=True), m + "eh_proj.weight": some(H, 2 * H), m + "norm.weight": some(H, positive=True)}
        t |= attention(m + "mixer.") | {"mtp.layers.1.norm.weight": some(H, positive=True)} | moe("mtp.layers.1.mixer.") | {"mtp.layers.1.final_layernorm.weight": some(H, positive=True)}
    return c, t


def deci():
    """Heads, matrices in place of attention, widths by multiplier and by number, and nothing, layer by layer."""
    off = lambda **more: {"no_op": False, "replace_with_linear": False} | more
    c, t = decoder("llama")
    t = {k: v for k, v in t.items() if ".layers." not in k}
    attention = [off(n_heads_in_group=2), off(n_heads_in_group=None, no_op=True), off(n_heads_in_group=1), off(n_heads_in_group=None, no_op=True), off(n_heads_in_group=None, replace_with_linear=True)]
    ffn = [off(ffn_mult=1.0), off(intermediate_size=64), off(ffn_mult=13.0), off(ffn_mult=None, no_op=True), off(intermediate_size=32)]
    widths = [256, 64, 512, 0, 32]  # int(2 * mult * 32 / 3), up to the next multiple of 256
    for i, (a, w) in enumerate(zip(attention, widths)):
        p = f"model.layers.{i}."
        if not a["no_op"]:
            t[p + "input_layernorm.weight"] = some(H, positive=True)
        if a["n_heads_in_group"]:
            kv = 16 * 2 // a["n_heads_in_group"]
            t |= {p + f"self_attn.{n}_proj.weight": some(r, H) for n, r in (("q", 32), ("k", kv), ("v", kv), ("o", H))}
        if a["replace_with_linear"]:
            t[p + "self_attn.linear_attn.weight"] = some(H, H)
        if w:
            t |= {p + "post_attention_layernorm.weight": some(H, positive=True), p + "mlp.gate_proj.weight": some(w, H), p + "mlp.up_proj.weight": some(w, H), p + "mlp.down_proj.weight": some(H, w)}
    return c | {"architectures": ["DeciLMForCausalLM"], "model_type": "nemotron-nas", "num_hidden_layers": 5, "num_key_value_heads": None, "intermediate_size": None,
                "block_configs": [{"attention": a, "ffn": f} for a, f in zip(attention, ffn)]}, t


def tokenizer(folder):
    """Byte-level BPE over a few letters; ids 1 and 2 are special."""
    vocab = {"a": 0, "b": 3, "c": 4, "Ġ": 5, "ab": 6, "Ġab": 7}
    doc = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [
        {"id": i, "content": s, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} for i, s in ((1, "<s>"), (2, "</s>"))],
        "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "ignore_merges": False, "vocab": vocab, "merges": [["a", "b"], ["Ġ", "ab"]]}}
    with open(folder + "/tokenizer.json", "w") as f:
        json.dump(doc, f)
    with open(folder + "/tokenizer_config.json", "w") as f:
        json.dump({"bos_token": "<s>", "eos_token": "</s>", "chat_template": "{{ 'x' }}"}, f)


# ---- what GGUF must hold: written down here a second time, from the names of llama.cpp's loader ----

LLAMA = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down", "mlp.gate": "ffn_gate_inp", "self_attn.linear_attn": "attn_output"}
HYBRID = {"norm": "attn_norm", "in_proj": "ssm_in", "conv1d": "ssm_conv1d", "mixer_norm": "ssm_norm", "out_proj": "ssm_out", "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v",
          "o_proj": "attn_output", "up_proj": "ffn_up", "down_proj": "ffn_down", "gate": "ffn_gate_inp", "fc1_latent_proj": "ffn_latent_down", "fc2_latent_proj": "ffn_latent_up",
          "shared_experts.up_proj": "ffn_up_shexp", "shared_experts.down_proj": "ffn_down_shexp"}
GEMMA = LLAMA | {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm"}
TOP = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "model.norm.bias": "output_norm.bias", "lm_head.weight": "output.weight",
       "backbone.embeddings.weight": "token_embd.weight", "backbone.norm_f.weight": "output_norm.weight"}


def place(name, n_layers, names=LLAMA):
    """Name in GGUF, and the expert's number or None."""
    if name in TOP:
        return TOP[name], None
    root, kind, rest = name.split(".layers.")[0], *name.split(".layers.")[1].split(".", 1)
    layer = int(kind)
    if root == "mtp":
        special = {"0.enorm": "nextn.enorm", "0.hnorm": "nextn.hnorm", "0.eh_proj": "nextn.eh_proj", "1.norm": "post_attention_norm", "1.final_layernorm": "nextn.shared_head_norm"}
        key = f"{layer}.{rest.rsplit('.', 1)[0]}"
        layer = n_layers
        if key in special:
            return f"blk.{layer}.{special[key]}.weight", None
    if root == "model":
        if ".experts." in rest:
            _, _, e, w, _ = rest.split(".")
            return f"blk.{layer}.ffn_{w[:-5]}_exps.weight", int(e)
        stem, suffix = rest.rsplit(".", 1)
        return f"blk.{layer}.{names[stem]}.{suffix}", None
    rest = "mixer_norm.weight" if rest == "mixer.norm.weight" else rest.removeprefix("mixer.")
    if rest in ("A_log", "D", "dt_bias", "gate.e_score_correction_bias"):
        return f"blk.{layer}." + {"A_log": "ssm_a", "D": "ssm_d", "dt_bias": "ssm_dt.bias", "gate.e_score_correction_bias": "exp_probs_b.bias"}[rest], None
    if rest.startswith("experts."):
        _, e, w, _ = rest.split(".")
        return f"blk.{layer}.ffn_{w[:-5]}_exps.weight", int(e)
    stem, suffix = rest.rsplit(".", 1)
    return f"blk.{layer}.{HYBRID[stem]}.{suffix}", None


def expected(config, tensors, kind):
    family = config["model_type"]
    permuted = family in ("llama", "nemotron_h", "nemotron-nas")
    heads = {"attn_q.": config["num_attention_heads"], "attn_k.": config["num_key_value_heads"]}
    out, stacks = {}, {}
    for name, (dtype, shape, raw) in tensors.items():
        to, expert = place(name, config["num_hidden_layers"], GEMMA if family == "gemma3_text" else LLAMA)
        values, shape = floats((dtype, shape, raw)), list(shape)
        if permuted and ("attn_q." in to or "attn_k." in to):
            n, cols = heads["attn_q." if "attn_q." in to else "attn_k."], math.prod(shape[1:])
            n = shape[0] // 16 if family == "nemotron-nas" else n
            d = shape[0] // n
            rows = [values[r * cols:(r + 1) * cols] for r in range(shape[0])]
            values = [x for h in range(n) for i in range(d // 2) for half in (0, 1) for x in rows[h * d + half * d // 2 + i]]
        if family in ("nemotron", "gemma3_text") and name.endswith("norm.weight"):
            values = [f32(x + 1) for x in values]
        if to.endswith("ssm_a"):
            values = [f32(-math.exp(x)) for x in values]
        if to.endswith(("ssm_a", "ssm_d")):
            shape = shape + [1]
        if to.endswith("ssm_norm.weight"):
            shape = [config["n_groups"], shape[0] // config["n_groups"]]
        if to.endswith("ssm_conv1d.weight"):
            shape = [shape[0], shape[2]]
        small = len(tensors[name][1]) == 1 or to.endswith(("_norm.weight", "ffn_gate_inp.weight", "ssm_conv1d.weight"))
        if expert is None:
            out[to] = ("F32" if small else kind, shape, values)
        else:
            stacks.setdefault(to, {})[expert] = (shape, values)
    for to, parts in stacks.items():
        out[to] = (kind, [len(parts)] + parts[0][0], [x for e in sorted(parts) for x in parts[e][1]])
    return {k: (d, s, pack(d, v)) for k, (d, s, v) in out.items()}


IDS = [[1, 5, 9, 40, 7, 7, 30, 2, 11], [47, 0, 3]]


def logits(model, tmp):
    with open(tmp + "/ids.json", "w") as f:
        json.dump(IDS, f)
    run("logits", model, "--ids", tmp + "/ids.json", "-o", tmp + "/logits.safetensors", "-q")
    return load(tmp + "/logits.safetensors")


def near(a, b, limit):
    return a[:2] == b[:2] and all(abs(x - y) <= limit for x, y in zip(floats(a), floats(b)))


def difference(got, want):
    """The first tensor that differs. A_log has gone through exp and log: to a few units of its last place."""
    for k in sorted(set(got) | set(want)):
        if k in got and k in want and k.endswith("A_log") and near(got[k], want[k], 5e-7):
            continue
        if got.get(k) != want.get(k):
            g, w = got.get(k), want.get(k)
            return f"{k}: " + (f"{g[0]} {g[1]}, expected {w[0]} {w[1]}" if g and w else "there" if g else "absent")
    return ""


def check_family(name, config, tensors, tmp):
    source = f"{tmp}/{name}"
    save(source, tensors, config)
    tokenizer(source)
    original = logits(source, tmp)
    for kind in ("F32", "F16", "BF16", "Q8_0"):
        path = f"{tmp}/{name}-{kind}.gguf"
        run("convert", source, "--to", "gguf", "--type", kind.lower(), "-o", path, "-q")
        values, got = read_gguf(path)
        got.pop("rope_freqs.weight", None)
        d = difference(got, expected(config, tensors, kind))
        check(f"{name} {kind}: every tensor", not d, d)
        if kind in ("F32", "BF16"):
            out = logits(path, tmp)
            same = all(near(out[k], original[k], 1e-4 if "nemotron_h" in name else 0) for k in original)
            check(f"{name} {kind}: the same logits", same and len(out) == len(original) > 0)
        back = f"{tmp}/{name}-{kind}-back"
        run("convert", path, "--to", "safetensors", "-o", back, "-q", *(["--type", "f32"] if kind == "Q8_0" else []))
        again = load(back)
        if kind == "BF16":
            d = difference(again, tensors)
            check(f"{name} {kind}: back to the same folder", not d, d)
        if kind == "Q8_0":
            check(f"{name} {kind}: the logits of its numbers written out", logits(path, tmp) == logits(back, tmp))
    with open(source + "/tokenizer.json") as f:
        check(f"{name}: the tokenizer travels whole", values["tokenizer.huggingface.json"] == f.read())
    check(f"{name}: tokens", len(values["tokenizer.ggml.tokens"]) == V and values["tokenizer.ggml.tokens"][:7] == ["a", "<s>", "</s>", "b", "c", "Ġ", "ab"] and
          values["tokenizer.ggml.tokens"][9] == "[PAD9]", values["tokenizer.ggml.tokens"][:10])
    check(f"{name}: token types", values["tokenizer.ggml.token_type"] == [1, 3, 3, 1, 1, 1, 1, 1] + [5] * (V - 8), values["tokenizer.ggml.token_type"])
    special = {k: values.get("tokenizer.ggml." + k) for k in ("model", "pre", "merges", "bos_token_id", "eos_token_id", "add_bos_token", "add_eos_token")}
    check(f"{name}: special tokens", special == {"model": "gpt2", "pre": "gpt-2", "merges": ["a b", "Ġ ab"], "bos_token_id": 1, "eos_token_id": 2, "add_bos_token": 1, "add_eos_token": 0}, special)
    check(f"{name}: chat template", values.get("tokenizer.chat_template") == "{{ 'x' }}")
    return values


def tokenizers(tmp):
    """Put together from tokens, merges and the pre-tokenizer's name alone: the file's own tokenizer.json is hidden."""
    with open(SHARED + "/fixtures/tokenizers/golden.json") as f:
        gold = json.load(f)
    keep = [i for i, s in enumerate(gold["strings"]) if "\0" not in s]  # JSON lines with NUL are not read
    strings = [gold["strings"][i] for i in keep]
    global V
    V = 512
    config, tensors = decoder("llama")
    with open(tmp + "/strings.jsonl", "w") as f:
        f.writelines(json.dumps({"text": s}) + "\n" for s in strings)
    for kind in ("gpt2", "llama3", "qwen", "tekken", "o200k", "deepseek", "spm"):
        source = f"{tmp}/tokenizer-{kind}"
        save(source, tensors, config)
        with open(f"{SHARED}/fixtures/tokenizers/{kind}/tokenizer.json", "rb") as f, open(source + "/tokenizer.json", "wb") as g:
            g.write(f.read())
        run("convert", source, "--to", "gguf", "-o", source + ".gguf", "-q")
        with open(source + ".gguf", "rb") as f:
            data = f.read()
        assert data.count(b"tokenizer.huggingface.json") == 1
        with open(source + ".gguf", "wb") as f:
            f.write(data.replace(b"tokenizer.huggingface.json", b"tokenizer.huggingface.none"))
        for flag, key in (([], "ids"), (["--no-special"], "ids_no_special")):
            lines = run("tokenize", source + ".gguf", "--file", tmp + "/strings.jsonl", "--json", "-q", *flag).stdout.splitlines()
            # SentencePiece itself takes white space around special tokens otherwise than the library whose goldens these are.
            same = [kind != "spm" or "<" not in s for s in strings]
            wrong = [s for s, line, want in zip(strings, lines, [gold["tokenizers"][kind][i] for i in keep]) if json.loads(line)["ids"] != want[key] and same[strings.index(s)]]
            check(f"tokenizer of {kind}: {key}", len(lines) == len(strings) and not wrong, wrong[:3])


def llama3(d, theta, s):
    """models.md, llama3: the divisor of each frequency."""
    out = []
    for i in range(d // 2):
        wave = 2 * math.pi * theta ** (2 * i / d)
        low, high, o = s["low_freq_factor"], s["high_freq_factor"], s["original_max_position_embeddings"]
        smooth = (o / wave - low) / (high - low)
        out.append(1 if wave < o / high else s["factor"] if wave > o / low else 1 / ((1 - smooth) / s["factor"] + smooth))
    return out


def main():
    global IDS
    with tempfile.TemporaryDirectory() as tmp:
        v = check_family("llama", *decoder("llama"), tmp)
        wanted = {"general.architecture": "llama", "general.file_type": 7, "llama.block_count": L, "llama.context_length": 128, "llama.embedding_length": H, "llama.feed_forward_length": 64,
                  "llama.attention.head_count": 2, "llama.attention.head_count_kv": 1, "llama.attention.key_length": 16, "llama.attention.value_length": 16, "llama.rope.dimension_count": 16,
                  "llama.rope.freq_base": 10000.0, "llama.attention.layer_norm_rms_epsilon": f32(1e-5), "llama.vocab_size": V}
        check("llama: keys", {k: v.get(k) for k in wanted} == wanted, {k: v.get(k) for k in wanted if v.get(k) != wanted[k]})
        scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
        check_family("llama3", *decoder("llama", rope_scaling=scaling, rope_theta=5000.0), tmp)
        got = floats(read_gguf(tmp + "/llama3-F32.gguf")[1]["rope_freqs.weight"])
        check("llama3: divisors", len(got) == 8 and all(abs(a - b) <= 2e-6 * b for a, b in zip(got, llama3(16, 5000.0, scaling))), got)
        v = check_family("llama-linear", *decoder("llama", rope_scaling={"type": "linear", "factor": 4.0}), tmp)
        check("llama-linear: keys", v.get("llama.rope.scaling.type") == "linear" and v.get("llama.rope.scaling.factor") == 4.0)
        check_family("qwen3", *decoder("qwen3"), tmp)
        v = check_family("qwen3moe", *decoder("qwen3_moe"), tmp)
        check("qwen3moe: keys", [v.get("qwen3moe." + k) for k in ("expert_count", "expert_used_count", "expert_feed_forward_length")] == [4, 2, 32])
        check_family("nemotron", *decoder("nemotron"), tmp)
        v = check_family("gemma3", *decoder("gemma3_text"), tmp)
        wanted = {"attention.sliding_window": 4, "attention.sliding_window_pattern": 2, "rope.freq_base": 1e6, "rope.freq_base_swa": 500.0, "rope.scaling.type": "linear",
                  "rope.scaling.factor": 8.0, "attention.key_length": 16, "attention.layer_norm_rms_epsilon": f32(1e-6)}
        check("gemma3: keys", all(v.get("gemma3." + k) == x for k, x in wanted.items()), {k: v.get("gemma3." + k) for k in wanted})
        v = check_family("nemotron_h", *hybrid("M-*M-"), tmp)
        check("nemotron_h: layers", v["nemotron_h.feed_forward_length"] == [0, 64, 0, 0, 64] and v["nemotron_h.attention.head_count_kv"] == [0, 0, 1, 0, 0])
        v = check_family("nemotron_h_moe", *hybrid("ME*E", mtp=True), tmp)
        wanted = {"block_count": 5, "nextn_predict_layers": 1, "expert_count": 4, "expert_used_count": 2, "expert_shared_count": 1, "moe_latent_size": 32, "expert_weights_scale": 2.5,
                  "expert_weights_norm": 1, "ssm.inner_size": 64, "ssm.time_step_rank": 4, "ssm.group_count": 2, "ssm.state_size": 16, "ssm.conv_kernel": 4,
                  "feed_forward_length": [0, 64, 0, 64, 64], "attention.head_count_kv": [0, 0, 1, 0, 1]}
        check("nemotron_h_moe: keys", all(v.get("nemotron_h_moe." + k) == x for k, x in wanted.items()), {k: v.get("nemotron_h_moe." + k) for k in wanted})

        v = check_family("deci", *deci(), tmp)
        wanted = {"attention.head_count": [2, 0, 2, 0, 2], "attention.head_count_kv": [1, 0, 2, 0, 0], "feed_forward_length": [256, 64, 512, 0, 32], "attention.key_length": 16, "rope.dimension_count": 16}
        check("deci: keys", all(v.get("deci." + k) == x for k, x in wanted.items()), {k: v.get("deci." + k) for k in wanted})
        with open(tmp + "/deci-BF16-back/config.json") as f:
            blocks = json.load(f)["block_configs"]
        check("deci: layers, back", [(b["attention"]["n_heads_in_group"], b["attention"]["no_op"], b["attention"]["replace_with_linear"]) for b in blocks] ==
              [(2, False, False), (None, True, False), (1, False, False), (None, True, False), (None, False, True)] and
              [b["ffn"].get("intermediate_size") for b in blocks] == [None, 64, None, None, 32] and [b["ffn"]["ffn_mult"] for b in blocks] == [12.0, None, 24.0, None, None], blocks)

        # What GGUF cannot say is refused.
        def refused(name, words, config, tensors):
            save(tmp + "/refused", tensors, config)
            tokenizer(tmp + "/refused")
            p = run("convert", tmp + "/refused", "--to", "gguf", "-o", tmp + "/refused.gguf", status=4)
            check("refused: " + name, words in p.stderr and not os.path.exists(tmp + "/refused.gguf"), p.stderr)

        c, t = decoder("gemma3_text")
        refused("another scale of scores", "query_pre_attn_scalar", c | {"query_pre_attn_scalar": 20}, t)
        refused("windows without a period", "period", c | {"layer_types": ["full_attention", "sliding_attention"]}, t)
        c, t = hybrid("M-*")
        refused("a limit on dt", "time_step_limit", c | {"time_step_limit": [0.01, 0.5]}, t)
        refused("experts beside MLPs", "beside plain MLP layers", *hybrid("M-*E"))
        c, t = decoder("qwen3_moe")
        refused("weights that are not normalized", "norm_topk_prob", c | {"norm_topk_prob": False}, t)
        c, t = deci()
        for name, words, layer, part, change in (
                ("deci without attention in the first layer", "first layer has no attention", 0, "attention", {"no_op": True}),
                ("deci with attention and no MLP", "a layer with attention has no MLP", 2, "ffn", {"no_op": True}),
                ("deci with a matrix as MLP", "matrix in place of the MLP", 1, "ffn", {"replace_with_linear": True})):
            blocks = [{k: x | (change if (i, k) == (layer, part) else {}) for k, x in b.items()} for i, b in enumerate(c["block_configs"])]
            gone = f"model.layers.{layer}." + ("self_attn" if part == "attention" else "mlp")
            norm = f"model.layers.{layer}." + ("input" if part == "attention" else "post_attention") + "_layernorm.weight"
            less = {k: x for k, x in t.items() if not k.startswith(gone) and (k != norm or change == {"replace_with_linear": True})}
            refused(name, words, c | {"block_configs": blocks}, less | ({"model.layers.1.mlp.linear_mlp.weight": some(H, H)} if "replace_with_linear" in change else {}))
        c, t = decoder("llama")
        save(tmp + "/large", {k: (("BF16", x[1], pack("BF16", [1e6] + floats(x)[1:])) if k == "lm_head.weight" else x) for k, x in t.items()}, c)
        tokenizer(tmp + "/large")
        p = run("convert", tmp + "/large", "--to", "gguf", "--type", "f16", "-o", tmp + "/large.gguf", status=3)
        check("refused: a number beyond F16", "beyond what F16 can hold" in p.stderr and "output.weight" in p.stderr and not os.path.exists(tmp + "/large.gguf"), p.stderr)

        # Shards and types of a folder.
        save(tmp + "/plain", t, c)
        run("convert", tmp + "/plain", "--to", "safetensors", "--shard-size", "4096", "-o", tmp + "/shards", "-q")
        check("other shards, the same tensors", load(tmp + "/shards") == t and len([f for f in os.listdir(tmp + "/shards") if f.endswith(".safetensors")]) > 3)
        run("convert", tmp + "/plain", "--to", "safetensors", "--type", "f32", "-o", tmp + "/wide", "-q")
        wide = load(tmp + "/wide")
        check("matrices in F32", all(floats(wide[k]) == floats(t[k]) and wide[k][0] == ("F32" if len(t[k][1]) == 2 else "BF16") for k in t))

        if not os.path.isdir(SHARED + "/fixtures"):
            print("skip the shared fixtures are not here")
        else:
            for name in ("llama_rope3_tied", "llama_fp32_sharded", "qwen3", "nemotron_h_dense", "nemotron_h_moe", "nemotron_h_latent_mtp", "nemotron_h_groups", "deci"):
                d = f"{SHARED}/fixtures/{name}"
                gold = load(d + "/golden/golden.safetensors")
                IDS = [list(array("i", gold[f"p{i}.input_ids"][2])) for i in (0, 1)]
                run("convert", d, "--to", "gguf", "--type", "f32", "-o", f"{tmp}/{name}.gguf", "-q")
                out = logits(f"{tmp}/{name}.gguf", tmp)
                for i in (0, 1):
                    a, b = array("f", out[f"{i}.logits"][2]), array("f", gold[f"p{i}.logits"][2])
                    worst = max(abs(x - y) for x, y in zip(a, b))
                    check(f"{name} p{i}: the golden's logits", len(a) == len(b) and worst <= 1e-3, worst)
                run("convert", f"{tmp}/{name}.gguf", "--to", "safetensors", "-o", f"{tmp}/{name}-back", "-q")
                run("tokenize", f"{tmp}/{name}.gguf", "--text", "hello there", "-q")
            tokenizers(tmp)


if __name__ == "__main__":
    main()
    sys.exit(bad != 0)
