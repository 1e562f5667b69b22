"""Writes the saved inputs of fuzz_safetensors, fuzz_index and fuzz_config into tests/fuzz/corpus/: small files, good ones and one for every
rule that a reader must enforce. usage: make_corpus.py [FOLDER]
"""
import json, os, struct, sys

ROOT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")


def save(kind, name, data):
    folder = os.path.join(ROOT, kind)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode("utf-8"))


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def tensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else header.encode() if isinstance(header, str) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def safetensors():
    one = entry("U8", [1], 0, 1)
    good = {
        "empty": tensors("{}"),
        "one": tensors({"a": one}, b"x"),
        "metadata": tensors({"__metadata__": {"format": "pt"}, "a": one}, b"x"),
        "metadata_null": tensors({"__metadata__": None, "a": one}, b"x"),
        "padded": tensors(json.dumps({"a": one}) + " " * 17, b"x"),
        "scalar": tensors({"a": entry("F32", [], 0, 4)}, b"abcd"),
        "several": tensors({"b": entry("BF16", [2, 3], 4, 16), "a": entry("F32", [1], 0, 4), "c": entry("I64", [1], 16, 24)}, bytes(24)),
        "zero_sized": tensors({"z": entry("U8", [0], 1, 1), "a": one, "y": entry("F32", [2, 0], 0, 0), "b": entry("U8", [1], 1, 2)}, b"xy"),
        "sub_byte": tensors({"a": entry("F4", [3, 2], 0, 3), "b": entry("F6_E2M3", [4], 3, 6)}, bytes(6)),
        "escaped": tensors('{"\\u0061\\ud83d\\ude00":{"dtyp\\u0065":"U8","shape":[1],"data_offsets":[0,1]}}', b"x"),
        "every_dtype": tensors({t: entry(t, [8], 8 * i, 8 * i + 8) for i, t in enumerate(["BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"])}, bytes(48)),
    }
    bad = {
        "nothing": b"", "short": b"\1\2\3", "length_only": struct.pack("<Q", 0), "length_past_end": tensors("{}", length=3),
        "length_limit": tensors("{}", length=100000001), "length_huge": tensors("{}", length=2**64 - 1), "length_wraps": tensors("{}", length=2**64 - 8),
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "array": tensors("[]"), "two_values": tensors("{}{}"),
        "bom": tensors(b"\xef\xbb\xbf{}"), "not_utf8": tensors(b'{"\xff":1}'), "lone_surrogate": tensors('{"\\ud800":1}'), "nul_name": tensors('{"\\u0000":1}'),
        "deep": tensors("[" * 200), "deep_in_entry": tensors('{"a":{"shape":' + "[" * 150),
        "duplicate": tensors('{"a":%s,"a":%s}' % (json.dumps(one), json.dumps(entry("U8", [1], 1, 2))), b"xy"),
        "duplicate_escaped": tensors('{"a":%s,"\\u0061":%s}' % (json.dumps(one), json.dumps(entry("U8", [1], 1, 2))), b"xy"),
        "duplicate_field": tensors('{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"x"),
        "unknown_field": tensors('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}', b"x"),
        "missing_field": tensors('{"a":{"dtype":"U8","shape":[1]}}', b"x"), "entry_array": tensors('{"a":["U8",[1],[0,1]]}', b"x"),
        "dtype_unknown": tensors({"a": entry("U9", [1], 0, 1)}, b"x"), "dtype_number": tensors({"a": entry(8, [1], 0, 1)}, b"x"),
        "shape_negative": tensors({"a": entry("U8", [-1], 0, 1)}, b"x"), "shape_float": tensors({"a": entry("U8", [1.0], 0, 1)}, b"x"),
        "shape_wraps": tensors({"a": entry("U8", [4194305, 4194305, 211106198978564], 0, 4)}, bytes(4)),
        "shape_wraps_bits": tensors({"a": entry("F32", [2**62 + 1], 0, 4)}, bytes(4)), "shape_2_64": tensors('{"a":{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,0]}}'),
        "many_dims": tensors({"a": entry("U8", [1] * 9, 0, 1)}, b"x"), "sub_byte_odd": tensors({"a": entry("F4", [3], 0, 2)}, b"xy"),
        "offsets_one": tensors('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}', b"x"), "offsets_three": tensors('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}', b"x"),
        "offsets_swapped": tensors({"a": entry("U8", [1], 1, 0)}, b"x"), "offsets_wrap": tensors({"a": entry("U8", [1], 2**64 - 1, 0)}, b"x"),
        "gap_front": tensors({"a": entry("U8", [1], 1, 2)}, b"xy"), "gap": tensors({"a": one, "b": entry("U8", [1], 2, 3)}, b"xyz"),
        "overlap": tensors({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}, b"xyz"), "zero_inside": tensors({"a": entry("U8", [2], 0, 2), "z": entry("U8", [0], 1, 1)}, b"xy"),
        "truncated": tensors({"a": entry("U8", [4], 0, 4)}, b"xy"), "trailing": tensors({"a": one}, b"xy"),
        "metadata_number": tensors({"__metadata__": {"a": 1}}), "metadata_array": tensors({"__metadata__": []}), "metadata_twice": tensors('{"__metadata__":{},"__metadata__":{}}'),
        "metadata_key_twice": tensors('{"__metadata__":{"a":"b","a":"c"}}'), "control_name": tensors({"a\n\x1b[31m": entry("U8", [1], 0, 9)}, b"x"),
    }
    for name, data in list(good.items()) + [("bad_" + k, v) for k, v in bad.items()]:
        save("safetensors", name, data)
    # The form in which the entry fills in the length itself: a header, 0x1e, the data.
    for name, data in good.items():
        n = struct.unpack("<Q", data[:8])[0]
        save("safetensors", "split_" + name, data[8:8 + n] + b"\x1e" + data[8 + n:])


def index():
    s1, s2 = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    whole = {"a": s1, "b": s1, "c": s2}
    rows = {
        "good": {"metadata": {"total_size": 3}, "weight_map": whole}, "good_no_metadata": {"weight_map": whole},
        "good_more": {"metadata": {"total_size": 3.0, "total_parameters": 3, "x": [{"y": None}]}, "weight_map": whole, "z": [1, {"a": []}]},
        "total_wrong": {"metadata": {"total_size": 99}, "weight_map": whole}, "total_text": {"metadata": {"total_size": "3"}, "weight_map": whole},
        "total_negative": {"metadata": {"total_size": -1}, "weight_map": whole}, "missing": {"weight_map": {"a": s1, "c": s2}},
        "other_file": {"weight_map": {"a": s1, "b": s2, "c": s2}}, "extra": {"weight_map": dict(whole, d=s2)}, "absent_file": {"weight_map": dict(whole, d="x.safetensors")},
        "traversal": {"weight_map": dict(whole, d="../" + s1)}, "absolute": {"weight_map": dict(whole, d="/etc/passwd")}, "itself": {"weight_map": dict(whole, d="model.safetensors.index.json")},
        "one_shard": {"weight_map": {"a": s1, "b": s1}}, "no_map": {"metadata": {}}, "map_array": {"weight_map": []}, "value_number": {"weight_map": {"a": 1}}, "array": [],
    }
    for name, doc in rows.items():
        save("index", name, json.dumps(doc))
    save("index", "spelled", '{"weight_map":{"\\u0061":"%s","b":"model-0000\\u0031-of-00002.safetensors","c":"%s"}}' % (s1, s2))
    save("index", "twice", '{"weight_map":{"a":"%s","b":"%s","c":"%s","a":"%s"}}' % (s1, s1, s2, s1))
    save("index", "map_twice", '{"weight_map":{"a":"%s"},"weight_map":{}}' % s1)
    save("index", "nul", '{"weight_map":{"a\\u0000":"%s"}}' % s1)
    save("index", "cut", json.dumps(rows["good"])[:-20])
    save("index", "nothing", b"")


def config():
    def join(config, generation=None, quant=None, names=()):
        parts = [config, generation, quant]
        texts = [p if isinstance(p, str) else "" if p is None else json.dumps(p) for p in parts]
        return "\x1e".join(texts + ["\n".join(names)])

    names = ["lm_head", "m.0.in_proj", "m.1.mixer.experts.3.up_proj", "m.1.mixer.experts", "m.1.gate", "m.10.gate_proj"]
    flat = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head", "m.1*", "*.gate"], "kv_cache_scheme": {"type": "float", "num_bits": 8},
            "config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 16}, "targets": ["Linear"]}}}
    nested = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "group_size": 16, "exclude_modules": ["lm_head", "m.1*", "*.gate"]}}
    layers = {"m.0.in_proj": {"quant_algo": "FP8"}, "m.1.mixer.experts": {"quant_algo": "NVFP4", "group_size": 16}}
    mixed = {"quantization": {"quant_algo": "MIXED_PRECISION", "kv_cache_quant_algo": None, "quantized_layers": layers, "exclude_modules": ["mtp*"]}}
    rows = {
        "plain": join({"model_type": "x", "eos_token_id": 2, "bos_token_id": 1}), "nonfinite": join('{"time_step_limit": [0.0, Infinity], "a": -Infinity, "b": NaN}'),
        "float_words": join({"a": {"__float__": "Infinity"}, "b": {"__float__": "x"}}), "eos_list": join({"eos_token_id": 2}, {"eos_token_id": [2, 11]}),
        "eos_bad": join({"eos_token_id": [1, "2"]}), "eos_nested": join({"text_config": {"eos_token_id": 7, "bos_token_id": None}}),
        "flat": join({"quantization_config": flat}, None, None, names), "nested": join({}, None, nested, names), "both": join({"quantization_config": flat}, None, nested, names),
        "nested_inline": join({"quantization_config": nested}, None, None, names), "mixed": join({}, None, mixed, names),
        "mixed_flat": join({"quantization_config": dict(flat, quant_algo="MIXED_PRECISION", quantized_layers=layers)}, None, None, names),
        "disagree_algo": join({"quantization_config": dict(flat, quant_algo="FP8")}, None, nested), "disagree_ignore": join({"quantization_config": dict(flat, ignore=[])}, None, nested),
        "unknown_algo": join({}, None, {"quantization": {"quant_algo": "W4A16_AWQ"}}), "other_method": join({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}),
        "globs": join({"quantization_config": dict(flat, ignore=["*a*b*c", "[!x]?[a-", "", "*", "[]]", "m.[0-9]*"])}, None, None, names),
        "duplicate": join('{"a":1,"\\u0061":2}'), "deep": join("[" * 120), "numbers": join('{"a":[1e5,-0,0.1,1E+2,123456789012345678901234567890,1e999]}'),
        "strings": join('{"a":"\\u00e9\\ud83d\\ude00\\n\\"\\\\\\/","b":"\\ud800"}'), "not_utf8": join('{"a":"') .encode() + b'\xff"}', "nothing": join(""), "array": join("[]"),
        "members": join('{\n  "a" : 1 ,\n  "b":[ ],"c" : { "d" : null }\n}\n'),
    }
    linear = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16, "symmetric": True, "dynamic": False, "scale_dtype": "torch.float8_e4m3fn"}
    fp8 = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True, "dynamic": False}
    groups = {"group_0": {"targets": ["Linear", "re:.*\\.experts\\..*"], "weights": linear, "input_activations": dict(linear, dynamic="local"), "format": "nvfp4-pack-quantized"},
              "group_1": {"targets": ["m.0.in_proj"], "weights": fp8, "input_activations": dict(fp8, strategy="token", dynamic=True), "format": "float-quantized"}}
    ct = {"quant_method": "compressed-tensors", "quantization_status": "compressed", "format": "mixed-precision", "config_groups": groups, "ignore": ["lm_head", "re:m\\.1\\.(?:a|b)$"],
          "kv_cache_scheme": {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True, "dynamic": False}}
    int4 = {"bits": 4, "group_size": 128}
    rows["compressed"] = join({"quantization_config": ct}, None, None, names)
    rows["awq"] = join({"quantization_config": dict(int4, quant_method="awq", zero_point=True, version="gemm", modules_to_not_convert=["lm_head", "gate"])}, None, None, names)
    rows["gptq"] = join({"quantization_config": dict(int4, quant_method="gptq", sym=False, desc_act=True, lm_head=True, checkpoint_format="gptq",
                                                     dynamic={"-:.*\\.gate$": {}}, modules_in_block_to_quantize=[["in_proj"], ["mixer.experts.3.up_proj"]])}, None, None, names)
    for name, data in rows.items():
        save("config", name, data)
    # One configuration of every family, and what none of them may stumble over.
    tiny = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + "/tests/vectors/engine"
    for name in sorted(os.listdir(tiny)):
        if os.path.isdir(f"{tiny}/{name}"):
            save("config", "family_" + name, open(f"{tiny}/{name}/config.json").read())
    dense = {"dim": 32, "n_layers": 2, "head_dim": 8, "hidden_dim": 48, "n_heads": 4, "n_kv_heads": 2, "norm_eps": 1e-5, "vocab_size": 64, "rope_theta": 1e6}
    yarn = {"yarn": {"original_max_position_embeddings": 16, "factor": 8.0, "apply_scale": False, "beta": 32, "alpha": 1},
            "llama_4_scaling": {"original_max_position_embeddings": 16, "beta": 0.1}}
    moe = {"num_experts": 4, "num_experts_per_tok": 2, "expert_hidden_dim": 16, "num_shared_experts": 1, "first_k_dense_replace": 1}
    save("config", "native_dense", json.dumps(dense | {"sliding_window": 9}))
    save("config", "native_yarn", json.dumps(dense | yarn))
    save("config", "native_large3", json.dumps(dense | yarn | {"q_lora_rank": 16, "kv_lora_rank": 40, "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 20, "moe": moe}))
    for name in ("llama_embed", "llama_rerank", "qwen3"):
        save("config", "encoder_" + name, open(f"{os.path.dirname(tiny)}/encoders/{name}/config.json").read())
    llama = json.load(open(tiny + "/llama/config.json"))
    odd = {"layers": {"num_hidden_layers": 4096, "num_experts": 65536}, "theta": {"rope_theta": 1e-300}, "factor": {"rope_scaling": {"rope_type": "yarn", "factor": 1e308}},
           "heads": {"num_attention_heads": 1 << 24, "head_dim": 1 << 24}, "eps": {"rms_norm_eps": -0.0}}
    for name, change in odd.items():
        save("config", "odd_" + name, json.dumps({**llama, **change}))


safetensors()
index()
config()
