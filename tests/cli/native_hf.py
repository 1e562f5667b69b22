#!/usr/bin/env python3
"""Mistral's own layout as a Hugging Face folder (`convert --to hf`). Dense models (window; yarn and llama-4 scaling with a tied head) are put
into Mistral's names and order of rows here, by the published converter's rule read backwards: what comes out must be the fixture's tensors again, byte
for byte, and compute its golden logits, as the native folder itself does. Large 3 becomes Mistral4ForCausalLM with its experts in stacks."""
import json, os, shutil, struct, sys, tempfile
from array import array

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import ROOT, check, finish, ingot
FIXTURES = os.environ.get("INGOT_SHARED", ROOT + "/../shared") + "/fixtures/"
TINY = ROOT + "/tests/vectors/engine/"


def load(path):
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        head, data = json.loads(f.read(n)), f.read()
    return {k: (v["dtype"], v["shape"], data[slice(*v["data_offsets"])]) for k, v in head.items() if k != "__metadata__"}


def tensors(folder):
    out = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            out |= load(f"{folder}/{name}")
    return out


def save(path, ts):
    at, head = 0, {}
    for k, (dtype, shape, raw) in ts.items():
        head[k] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(raw for _, _, raw in ts.values()))


def interleave(raw, rows, head):
    """Row i of a half becomes row 2 i of the head, its partner in the other half row 2 i + 1."""
    size = len(raw) // rows
    out = []
    for r in range(rows):
        k = r % head
        s = r - k + k // 2 + (head // 2 if k % 2 else 0)
        out.append(raw[s * size:(s + 1) * size])
    return b"".join(out)


OWN = {"self_attn.q_proj": "attention.wq", "self_attn.k_proj": "attention.wk", "self_attn.v_proj": "attention.wv", "self_attn.o_proj": "attention.wo",
       "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2", "mlp.up_proj": "feed_forward.w3",
       "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm"}


def native_name(name):
    name = {"model.embed_tokens.weight": "tok_embeddings.weight", "lm_head.weight": "output.weight", "model.norm.weight": "norm.weight"}.get(name, name)
    if name.startswith("model.layers."):
        _, _, layer, rest = name.split(".", 3)
        name = f"layers.{layer}.{OWN[rest[:-len('.weight')]]}.weight"
    return name


def make_native(fixture, folder, params=None):
    src = fixture
    c = json.load(open(src + "/config.json"))
    ts = {}
    for k, (dtype, shape, raw) in tensors(src).items():
        if k.endswith(("q_proj.weight", "k_proj.weight")):
            raw = interleave(raw, shape[0], c["head_dim"])
        ts[native_name(k)] = (dtype, shape, raw)
    rope = c.get("rope_parameters") or {}
    p = {"dim": c["hidden_size"], "n_layers": c["num_hidden_layers"], "head_dim": c["head_dim"], "hidden_dim": c["intermediate_size"],
         "n_heads": c["num_attention_heads"], "n_kv_heads": c["num_key_value_heads"], "norm_eps": c["rms_norm_eps"], "vocab_size": c["vocab_size"],
         "rope_theta": rope.get("rope_theta", c.get("rope_theta")), "max_seq_len": c["max_position_embeddings"]}
    if c.get("tie_word_embeddings"):
        p["tied_embeddings"] = True
    if c.get("sliding_window"):
        p["sliding_window"] = c["sliding_window"]
    if rope.get("rope_type") == "yarn":
        p["yarn"] = {"original_max_position_embeddings": rope["original_max_position_embeddings"], "factor": rope["factor"], "apply_scale": False,
                     "beta": rope["beta_fast"], "alpha": rope["beta_slow"]}
        p["llama_4_scaling"] = {"original_max_position_embeddings": rope["original_max_position_embeddings"], "beta": rope["llama_4_scaling_beta"]}
    p |= params or {}
    os.makedirs(folder)
    save(folder + "/consolidated.safetensors", ts)
    json.dump({k: v for k, v in p.items() if v is not ...}, open(folder + "/params.json", "w"))
    with open(folder + "/tekken.json", "w") as f:
        f.write('{"config": {"pattern": ""}, "vocab": [], "special_tokens": []}')


def logits(folder, fixture):
    """The engine's, of the fixture's first prompt: the largest distance from the golden ones (or what failed), and themselves."""
    golden = load(fixture + "/golden/golden.safetensors")
    dtype, shape, raw = golden["p0.input_ids"]
    with open(W + "/ids.json", "w") as f:
        json.dump([list(struct.unpack(f"<{shape[0]}i", raw))], f)
    p = ingot("logits", folder, "--ids", W + "/ids.json", "-o", W + "/l.safetensors", "-q")
    if p.returncode:
        return p.stderr, None
    got = load(W + "/l.safetensors")["0.logits"][2]
    a, b = array("f", got), array("f", golden["p0.logits"][2])
    return (max(abs(x - y) for x, y in zip(a, b)) if len(a) == len(b) else "another shape"), got


def near(d):
    return isinstance(d, float) and d <= 1e-3  # the fixtures' own tolerance


SHARED = os.path.isdir(FIXTURES)
DENSE = [TINY + "mistral", TINY + "ministral3"] + ([FIXTURES + "mistral_sw", FIXTURES + "ministral3"] if SHARED else [])
W = tempfile.mkdtemp()
KEYS = ["architectures", "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
        "vocab_size", "rms_norm_eps", "tie_word_embeddings", "max_position_embeddings", "sliding_window", "rope_theta", "hidden_act", "bos_token_id", "eos_token_id"]
for src in DENSE:
    fixture = os.path.basename(src) + (" tiny" if src.startswith(TINY) else "")
    native, out = f"{W}/{fixture}", f"{W}/{fixture}.hf"
    make_native(src, native)
    d, own = logits(native, src)
    check(f"{fixture}: the engine reads the native folder, golden logits", near(d), d)
    p = ingot("convert", native, "--to", "hf", "-o", out, "--verify", "--json", "-q")
    r = json.loads(p.stdout) if p.returncode == 0 else {}
    want, config = json.load(open(src + "/config.json")), {}
    check(f"{fixture}: --to hf", r.get("made_for") == want["architectures"][0] and r["verified"] == r["tensors"], p.stderr)
    if p.returncode:
        continue
    config = json.load(open(out + "/config.json"))
    check(f"{fixture}: every tensor is the fixture's", tensors(out) == tensors(src))
    check(f"{fixture}: config.json says what the fixture's says", all(config.get(k) == want[k] for k in KEYS if k in want), {k: (config.get(k), want[k]) for k in KEYS if k in want})
    rope = {k: v for k, v in want.get("rope_parameters", {}).items() if k != "type"}
    check(f"{fixture}: rotary parameters", config.get("rope_parameters", {}) == rope, config.get("rope_parameters"))
    check(f"{fixture}: tekken.json goes along, params.json and consolidated files do not", sorted(os.listdir(out)) == ["config.json", "model.safetensors", "tekken.json"], os.listdir(out))
    p, q = (ingot("convert", x, "--to", "gguf", "--no-tokenizer", "-o", f"{W}/{i}.gguf", "-q", "--force") for i, x in enumerate((out, src)))
    check(f"{fixture}: on to GGUF, or not, as the fixture", p.returncode == q.returncode and (p.returncode != 0 or open(W + "/0.gguf", "rb").read() == open(W + "/1.gguf", "rb").read()), p.stderr + q.stderr)
    d, again = logits(out, src)
    check(f"{fixture}: golden logits", near(d), d)
    # The products of a head are summed in another order: not to the bit.
    apart = max(abs(x - y) for x, y in zip(array("f", own), array("f", again)))
    check(f"{fixture}: the native folder's logits", apart <= 1e-4, apart)
    p = ingot("convert", native, "--to", "hf", "--type", "f32", "-o", out + "32", "--verify")
    check(f"{fixture}: --type f32", p.returncode == 0 and "tokenizer.json is not made" in p.stdout and json.load(open(out + "32/config.json")).get("torch_dtype" if r["made_for"] == "MistralForCausalLM" else "dtype") == "float32", p.stderr + p.stdout)
    p = ingot("convert", native, "--to", "safetensors", "-o", out + ".same", "-q")
    check(f"{fixture}: --to safetensors keeps the layout", p.returncode == 0 and tensors(out + ".same") == tensors(native) and not os.path.exists(out + ".same/config.json"), p.stderr)

# Large 3: the experts in stacks, gates first.
if SHARED:
    L3 = FIXTURES + "mistral_large3"
    p = ingot("convert", L3, "--to", "hf", "-o", W + "/l3", "--verify", "--json", "-q")
    check("Large 3: --to hf", p.returncode == 0 and json.loads(p.stdout)["made_for"] == "Mistral4ForCausalLM", p.stderr)
    if p.returncode == 0:
        s, t = tensors(L3), tensors(W + "/l3")
        gate_up = b"".join(s[f"layers.1.experts.{e}.{w}.weight"][2] for e in range(8) for w in ("w1", "w3"))
        down = b"".join(s[f"layers.1.experts.{e}.w2.weight"][2] for e in range(8))
        check("Large 3: stacks of experts", t["model.layers.1.mlp.experts.gate_up_proj"] == ("BF16", [8, 96, 64], gate_up) and t["model.layers.1.mlp.experts.down_proj"] == ("BF16", [8, 64, 48], down))
        check("Large 3: queries stay as they are, every byte is there", t["model.layers.0.self_attn.q_b_proj.weight"] == s["layers.0.attention.wq_b.weight"]
              and sum(len(v[2]) for v in s.values()) == sum(len(v[2]) for v in t.values()))
        (d, own), (d2, again) = logits(L3, L3), logits(W + "/l3", L3)
        check("Large 3: golden logits, and to the bit the native folder's", near(d) and near(d2) and own == again, (d, d2))
else:
    print("skip Large 3: no shared fixtures (INGOT_SHARED)")

REFUSED = [("moe beside dense keys", {"moe": {"num_experts": 2}}, None, "key 'moe'"), ("no rope_theta", {"rope_theta": ..., "sliding_window": None}, None, "rope_theta"),
           ("another window", {"_sliding_window": [9]}, None, "_sliding_window"), ("heads that do not divide", {"n_kv_heads": 3}, None, "n_kv_heads 3"),
           ("odd heads", {"head_dim": 21}, None, "head_dim"), ("a tower", {}, "vision_encoder.ln_pre.weight", "tensor 'vision_encoder.ln_pre.weight'"),
           ("an unknown tensor", {}, "layers.0.attention.wx.weight", "layers.0.attention.wx.weight")]
for name, params, extra, says in REFUSED:
    folder = f"{W}/bad {name}"
    make_native(TINY + "mistral", folder, params)
    if extra:
        ts = load(folder + "/consolidated.safetensors")
        save(folder + "/consolidated.safetensors", ts | {extra: ("BF16", [4], bytes(8))})
    p = ingot("convert", folder, "--to", "hf", "-o", W + "/bad", "-q")
    check(f"refused: {name}", p.returncode in (3, 4) and says in p.stderr and p.stderr.count("\n") == 1 and not os.path.exists(W + "/bad"), (p.returncode, p.stderr))
folder = W + "/nolength"
make_native(TINY + "mistral", folder, {"max_seq_len": ...})
p = ingot("convert", folder, "--to", "hf", "-o", W + "/nl")
check("no length: the converter's default, and said", p.returncode == 0 and "max_position_embeddings" in p.stdout and json.load(open(W + "/nl/config.json"))["max_position_embeddings"] == 32768, p.stdout + p.stderr)
two = {"yarn": {"original_max_position_embeddings": 16, "factor": 16.0, "apply_scale": False}, "llama_4_scaling": {"original_max_position_embeddings": 32, "beta": 0.1}}
make_native(TINY + "ministral3", W + "/two", two)
p = ingot("convert", W + "/two", "--to", "hf", "-o", W + "/bad", "-q")
check("refused: two original lengths", p.returncode == 4 and "original_max_position_embeddings" in p.stderr, p.stderr)
for length in 16.5, 1e300:
    two["yarn"]["original_max_position_embeddings"] = length
    make_native(TINY + "ministral3", f"{W}/length{length}", two | {"llama_4_scaling": None})
    p = ingot("convert", f"{W}/length{length}", "--to", "hf", "-o", W + "/bad", "-q")
    check(f"refused: an original length of {length}", p.returncode == 3 and "expected a length" in p.stderr, p.stderr)
with open(W + "/r.yaml", "w") as f:
    f.write("name: r\nrules:\n  - {role: [mlp, attention], weights: fp8, inputs: {type: fp8, amax: 448}}\n")
p = ingot("quantize", W + "/mistral tiny", "-r", W + "/r.yaml", "-o", W + "/q", "-q")
q = ingot("convert", W + "/q", "--to", "hf", "-o", W + "/bad", "-q")
check("refused: quantized, with what to do", p.returncode == 0 and q.returncode == 4 and "--type bf16" in q.stderr, p.stderr + q.stderr)
p = ingot("convert", W + "/q", "--to", "safetensors", "--type", "bf16", "-o", W + "/p", "-q")
q = ingot("convert", W + "/p", "--to", "hf", "-o", W + "/ph", "-q", "--verify")
check("and that works", p.returncode == 0 and q.returncode == 0, p.stderr + q.stderr)
p = ingot("convert", TINY + "mistral", "--to", "hf", "-o", W + "/same", "-q")
check("of a Hugging Face folder: as --to safetensors", p.returncode == 0 and tensors(W + "/same") == tensors(TINY + "mistral"), p.stderr)
shutil.rmtree(W, ignore_errors=True)
finish()
