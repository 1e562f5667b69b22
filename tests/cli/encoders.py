#!/usr/bin/env python3
"""Embedders and rerankers: what `ingot logits` gives is what transformers gives (tests/vectors/encoders, whose script says how),
whatever the batch and the threads; quantized, packed and verified by cosine or by scores; what cannot be is refused."""
import json, os, shutil, struct, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
from tensors import save, tensors

VECTORS = ROOT + "/tests/vectors/encoders"
WORK = tempfile.mkdtemp()
IDS = json.load(open(VECTORS + "/ids.json"))
made = 0


def run(*args, status=0):
    p = subprocess.run([INGOT, *args, "-q"], capture_output=True, text=True)
    if p.returncode != status:
        check(" ".join(args), False, f"status {p.returncode}, expected {status}: {p.stderr}")
    return p


def refused(name, words, *args, status=3):
    p = subprocess.run([INGOT, *args, "-q"], capture_output=True, text=True)
    check(name, p.returncode == status and words in p.stderr and len(p.stderr.splitlines()) == 1, f"status {p.returncode}: {p.stderr}")


def variant(name, drop=None, **changes):
    """A copy with other keys (None: without it)."""
    global made
    made += 1
    out = f"{WORK}/v{made}"
    shutil.copytree(f"{VECTORS}/{name}", out, copy_function=shutil.copyfile)
    config = json.load(open(out + "/config.json"))
    for k, v in changes.items():
        config[k] = v
        if v is None:
            del config[k]
    json.dump(config, open(out + "/config.json", "w"))
    if drop:
        save(out + "/model.safetensors", {k: v for k, v in tensors(out + "/model.safetensors").items() if k != drop})
    return out


def encode(folder, ids=IDS, *more):
    """Every text's vector, and the names."""
    json.dump(ids, open(WORK + "/ids.json", "w"))
    out = WORK + "/out.safetensors"
    if os.path.exists(out):
        os.remove(out)
    run("logits", folder, "--ids", WORK + "/ids.json", "-o", out, *more)
    t = tensors(out)
    names = {k.split(".")[1] for k in t}
    kind = next(iter(names))
    return names, [list(struct.unpack(f"<{len(t[f'{i}.{kind}'][2]) // 4}f", t[f"{i}.{kind}"][2])) for i in range(len(ids))]


def expect(title, folder, kind, expected):
    names, got = encode(folder)
    worst = max(abs(a - b) / max(1, abs(b)) for x, y in zip(got, expected) for a, b in zip(x, y))
    check(title, names == {kind} and [len(x) for x in got] == [len(x) for x in expected] and worst <= 1e-5, f"{names}, {worst}")


ex = {n: json.load(open(f"{VECTORS}/{n}/expected.json")) for n in ("llama_embed", "llama_rerank", "qwen3")}
for pooling in ("avg", "weighted_avg", "cls", "last"):
    expect(f"embeddings, pooling {pooling}", variant("llama_embed", pooling=pooling), "embedding", ex["llama_embed"][pooling])
    expect(f"scores, pooling {pooling}", variant("llama_rerank", pooling=pooling), "scores", ex["llama_rerank"][pooling])
expect("the defaults of the class", variant("llama_embed", pooling=None, temperature=None), "embedding", ex["llama_embed"]["avg"])
expect("a model type alone", variant("llama_embed", architectures=None), "embedding", ex["llama_embed"]["avg"])
expect("is_causal true wins", variant("llama_embed", is_causal=True), "embedding", ex["llama_embed"]["causal avg"])
expect("is_causal false is the class's own", variant("llama_embed", is_causal=False), "embedding", ex["llama_embed"]["avg"])
expect("Qwen3ForSequenceClassification", VECTORS + "/qwen3", "scores", ex["qwen3"]["scores"])
bare = dict(drop="score.weight", num_labels=None)
expect("Qwen3Model, causal", variant("qwen3", architectures=["Qwen3Model"], **bare), "embedding", ex["qwen3"]["causal last"])
expect("Qwen3Model, is_causal false",
       variant("qwen3", architectures=["Qwen3Model"], is_causal=False, pooling="avg", **bare), "embedding", ex["qwen3"]["bidirectional avg"])
expect("Qwen3BidirectionalModel", variant("qwen3", architectures=["Qwen3BidirectionalModel"], **bare), "embedding", ex["qwen3"]["bidirectional avg"])

for name in ("llama_embed", "llama_rerank"):
    _, batch = encode(f"{VECTORS}/{name}", IDS, "--threads", "1")
    _, threads = encode(f"{VECTORS}/{name}", IDS, "--threads", "2")
    alone = [encode(f"{VECTORS}/{name}", [t])[1][0] for t in IDS]
    back = encode(f"{VECTORS}/{name}", IDS[::-1])[1][::-1]
    check(f"{name}: two threads give what one gives", batch == threads)
    check(f"{name}: a batch gives what its texts give alone", batch == alone and batch == back)
run("plan", VECTORS + "/llama_embed", "-r", "nvfp4_default-kv_fp8", "--ids", VECTORS + "/ids.json", "--json")
run("plan", VECTORS + "/llama_embed", "--json")

# ---- quantized, packed, verified ----

short = [t for t in IDS if 1 < len(t) < 200]
json.dump(short, open(WORK + "/data.json", "w"))
POLICY = WORK + "/policy.yaml"


def release(name, kind, keys):
    src, q, stats = f"{VECTORS}/{name}", f"{WORK}/q_{name}", f"{WORK}/{name}.safetensors"
    recipe = "nvfp4_default-kv_fp8"
    run("calibrate", src, "-r", recipe, "--ids", WORK + "/data.json", "-o", stats)
    run("quantize", src, "-r", recipe, "-s", stats, "-o", q)
    t = tensors(q + "/model.safetensors")
    config = json.load(open(q + "/config.json"))["quantization_config"]
    check(f"{name}: linears are NVFP4, nothing else",
          sum(k.endswith("weight_scale_2") for k in t) == 14 and ("score.weight" not in t or t["score.weight"][0] == "BF16"), sorted(t))
    check(f"{name}: no cache is declared", not any(k.endswith(("k_scale", "v_scale")) for k in t) and not config.get("kv_cache_scheme"), config)
    if "score.weight" in t:
        check(f"{name}: the score head is excluded by name", "score" in config["ignore"], config)
    run("pack", q, "-o", f"oci:{WORK}/p_{name}:t")
    p = subprocess.run([INGOT, "verify", f"oci:{WORK}/p_{name}:t", "--against", src, "--data", WORK + "/data.json", "--policy", POLICY, "--json", "-q"],
                       capture_output=True, text=True)
    report = json.loads(p.stdout)
    figures = report["parity"]
    a, b = encode(src, short)[1], encode(q, short)[1]
    if kind == "cosine":
        cos = [sum(x * y for x, y in zip(u, v)) / (sum(x * x for x in u) * sum(y * y for y in v)) ** 0.5 for u, v in zip(a, b)]
        want = {"cosine_mean": sum(cos) / len(cos), "cosine_least": min(cos)}
    else:
        diff = [abs(x - y) for u, v in zip(a, b) for x, y in zip(u, v)]
        want = {"score_difference_mean": sum(diff) / len(diff), "score_difference_max": max(diff)}
    check(f"{name}: parity is that of the vectors", all(abs(figures[k] - v) < 1e-6 for k, v in want.items()) and "kl_mean" not in figures, (figures, want))
    check(f"{name}: something was lost, not much", 0 < (1 - want["cosine_mean"] if kind == "cosine" else want["score_difference_mean"]) < 0.7, want)
    return {c["name"]: c for c in report["checks"] if c["check"] == "parity"}


open(POLICY, "w").write("parity:\n  cosine_at_least: 0.5\n  score_difference_at_most: 100\n  texts: [x]\n")
c = release("llama_embed", "cosine", None)
check("a policy's cosine is met", c["cosine"]["verdict"] == "pass" and c["cosine"]["at_least"] == 0.5, c)
open(POLICY, "w").write("parity:\n  cosine_at_least: 0.5\n  score_difference_at_most: 1e-6\n  texts: [x]\n")
c = release("llama_rerank", "scores", None)
check("a policy's difference is exceeded", c["scores"]["verdict"] == "fail" and c["scores"]["at_most"] == 1e-6, c)

run("convert", VECTORS + "/llama_rerank", "-o", WORK + "/f32", "--to", "safetensors", "--type", "f32")
check("converted to fp32 it scores the same", encode(WORK + "/f32")[1] == encode(VECTORS + "/llama_rerank")[1])

# ---- refused ----

E = VECTORS + "/llama_embed"
ids = ["--ids", VECTORS + "/ids.json"]
out = ["-o", WORK + "/never"]
refused("an unknown pooling", "key 'pooling': expected avg, mean, weighted_avg, cls or last, found 'colbert'",
        "logits", variant("llama_embed", pooling="colbert"), *ids, *out, status=4)
refused("a temperature of 0", "key 'temperature': expected a positive number, found 0", "inspect", variant("llama_rerank", temperature=0))
refused("a temperature below 0", "key 'temperature'", "inspect", variant("llama_embed", temperature=-0.5))
refused("no score.weight", "tensor 'score.weight' [3, 32] is missing", "inspect", variant("llama_rerank", drop="score.weight"))
refused("labels that the head lacks", "tensor 'score.weight': expected shape [2, 32] (from config.json), found [3, 32]",
        "inspect", variant("llama_rerank", id2label=None))
refused("labels in no object", "key 'id2label'", "inspect", variant("llama_rerank", id2label=[]))
refused("a text beyond the limit", "text 4 has 2100 tokens: LlamaBidirectionalModel takes at most 2048",
        "logits", variant("llama_embed", max_position_embeddings=2048), *ids, *out, status=4)
refused("a causal class that is not", "key 'is_causal': false, but LlamaForCausalLM gives logits",
        "inspect", variant("llama_embed", architectures=["LlamaForCausalLM"], is_causal=False), status=4)
refused("experts", "key 'num_experts'", "inspect", variant("qwen3", num_experts=4), status=4)
refused("generate", "LlamaBidirectionalModel gives embeddings, and generating needs logits", "generate", E, "--ids", "1,2", status=4)
refused("eval", "LlamaBidirectionalModel gives embeddings, and perplexity needs logits", "eval", E, *ids, status=4)
refused("search", "LlamaBidirectionalForSequenceClassification gives scores, and a search needs logits",
        "search", VECTORS + "/llama_rerank", *ids, "--bits", "6", *out, status=4)
refused("profile", "LlamaBidirectionalModel gives embeddings, and a serving profile needs logits",
        "profile", E, "--engine", "vllm@0.17.1", "--gpu", "b200:1", *out, status=4)
refused("gguf", "LlamaBidirectionalModel", "convert", E, *out, "--to", "gguf", status=4)
refused("mtp", "multi-token-prediction head", "logits", E, *ids, *out, "--mtp", status=4)
check("nothing was written", not os.path.exists(WORK + "/never"))
shutil.rmtree(WORK, ignore_errors=True)
finish()
