"""Our GGUF files in llama.cpp and gguf-py, and theirs in ours. usage: gguf_peer.py WORK; INGOT names the program.
Needs: gguf, llama-cpp-python, numpy (tests/interop/tools.sh). Every claim has a twin that must come out wrong."""
import ctypes, importlib.util, json, os, shutil, sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
import gguf
import llama_cpp as L
import numpy as np
spec = importlib.util.spec_from_file_location("gguf_models", ROOT + "/tests/golden/gguf.py")
models = importlib.util.module_from_spec(spec)
spec.loader.exec_module(models)

WORK = sys.argv[1]
bad = 0
IDS = models.IDS[0]


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok   " if ok else "FAIL ") + name + ("" if ok else f": {detail}"), flush=True)


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def silent(level, text, data):
    pass


L.llama_log_set(silent, None)
L.llama_backend_init()


def open_model(path):
    p = L.llama_model_default_params()
    p.n_gpu_layers = 0
    return L.llama_model_load_from_file(path.encode(), p)


def theirs(path, ids, flash=True):
    """Logits of all positions, with a cache in fp32; None when llama.cpp does not take the file."""
    model = open_model(path)
    if not model:
        return None
    c = L.llama_context_default_params()
    c.n_ctx, c.n_batch, c.n_ubatch, c.n_threads, c.n_threads_batch, c.type_k, c.type_v = 64, 64, 64, 1, 1, 0, 0
    if not flash:
        c.flash_attn_type = 0
    ctx = L.llama_init_from_model(model, c)
    n_vocab = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
    b = L.llama_batch_init(len(ids), 0, 1)
    b.n_tokens = len(ids)
    for i, t in enumerate(ids):
        b.token[i], b.pos[i], b.n_seq_id[i], b.logits[i] = t, i, 1, 1
        b.seq_id[i][0] = 0
    if L.llama_decode(ctx, b):
        return None
    out = np.stack([np.ctypeslib.as_array(L.llama_get_logits_ith(ctx, i), shape=(n_vocab,)).copy() for i in range(len(ids))])
    L.llama_free(ctx)
    L.llama_model_free(model)
    return out


def ours(path, ids):
    models.IDS = [ids]
    dtype, shape, raw = models.logits(path, WORK)["0.logits"]
    return np.frombuffer(raw, np.float32).reshape(shape)


def error(a, b):
    return float("inf") if a is None or a.shape != b.shape else float(np.abs(a - b).max() / b.std())


def convert(source, kind):
    out = f"{source}-{kind}.gguf"
    models.run("convert", source, "--to", "gguf", "--type", kind, "-o", out, "-q", "--force")
    return out


scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
families = {"llama": models.decoder("llama"), "llama3": models.decoder("llama", rope_scaling=scaling, rope_theta=5000.0),
            "llama-linear": models.decoder("llama", rope_scaling={"type": "linear", "factor": 4.0}), "qwen3": models.decoder("qwen3"), "qwen3moe": models.decoder("qwen3_moe"),
            "nemotron": models.decoder("nemotron"), "nemotron_h": models.hybrid("M-*M-"), "nemotron_h_moe": models.hybrid("ME*E", mtp=True)}
for name, (config, tensors) in families.items():
    source = f"{WORK}/{name}"
    models.save(source, tensors, config)
    models.tokenizer(source)
    # Relative to the spread of the logits. F32: the same arithmetic in another order; 16 bits and Q8_0: llama.cpp rounds the
    # activations too.
    for kind, limit in (("f32", 2e-3), ("bf16", 0.2), ("q8_0", 0.3)):
        path = convert(source, kind)
        e = error(theirs(path, IDS), ours(path, IDS))
        check(f"llama.cpp computes the same, {name} {kind}", e <= limit, e)

# The shared fixtures of families that no small model above has; llama.cpp without its flash attention, which rounds to 16 bits.
FIXTURES = ("deci",)
if not os.path.isdir(models.SHARED + "/fixtures"):
    print("skip the shared fixtures are not here", flush=True)
else:
    for name in FIXTURES:
        path = f"{WORK}/fixture-{name}.gguf"
        models.run("convert", f"{models.SHARED}/fixtures/{name}", "--to", "gguf", "--type", "f32", "-o", path, "-q", "--force")
        e = error(theirs(path, IDS, flash=False), ours(path, IDS))
        check(f"llama.cpp computes the same, fixture {name}", e <= 3e-3, e)

# Twins: a wrong order of rows, a norm without its 1, a wrong rope.
def spoil(path, tensor, change):
    out = path + ".spoiled.gguf"
    shutil.copy(path, out)
    t = next(t for t in gguf.GGUFReader(out, "r+").tensors if t.name == tensor)
    change(t.data)
    t.data.flush() if hasattr(t.data, "flush") else None
    return out


def swap_rows(x):
    x[[0, 1]] = x[[1, 0]]


def take_one(x):
    x -= 1


def double_it(x):
    x *= 2


for name, tensor, change in (("llama", "blk.0.attn_q.weight", swap_rows), ("nemotron", "blk.0.attn_norm.weight", take_one), ("nemotron_h", "blk.0.ssm_a", take_one),
                             ("llama3", "rope_freqs.weight", double_it)):
    path = spoil(f"{WORK}/{name}-f32.gguf", tensor, change)
    e = error(theirs(path, IDS), ours(f"{WORK}/{name}-f32.gguf", IDS))
    check(f"refused: {name} with a spoiled {tensor}", e > 2e-3, e)

# gguf-py reads every byte as we meant it, and its Q8_0 is ours.
wide, narrow = ({t.name: t for t in gguf.GGUFReader(f"{WORK}/llama-{k}.gguf").tensors} for k in ("f32", "q8_0"))
same = [np.array_equal(gguf.quants.quantize(np.array(wide[n].data), gguf.GGMLQuantizationType.Q8_0).reshape(-1), np.array(t.data).reshape(-1))
        for n, t in narrow.items() if t.tensor_type == gguf.GGMLQuantizationType.Q8_0]
check("gguf-py's Q8_0 has the same bytes", len(same) > 10 and all(same), same)
other = np.array(wide["output.weight"].data) * 1.01
check("refused: other numbers", not np.array_equal(gguf.quants.quantize(other.astype(np.float32), gguf.GGMLQuantizationType.Q8_0).reshape(-1), np.array(narrow["output.weight"].data).reshape(-1)))


# A file by gguf-py, with the rows as llama.cpp's converter orders them, and one without.
def by_gguf_py(path, config, tensors, order_rows):
    w = gguf.GGUFWriter(path, "llama")
    w.add_context_length(config["max_position_embeddings"]), w.add_embedding_length(config["hidden_size"]), w.add_block_count(config["num_hidden_layers"])
    w.add_feed_forward_length(config["intermediate_size"]), w.add_head_count(config["num_attention_heads"]), w.add_head_count_kv(config["num_key_value_heads"])
    w.add_key_length(config["head_dim"]), w.add_value_length(config["head_dim"]), w.add_layer_norm_rms_eps(config["rms_norm_eps"]), w.add_rope_freq_base(config["rope_theta"])
    w.add_rope_dimension_count(config["head_dim"]), w.add_tokenizer_model("none"), w.add_custom_alignment(64)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, t in tensors.items():
        x = np.array(models.floats(t), np.float32).reshape(t[1])
        heads = config["num_attention_heads"] if "q_proj" in name else config["num_key_value_heads"] if "k_proj" in name else 0
        if heads and order_rows:
            x = x.reshape(heads, 2, x.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(x.shape)
        w.add_tensor(names.get_name(name, try_suffixes=(".weight",)), x)
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()
    return path


config, tensors = families["llama"]
want = ours(WORK + "/llama", IDS)
e = error(ours(by_gguf_py(WORK + "/py.gguf", config, tensors, True), IDS), want)
check("a file by gguf-py computes the same here", e == 0, e)
e = error(ours(by_gguf_py(WORK + "/py-twin.gguf", config, tensors, False), IDS), want)
check("refused: a file by gguf-py with the rows of the folder", e > 1e-3, e)

# The tokenizer: llama.cpp's ids are ours, with and without the file's own tokenizer.json.
example = ROOT + "/examples/nano-hybrid/model"
models.V = 2048
config, tensors = models.decoder("llama")
models.save(WORK + "/words", tensors, config)
for f in ("tokenizer.json", "tokenizer_config.json"):
    shutil.copy(f"{example}/{f}", WORK + "/words")
path = convert(WORK + "/words", "bf16")
model = open_model(path)
vocab = L.llama_model_get_vocab(model)
texts = ["The quick brown fox", "it's 12345 o'clock, WE'LL see", "  two spaces\n\n\tand a tab ", "naïve façade 你好 🦙", "a" * 50, "x=1;y+=2 // ok?"]
buffer = (ctypes.c_int32 * 500)()


def their_ids(text):
    raw = text.encode()
    return list(buffer[:L.llama_tokenize(vocab, raw, len(raw), buffer, 500, False, False)])


def our_ids(folder, text):
    return json.loads(models.run("tokenize", folder, "--text", text, "--no-special", "--json", "-q").stdout)["ids"]


for text in texts:
    check(f"llama.cpp tokenizes alike: {text[:16]!r}", their_ids(text) == our_ids(path, text), (their_ids(text), our_ids(path, text)))
check("refused: another text", their_ids(texts[0]) != our_ids(path, texts[1]))
sys.exit(bad != 0)
