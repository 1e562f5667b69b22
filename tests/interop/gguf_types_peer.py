#!/usr/bin/env python3
"""ggml's types beside llama.cpp itself: files of every mix have the bytes that its own quantizer makes, every type it writes is read and
gives the logits that it computes, GPT-OSS and Mistral 3 run there, and the codes of an NVFP4 checkpoint are those that gguf-py reads.
usage: gguf_types_peer.py WORK MAKE_CHECKPOINT     INGOT: the program; a Python with llama-cpp-python, gguf, numpy"""
import ctypes, importlib.util, json, os, struct, subprocess, sys
import gguf, llama_cpp as L, numpy as np

WORK, MAKE = sys.argv[1:3]
HERE = os.path.dirname(os.path.abspath(__file__))
spec = importlib.util.spec_from_file_location("models", HERE + "/../golden/gguf.py")
models = importlib.util.module_from_spec(spec)
spec.loader.exec_module(models)
spec = importlib.util.spec_from_file_location("scales", HERE + "/../golden/gguf_scales.py")
scales = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scales)
bad = 0
IDS = [7, 11, 3, 200, 145, 30, 99, 4, 250, 12]
BASE = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 512,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "hidden_act": "silu", "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2, "attention_bias": False, "mlp_bias": False}
YARN = {"rope_type": "yarn", "factor": 16.0, "beta_fast": 32.0, "beta_slow": 1.0, "original_max_position_embeddings": 32}
MODELS = {
    "llama": BASE | {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "rope_theta": 10000.0, "tie_word_embeddings": True},
    "qwen3moe": BASE | {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "rope_theta": 1e6, "tie_word_embeddings": False, "num_experts": 4, "num_experts_per_tok": 2,
                        "moe_intermediate_size": 288, "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []},
    "gpt-oss": BASE | {"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "rope_theta": 150000.0, "tie_word_embeddings": False, "num_local_experts": 4, "num_experts_per_tok": 2,
                       "sliding_window": 8, "swiglu_limit": 7.0, "attention_bias": True, "rope_scaling": YARN},
    "mistral3": BASE | {"architectures": ["Ministral3ForCausalLM"], "model_type": "ministral3", "tie_word_embeddings": True,
                        "rope_parameters": YARN | {"rope_theta": 1e6, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1}},
}
MIXES = {"q8_0": 7, "q4_0": 2, "q4_k_s": 14, "q4_k_m": 15, "q5_k_s": 16, "q5_k_m": 17, "q6_k": 18, "mxfp4": 38}
READ = {"q4_1": 3, "q5_0": 8, "q5_1": 9, "q2_k": 10, "q3_k_m": 12, "iq4_nl": 25, "iq4_xs": 30}


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + ("" if ok else ": " + str(detail)[:300]), flush=True)


def convert(source, out, *options):
    models.run("convert", source, "--to", "gguf", "--no-tokenizer", "-o", out, "-q", "--force", *options)
    return out


def theirs_quantized(src, dst, file_type):
    p = L.llama_model_quantize_default_params()
    p.nthread, p.ftype = 2, file_type
    return L.llama_model_quantize(src.encode(), dst.encode(), ctypes.byref(p)) == 0


def tensors(path):
    return {t.name: t for t in gguf.GGUFReader(path).tensors}


def error(path, of=np.max):
    """Largest difference (or another figure of all differences) of the logits over their spread, ours and llama.cpp's on one file."""
    mp = L.llama_model_default_params()
    mp.n_gpu_layers = 0
    model = L.llama_model_load_from_file(path.encode(), mp)
    if not model:
        return float("inf")
    cp = L.llama_context_default_params()
    cp.n_ctx, cp.n_batch, cp.n_ubatch, cp.n_threads, cp.n_threads_batch = 64, 64, 64, 2, 2
    ctx = L.llama_init_from_model(model, cp)
    n_vocab = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
    ids = [i % n_vocab for i in IDS]
    batch = L.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, t in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = t, i, 1, 1
        batch.seq_id[i][0] = 0
    if L.llama_decode(ctx, batch):
        return float("inf")
    b = np.stack([np.ctypeslib.as_array(L.llama_get_logits_ith(ctx, i), shape=(n_vocab,)).copy() for i in range(len(ids))])
    models.IDS = [ids]
    dtype, shape, raw = models.logits(path, WORK)["0.logits"]
    a = np.frombuffer(raw, np.float32).reshape(shape)
    return float(of(np.abs(a - b)) / b.std())


L.llama_backend_init()
quiet = L.llama_log_callback(lambda level, text, data: None)
L.llama_log_set(quiet, None)
for name, config in MODELS.items():
    source, wide = f"{WORK}/{name}", f"{WORK}/{name}-f32.gguf"
    with open(f"{WORK}/{name}.json", "w") as f:
        json.dump(config, f)
    subprocess.run([MAKE, source, f"{WORK}/{name}.json"], check=True, stdout=subprocess.DEVNULL)
    e = error(convert(source, wide, "--type", "f32", "--verify"))
    check(f"llama.cpp computes the same, {name} f32", e <= 3e-3, e)
    for kind, file_type in MIXES.items():
        ours, theirs = convert(source, f"{WORK}/ours.gguf", "--type", kind, "--verify"), f"{WORK}/theirs.gguf"
        check(f"llama.cpp quantizes {name} to {kind}", theirs_quantized(wide, theirs, file_type))
        a, b = tensors(ours), tensors(theirs)
        wrong = [n for n in b if n not in a or a[n].tensor_type != b[n].tensor_type or not np.array_equal(a[n].data, b[n].data)]
        check(f"the bytes of llama.cpp's quantizer, {name} {kind}", not wrong and len(a) == len(b), wrong)
    check(f"refused: other bytes, {name}", not np.array_equal(tensors(wide)["token_embd.weight"].data, tensors(ours)["token_embd.weight"].data))
    # llama.cpp rounds activations to 8 bits.
    for kind in ("q4_k_m", "mxfp4") if name != "llama" else (*MIXES, "nvfp4"):
        e = error(convert(source, f"{WORK}/ours.gguf", "--type", kind))
        check(f"llama.cpp computes the same, {name} {kind}", e <= 0.3, e)
for kind, file_type in READ.items():
    path = f"{WORK}/read.gguf"
    check(f"llama.cpp quantizes to {kind}", theirs_quantized(f"{WORK}/llama-f32.gguf", path, file_type))
    e = error(path)
    check(f"read as llama.cpp reads it, {kind}", e <= 0.3, e)

# NVFP4 of every family: llama.cpp's graphs use the scales that are written. The median, because activations in 8 bits send single tokens to
# other experts; a scale that is not used puts it at 0.7 and more.
for name, (config, *_) in scales.FAMILIES.items():
    with open(f"{WORK}/{name}.json", "w") as f:
        json.dump({**scales.SIZES, **config}, f)
    subprocess.run([MAKE, f"{WORK}/s-{name}", f"{WORK}/{name}.json"], check=True, stdout=subprocess.DEVNULL)
    e = error(convert(f"{WORK}/s-{name}", f"{WORK}/s.gguf", "--type", "nvfp4"), np.median)
    check(f"llama.cpp computes the same, {name} nvfp4", e <= 0.03, e)

# Of MXFP4 the same numbers in F32: what is left between the two programs is llama.cpp's rounding of activations to Q8_0, the type
# that its product of MXFP4 takes.
mx = HERE + "/../vectors/engine/gpt_oss_mxfp4"
models.run("convert", mx, "--to", "safetensors", "--type", "f32", "-o", f"{WORK}/mx32", "-q")
few, wide = error(convert(mx, f"{WORK}/mx.gguf"), np.median), error(convert(f"{WORK}/mx32", f"{WORK}/mx32.gguf"), np.median)
check("MXFP4 of a checkpoint: the same numbers in F32 agree", wide <= 3e-3 < few <= 0.03, (wide, few))

# An NVFP4 checkpoint of ModelOpt's layout: every number that gguf-py reads is code times scale of the checkpoint.
models.run("quantize", f"{WORK}/llama", "-r", "nvfp4-data-free", "-o", f"{WORK}/nv", "-q")
g = tensors(convert(f"{WORK}/nv", f"{WORK}/nv.gguf", "--verify"))
t = models.load(f"{WORK}/nv")
values = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
e4m3 = np.array([(c & 7) * 2.0**-9 if c >> 3 == 0 else (1 + (c & 7) / 8) * 2.0 ** ((c >> 3) - 7) for c in range(127)], np.float32)
n = 0
for hf, name in (("mlp.gate_proj", "ffn_gate"), ("mlp.down_proj", "ffn_down")):
    module = f"model.layers.3.{hf}"
    codes = np.frombuffer(t[module + ".weight"][2], np.uint8).reshape(t[module + ".weight"][1])
    scale = e4m3[np.frombuffer(t[module + ".weight_scale"][2], np.uint8)].reshape(codes.shape[0], -1)
    q = np.stack([codes & 15, codes >> 4], axis=-1).reshape(codes.shape[0], -1)
    want = values[q & 7] * np.where(q & 8, -1, 1).astype(np.float32) * np.repeat(scale, 16, axis=1)
    got = gguf.quants.dequantize(g[f"blk.3.{name}.weight"].data, g[f"blk.3.{name}.weight"].tensor_type).reshape(want.shape)
    second = np.frombuffer(t[module + ".weight_scale_2"][2], np.float32)[0]
    n += np.array_equal(got, want) and float(g[f"blk.3.{name}.scale"].data[0]) == float(second)
check("the codes and scales of an NVFP4 checkpoint", n == 2, n)
e = error(f"{WORK}/nv.gguf")
check("llama.cpp computes the same, an NVFP4 checkpoint", e <= 0.3, e)
sys.exit(bad != 0)
