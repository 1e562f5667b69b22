#!/usr/bin/env python3
"""What is said of GGUF files, good and bad ones: exit status and words for every file of tests/fuzz/corpus/gguf, split files,
folders with several models, tokenizers that are there and not, and what `convert` refuses. Values: tests/golden/gguf.py."""
import json, math, os, resource, shutil, struct, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
sys.path.insert(0, ROOT + "/tests/fuzz")
import make_corpus_gguf as corpus  # noqa: E402


with open(INGOT, "rb") as program:
    SANITIZED = b"__asan_init" in program.read()  # its shadow memory alone is terabytes of addresses
if SANITIZED:
    os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":max_allocation_size_mb=1024:hard_rss_limit_mb=1024"


def limit():
    if not SANITIZED:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


def says(name, status, words, *args):
    """The command ends so, with the words in its error, within a gigabyte of addresses and ten seconds."""
    try:
        p = subprocess.run([INGOT, *args], capture_output=True, text=True, timeout=10, preexec_fn=limit, errors="replace")
    except subprocess.TimeoutExpired:
        return check(name, False, "took longer than 10 s")
    one_line = len([x for x in p.stderr.strip().splitlines() if not x.startswith("usage:")]) == 1
    check(name, p.returncode == status and words in p.stderr and (one_line or not status), f"{p.returncode}, expected {status}: {p.stderr}")
    return p


def put(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)
    return path


with tempfile.TemporaryDirectory() as tmp:
    for name, data in corpus.GOOD.items():
        says("inspect a file: " + name, 0, "", "inspect", put(f"{tmp}/{name}.gguf", data))
        says("inspect a folder: " + name, 0, "", "inspect", os.path.dirname(put(f"{tmp}/dir-{name}/m.gguf", data)))
    for name, (status, words, data) in corpus.BAD.items():
        with open(f"{ROOT}/tests/fuzz/corpus/gguf/{name}", "rb") as f:
            check("the saved input is this one: " + name, f.read() == data)
        says("inspect: " + name, status, words, "inspect", put(f"{tmp}/x.gguf", data))

    # Arrays with one element per layer (deci), and heads that are not there.
    def deci(*more, without=(), tensors=corpus.TENSORS):
        """A model of one layer, with some keys replaced and some left out."""
        keys = {k.replace("llama.", "deci."): (k.replace("llama.", "deci."), t, "deci" if k == "general.architecture" else v) for k, t, v in corpus.PAIRS}
        keys |= {"deci." + k: ("deci." + k, t, v) for k, t, v in more}
        return put(f"{tmp}/deci.gguf", corpus.gguf([p for k, p in keys.items() if k not in ["deci." + w for w in without]], tensors))

    arrays = [("attention.head_count", corpus.I32, [2]), ("attention.head_count_kv", corpus.I32, [1])]
    says("deci: one number for all layers", 0, "", "inspect", deci())
    says("deci: a number per layer", 0, "", "inspect", deci(*arrays, ("feed_forward_length", corpus.I32, [4])))
    for key in ("attention.head_count", "attention.head_count_kv", "feed_forward_length"):
        says(f"deci: two elements of {key}", 3, f"'{key}' has 2 elements for 1 layers", "inspect", deci((key, corpus.I32, [1, 1])))
        says(f"deci: no element of {key}", 3, f"'{key}' has 0 elements for 1 layers", "inspect", deci((key, corpus.I32, [])))
        says(f"deci: a negative {key}", 3, key, "inspect", deci((key, corpus.I32, [-1])))
        says(f"deci: texts as {key}", 3, key, "inspect", deci((key, corpus.STRING, ["1"])))
        if key != "attention.head_count_kv":
            says(f"deci: without {key}", 3, f"'{key}' is missing", "inspect", deci(without=[key]))
    says("deci: no heads where tensors are", 3, "is 0 in every layer", "inspect", deci(("attention.head_count", corpus.I32, [0]), ("attention.head_count_kv", corpus.I32, [0])))
    says("deci: query heads without key heads, and keys", 3, "attn_k.weight", "inspect", deci(("attention.head_count_kv", corpus.I32, [0])))
    says("deci: key heads that do not divide", 3, "not a multiple", "inspect", deci(("attention.head_count_kv", corpus.I32, [3])))
    says("deci: heads of another width", 3, "blk.0.attn_k", "inspect", deci(("attention.head_count_kv", corpus.I32, [2])))
    says("deci: an MLP of width 0 with tensors", 3, "not part of deci", "inspect", deci(("feed_forward_length", corpus.I32, [0])))
    says("deci: an MLP of another width", 3, "mlp", "inspect", deci(("feed_forward_length", corpus.I32, [8])))

    # Projections in two tensors (qwen3next, deepseek2): a half that is missing, of another shape or type, keys that do not fit.
    COMMON = [("embedding_length", corpus.U32, 4), ("block_count", corpus.U32, 1), ("attention.head_count", corpus.U32, 2), ("attention.layer_norm_rms_epsilon", corpus.F32, 1e-6),
              ("expert_count", corpus.U32, 1), ("expert_used_count", corpus.U32, 1), ("expert_feed_forward_length", corpus.U32, 4)]
    NEXT = COMMON + [("expert_shared_feed_forward_length", corpus.U32, 4), ("ssm.conv_kernel", corpus.U32, 4), ("ssm.state_size", corpus.U32, 2), ("ssm.group_count", corpus.U32, 1),
                     ("ssm.time_step_rank", corpus.U32, 2), ("ssm.inner_size", corpus.U32, 4)]
    DEEP = COMMON + [("feed_forward_length", corpus.U32, 4), ("attention.kv_lora_rank", corpus.U32, 4), ("attention.key_length_mla", corpus.U32, 5), ("attention.value_length_mla", corpus.U32, 2),
                     ("rope.dimension_count", corpus.U32, 2), ("expert_shared_count", corpus.U32, 1), ("expert_gating_func", corpus.U32, 2)]
    QKV, Z = ("blk.0.attn_qkv.weight", "F16", (4, 8)), ("blk.0.attn_gate.weight", "F16", (4, 4))
    K_B, V_B = ("blk.0.attn_k_b.weight", "F16", (3, 4, 2)), ("blk.0.attn_v_b.weight", "F16", (4, 2, 2))

    def two(arch, pairs, tensors, *more, without=()):
        keys = {k: (f"{arch}.{k}", t, v) for k, t, v in pairs} | {k: (f"{arch}.{k}", t, v) for k, t, v in more}
        head = [("general.architecture", corpus.STRING, arch), ("tokenizer.ggml.model", corpus.STRING, "none")]
        return put(f"{tmp}/two.gguf", corpus.gguf(head + [p for k, p in keys.items() if k not in without], [("token_embd.weight", "F16", (4, 4)), *tensors]))

    for arch, pairs, a, b, cases in (
            ("qwen3next", NEXT, QKV, Z,
             [("groups that do not divide", "does not divide", ("ssm.group_count", corpus.U32, 3)), ("no groups", "'ssm.group_count' is missing or 0", ("ssm.group_count", corpus.U32, 0)),
              ("an array of groups", "ssm.group_count", ("ssm.group_count", corpus.U32, [1])), ("heads that do not divide", "ssm.time_step_rank", ("ssm.time_step_rank", corpus.U32, 3)),
              ("a larger state", "has not the shape [10, 4]", ("ssm.state_size", corpus.U32, 3))]),
            ("deepseek2", DEEP, K_B, V_B,
             [("keys no longer than their rotation", "attention.key_length_mla", ("attention.key_length_mla", corpus.U32, 2)), ("no heads", "head", ("attention.head_count", corpus.U32, 0)),
              ("heads per layer", "attention.head_count", ("attention.head_count", corpus.U32, [2])), ("other heads", "has not the shape [3, 4, 3]", ("attention.head_count", corpus.U32, 3)),
              ("longer values", "has not the shape [2, 3, 4]", ("attention.value_length_mla", corpus.U32, 3))])):
        for what, words, key in cases:
            says(f"{arch}: {what}", 3, words, "inspect", two(arch, pairs, [a, b], key))
        says(f"{arch}: the first half alone", 3, f"is there without '{b[0]}'", "inspect", two(arch, pairs, [a]))
        says(f"{arch}: the second half alone", 3, f"is there without '{a[0]}'", "inspect", two(arch, pairs, [b]))
        says(f"{arch}: a first half of one dimension", 3, "has not the shape", "inspect", two(arch, pairs, [(a[0], "F16", (32,)), b]))
        says(f"{arch}: a second half of other rows", 3, "has not the shape", "inspect", two(arch, pairs, [a, (b[0], "F16", (4, 3))]))
        says(f"{arch}: halves of different types", 4, "of different types", "inspect", two(arch, pairs, [a, (b[0], "F32", b[2])]))
    wide = [(K_B[0], "Q8_0", (32, 32, 2)), (V_B[0], "Q8_0", (32, 2, 2))]
    says("deepseek2: keys in blocks", 4, "only plain numbers", "inspect", two("deepseek2", DEEP, wide, ("attention.key_length_mla", corpus.U32, 34), ("attention.kv_lora_rank", corpus.U32, 32)))
    says("deepseek2: softmax", 4, "expert_gating_func", "inspect", two("deepseek2", DEEP, [K_B, V_B], ("expert_gating_func", corpus.U32, 1)))
    says("deepseek2: no gating", 4, "expert_gating_func", "inspect", two("deepseek2", DEEP, [K_B, V_B], without=["expert_gating_func"]))

    # NVFP4's scales beside a weight: values that no scale can have are found by what reads them, shapes by everything.
    corpus.TYPES["NVFP4"] = (40, 64, 36)
    SCALE, INPUT = "blk.0.ffn_up.scale", "blk.0.ffn_up.input_scale"
    number = lambda *v: struct.pack(f"<{len(v)}f", *v)

    def scaled(*more, values={}, up="NVFP4"):
        keys = [(k, t, 64 if k in ("llama.embedding_length", "llama.feed_forward_length") else v) for k, t, v in corpus.PAIRS]
        tokens = ("token_embd.weight", "output.weight")  # their second dimension stays
        wide = [(n, up if n == "blk.0.ffn_up.weight" else kind, tuple(d if i and n in tokens else 16 * d for i, d in enumerate(dims))) for n, kind, dims in corpus.TENSORS]
        fill = {"F16": struct.pack("<e", 0.1), "F32": number(1), "NVFP4": bytes([56] * 4 + [0x11] * 32)}
        data = b""
        for n, kind, dims, *_ in wide + list(more):
            raw = values.get(n, fill[kind] * (corpus.size_of(kind, dims) // len(fill[kind])))
            data += raw + bytes(-len(raw) % 32)
        return put(f"{tmp}/scaled.gguf", corpus.gguf(keys, wide + list(more), data=data))

    with open(tmp + "/ids.json", "w") as f:
        f.write("[[0, 1, 2]]")
    one = (SCALE, "F32", (1,))
    reads = {"logits": ["--ids", tmp + "/ids.json", "-o", tmp + "/l.safetensors"], "convert": ["--to", "gguf", "--no-tokenizer", "-o", tmp + "/scales-out.gguf", "--force"]}
    for command, rest in reads.items():
        says(f"{command}: a scale", 0, "", command, scaled(one, values={SCALE: number(0.5)}), "-q", *rest)
        says(f"{command}: no scale, which is 1", 0, "", command, scaled(), "-q", *rest)
        for v in ("nan", "inf", "-inf", "0", "-0", "-1"):
            says(f"{command}: a scale of {v}", 3, "a scale is positive and finite", command, scaled(one, values={SCALE: number(float(v))}), "-q", *rest)
        says(f"{command}: a scale of inputs that is NaN", 3, "a scale is positive and finite", command, scaled(one, (INPUT, "F32", (1,)), values={INPUT: number(float("nan"))}), "-q", *rest)
    for v, words in (("nan", "not finite"), ("0", "a scale is positive"), ("-1", "a scale is positive")):
        says(f"inspect --strict: a scale of {v}", 3, words, "inspect", "--strict", "-q", scaled(one, values={SCALE: number(float(v))}))
    for what, bad_one in (("two numbers", (SCALE, "F32", (2,))), ("two dimensions", (SCALE, "F32", (1, 1))), ("F16", (SCALE, "F16", (1,)))):
        says("a scale: " + what, 3, f"'{SCALE}' is not one F32 number", "inspect", scaled(bad_one))
    says("a scale twice", 3, f"'{SCALE}' is there twice", "inspect", scaled(one, one))
    says("a scale of a norm", 3, "is not part of", "inspect", scaled(("blk.0.attn_norm.scale", "F32", (1,))))
    says("a scale of a layer that is not there", 3, "is not part of", "inspect", scaled(("blk.7.ffn_up.scale", "F32", (1,))))
    says("a scale of a plain weight", 3, "no quantization type is stored as F16 with weight_scale_2", "inspect", scaled(one, up="F16"))
    says("a scale that begins where another tensor lies", 3, "begins at byte", "inspect", scaled((SCALE, "F32", (1,), 0)))

    os.remove(tmp + "/scales-out.gguf")

    # Sets of files.
    good, pairs, tensors = corpus.GOOD["good"], corpus.PAIRS, corpus.TENSORS
    split = lambda k, n: [("split.no", corpus.U16, k), ("split.count", corpus.U16, n), ("split.tensors.count", corpus.I32, len(tensors))]
    one, two = corpus.gguf(pairs + split(0, 2), tensors[:5]), corpus.gguf(split(1, 2), tensors[5:])
    put(f"{tmp}/split/m-00001-of-00002.gguf", one), put(f"{tmp}/split/m-00002-of-00002.gguf", two)
    says("two parts, the folder", 0, "", "inspect", tmp + "/split")
    says("two parts, the first file", 0, "", "inspect", tmp + "/split/m-00001-of-00002.gguf")
    says("two parts, the second file", 0, "", "inspect", tmp + "/split/m-00002-of-00002.gguf")
    put(f"{tmp}/swapped/m-00001-of-00002.gguf", two), put(f"{tmp}/swapped/m-00002-of-00002.gguf", one)
    says("parts whose names are swapped", 3, "says that it is number 2 of 2", "inspect", tmp + "/swapped")
    put(f"{tmp}/lost/m-00002-of-00002.gguf", two)
    says("a part that is missing", 3, "'m-00001-of-00002.gguf' is not there", "inspect", tmp + "/lost")
    put(f"{tmp}/count/m-00001-of-00002.gguf", corpus.gguf(pairs + split(0, 2)[:2] + [("split.tensors.count", corpus.I32, 3)], tensors[:5]))
    put(f"{tmp}/count/m-00002-of-00002.gguf", two)
    says("a count of tensors that is wrong", 3, "split.tensors.count", "inspect", tmp + "/count")
    put(f"{tmp}/several/a.gguf", good), put(f"{tmp}/several/b.gguf", good)
    says("two models in a folder", 2, "several GGUF models", "inspect", tmp + "/several")
    put(f"{tmp}/projector/a.gguf", good), put(f"{tmp}/projector/mmproj-a.gguf", b"not looked at")
    says("a model and its projector", 0, "", "inspect", tmp + "/projector")
    put(f"{tmp}/empty/mmproj-a.gguf", good)
    says("a projector alone", 4, "a part of a GGUF model", "inspect", tmp + "/empty")
    says("a file that is not there", 3, "absent.gguf", "inspect", tmp + "/absent.gguf")

    # Tokenizers: put together, absent, of a kind that is not read.
    p = says("tokenize from tokens and merges", 0, "", "tokenize", tmp + "/tokenizer.gguf", "--text", "abba", "--json", "-q")
    ids = json.loads(p.stdout)["ids"]
    check("the ids are those of the merges", ids in ([2, 1, 0], [3, 2, 1, 0]), ids)
    says("a file without a tokenizer", 4, "put the model's tokenizer.json into a folder with it", "tokenize", tmp + "/good.gguf", "--text", "a")
    spm = corpus.but(corpus.TOKENIZER, "tokenizer.ggml.model", ("tokenizer.ggml.model", corpus.STRING, "llama"))
    says("a tokenizer without scores", 4, "lacks tokens, scores or types", "tokenize", put(f"{tmp}/spm.gguf", corpus.gguf(spm, tensors)), "--text", "a")
    spm = corpus.but(corpus.TOKENIZER, "tokenizer.ggml.model", ("tokenizer.ggml.model", corpus.STRING, "t5"))
    says("a kind of tokenizer that is not read", 4, "not read here, 't5'", "tokenize", put(f"{tmp}/t5.gguf", corpus.gguf(spm, tensors)), "--text", "a")
    pre = corpus.but(corpus.TOKENIZER, "tokenizer.ggml.pre", ("tokenizer.ggml.pre", corpus.STRING, "viking"))
    says("a pre-tokenizer that is not known", 4, "'viking'", "tokenize", put(f"{tmp}/pre.gguf", corpus.gguf(pre, tensors)), "--text", "a")

    # convert
    says("convert without --to", 2, "--to", "convert", tmp + "/good.gguf", "-o", tmp + "/o")
    says("convert without an output", 2, "--output", "convert", tmp + "/good.gguf", "--to", "gguf")
    says("convert to something else", 2, "gguf, safetensors or hf", "convert", tmp + "/good.gguf", "--to", "onnx", "-o", tmp + "/o")
    says("convert to a type that is not known", 2, "--type", "convert", tmp + "/good.gguf", "--to", "gguf", "--type", "q9_k", "-o", tmp + "/o")
    says("q8_0 in safetensors", 2, "q8_0", "convert", tmp + "/good.gguf", "--to", "safetensors", "--type", "q8_0", "-o", tmp + "/o")
    says("gguf without a tokenizer", 4, "--no-tokenizer", "convert", tmp + "/good.gguf", "--to", "gguf", "-o", tmp + "/o.gguf")
    check("nothing is left behind", not [f for f in os.listdir(tmp) if "partial" in f or f.startswith((".o", "o"))], os.listdir(tmp))
    says("gguf to gguf", 0, "", "convert", tmp + "/good.gguf", "--to", "gguf", "--no-tokenizer", "-o", tmp + "/o.gguf", "-q")
    says("an output that exists", 2, "--force", "convert", tmp + "/good.gguf", "--to", "gguf", "--no-tokenizer", "-o", tmp + "/o.gguf")
    with open(tmp + "/o.gguf", "rb") as f:
        first = f.read()
    says("once more, one thread", 0, "", "convert", tmp + "/good.gguf", "--to", "gguf", "--no-tokenizer", "-o", tmp + "/o.gguf", "--force", "-q", "-t", "1")
    with open(tmp + "/o.gguf", "rb") as f:
        check("the same bytes whatever the threads", f.read() == first)
    says("gguf to safetensors", 0, "", "convert", tmp + "/o.gguf", "--to", "safetensors", "-o", tmp + "/back", "--shard-size", "64", "-q")
    says("the folder opens", 0, "", "inspect", tmp + "/back")
    check("in several files", len([f for f in os.listdir(tmp + "/back") if f.endswith(".safetensors")]) > 3)
    wide = [(k, t, 32 if k.endswith(("embedding_length", "feed_forward_length")) else v) for k, t, v in pairs]
    rows = {"token_embd.weight": 4, "output.weight": 4, "blk.0.attn_k.weight": 16, "blk.0.attn_v.weight": 16}
    q8_0 = corpus.gguf(wide, [(n, "Q8_0", (32, rows.get(n, 32))) if len(d) == 2 else (n, t, (32,)) for n, t, d in tensors])
    put(tmp + "/q.gguf", q8_0)
    says("inspect Q8_0", 0, "", "inspect", tmp + "/q.gguf")
    says("quantizing Q8_0", 4, "quantized already", "plan", tmp + "/q.gguf", "-r", "nvfp4-data-free")
    says("copying Q8_0 into safetensors", 4, "ingot convert --to safetensors", "plan", tmp + "/q.gguf", "-r", "copy")

    # YaRN: llama.cpp multiplies attn_factor with 1 + 0.1 ln(factor) (rope_yarn of ggml), attention_factor is the product.
    shutil.copytree(ROOT + "/tests/vectors/engine/llama", tmp + "/yarn")
    config = json.load(open(tmp + "/yarn/config.json"))
    config.pop("rope_parameters", None)
    config["rope_scaling"] = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "attention_factor": 1.4}
    json.dump(config, open(tmp + "/yarn/config.json", "w"))
    says("YaRN with its own factor of cosines", 0, "", "convert", tmp + "/yarn", "--to", "gguf", "--no-tokenizer", "-o", tmp + "/yarn.gguf", "-q")
    data, key = open(tmp + "/yarn.gguf", "rb").read(), b"llama.rope.scaling.attn_factor"
    kind, value = struct.unpack_from("<If", data, data.index(key) + len(key))
    check("attn_factor is what llama.cpp lacks of it", kind == 6 and abs(value - 1.4 / (1 + 0.1 * math.log(4))) < 1e-6 and b"yarn_attn_factor" not in data, (kind, value))
    says("and back", 0, "", "convert", tmp + "/yarn.gguf", "--to", "safetensors", "-o", tmp + "/yarn-back", "-q")
    back = json.load(open(tmp + "/yarn-back/config.json"))
    check("attention_factor is the product again", abs((back.get("rope_scaling") or back["rope_parameters"])["attention_factor"] - 1.4) < 1e-6, back)
    config["rope_scaling"]["factor"] = 0.5
    json.dump(config, open(tmp + "/yarn/config.json", "w"))
    says("YaRN of a factor below 1", 3, "factor is 0.5", "convert", tmp + "/yarn", "--to", "gguf", "--no-tokenizer", "-o", tmp + "/y.gguf", "-q")
finish()
