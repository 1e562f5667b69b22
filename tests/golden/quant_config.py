"""Our quantization configs against ModelOpt's own: the same meaning for every module of every golden, and the meaning vLLM takes from them.

The reading below is written from the rules (shell wildcards for exclusions; `quantized_layers` by name, for experts by their container) and from
vLLM's behaviour (an excluded name also counts inside a name; `prefix*` becomes `prefix` and `prefix.*`; experts are asked for once), not from our C.
"""
import fnmatch, glob, json, os, subprocess, sys

SHARED = os.environ.get("INGOT_SHARED")
TOOL = os.path.join(os.environ["INGOT_TOOLS"], "quant_config")
FAMILIES = ["nano-hybrid", "nano-experts", "nemotron_h_*"]                    # whole documents must be equal
OTHERS = ["deepseek_v3", "llama_*", "ministral3", "mistral_sw", "nemotron", "qwen3", "qwen3_moe", "qwen3_next"]
KNOWN = ("FP8", "NVFP4", "W4A16_NVFP4")


def tool(document):
    out = subprocess.run([TOOL], input=json.dumps(document).encode(), stdout=subprocess.PIPE, check=True).stdout
    return json.loads(out)


def stored(tensors, module):
    """What the bytes on disk are."""
    dtype, scale = tensors[module + ".weight"]["dtype"], module + ".weight_scale"
    if dtype == "U8":
        if module + ".weight_scale_2" not in tensors:
            return "MXFP4"
        return "NVFP4" if module + ".input_scale" in tensors else "W4A16_NVFP4"
    if dtype == "F8_E4M3":
        return "FP8" if scale in tensors and tensors[scale]["shape"] == [] else "another FP8"
    return None


def modules_of(tensors):
    names = [t[: -len(".weight")] for t in sorted(tensors) if t.endswith(".weight")]
    return [n for n in names if "norm" not in n.split(".")[-1]]


def container(module):
    return module.split(".experts.")[0] + ".experts" if ".experts." in module else None


def body(doc):
    return doc.get("quantization") or doc


def excluded_list(doc):
    return (body(doc).get("exclude_modules") if "quantization" in doc else doc.get("ignore")) or []


def resolve(doc, module):
    """By the rules of the goldens."""
    b = body(doc)
    if any(fnmatch.fnmatchcase(module, p) for p in excluded_list(doc)):
        return None
    if b["quant_algo"] != "MIXED_PRECISION":
        return b["quant_algo"]
    for key, entry in b["quantized_layers"].items():
        if module == key or module.startswith(key + "."):
            return entry["quant_algo"]
    return None


def vllm(doc, module, mapped):
    """As vLLM asks, with or without its renaming step, which splits `P*` first."""
    patterns = excluded_list(doc)
    if mapped:
        patterns = [q for p in patterns for q in ([p[:-1], p[:-1] + ".*"] if len(p) > 1 and p[-1] == "*" and p[-2] != "." else [p])]
    where = container(module) or module
    skipped = any("experts" in p and where in p for p in patterns) if "experts" in where else where in patterns
    if patterns and (skipped or any(p in where for p in patterns) or any(fnmatch.fnmatchcase(where, p) for p in patterns)):
        return None
    b = body(doc)
    if b["quant_algo"] != "MIXED_PRECISION":
        return b["quant_algo"]
    layers = b["quantized_layers"]
    if where in layers:
        return layers[where]["quant_algo"]
    return next((e["quant_algo"] for k, e in layers.items() if k.startswith(where + ".")), None)


def kv_of(doc):
    return "FP8" if doc.get("kv_cache_scheme") == {"dynamic": False, "num_bits": 8, "type": "float"} else None


def check_meaning(ours, golden, modules, want):
    for kind, key in (("file", "hf_quant_config"), ("inline", "quantization_config")):
        mine, theirs = ours[kind], golden[key]
        for m in modules:
            assert resolve(mine, m) == want[m], (kind, m, resolve(mine, m), want[m])
            assert resolve(theirs, m) == want[m], ("golden", kind, m)
            for mapped in (False, True):
                assert vllm(mine, m, mapped) == want[m], (kind, m, "vllm", vllm(mine, m, mapped), want[m])
        assert body(mine)["quant_algo"] == body(theirs)["quant_algo"]
        assert mine["producer"] == theirs["producer"]
    assert body(ours["file"])["kv_cache_quant_algo"] == body(golden["hf_quant_config"])["kv_cache_quant_algo"]
    assert ours["inline"].get("kv_cache_scheme") == golden["quantization_config"].get("kv_cache_scheme")
    assert body(ours["file"]).get("group_size") == body(golden["hf_quant_config"]).get("group_size")
    assert ours["inline"]["quant_method"] == "modelopt"


def check_reading(config, quant, names, want, kv):
    got = tool({"config": config, "quant": quant, "names": names})
    assert "error" not in got, got
    assert got["kv"] == kv
    for name, algo in zip(names, got["algos"]):
        assert algo == want[name], (name, algo, want[name])


def one(path, exact):
    golden = json.load(open(path))
    modules = modules_of(golden["tensors"])
    want = {m: stored(golden["tensors"], m) for m in modules}
    if any(a not in KNOWN + (None,) for a in want.values()) or not any(want.values()):
        return None
    kv = body(golden["hf_quant_config"])["kv_cache_quant_algo"]
    rows = [[m, container(m), want[m]] for m in modules]
    ours = tool({"modules": rows[::-1], "kv": kv, "excluded": []})
    assert "error" not in ours, ours
    assert ours == tool({"modules": rows, "kv": kv, "excluded": []}), "depends on the order of the modules"
    check_meaning(ours, golden, modules, want)
    if exact:
        assert ours["file"] == golden["hf_quant_config"], path
        assert ours["inline"] == golden["quantization_config"], path
    # What ModelOpt wrote, and what we wrote, both read by our own reader: the inline form, the file, and both.
    for inline, quant in ((golden["quantization_config"], golden["hf_quant_config"]), (ours["inline"], ours["file"])):
        check_reading({"quantization_config": inline}, None, modules, want, kv)
        check_reading({}, quant, modules, want, kv)
        check_reading({"quantization_config": inline}, quant, modules, want, kv)
        asked = {container(m): want[m] for m in modules if container(m)}
        check_reading({"quantization_config": inline}, quant, list(asked), asked, kv)

    # The same with prediction layers that are carried over as they are.
    mtp = ["mtp.layers.0.eh_proj", "mtp.layers.0.mixer.q_proj", "mtp.layers.1.mixer.experts.0.up_proj", "mtp.layers.1.mixer.gate"]
    more = tool({"modules": rows + [[m, container(m), None] for m in mtp], "kv": kv, "excluded": ["mtp"]})
    want.update({m: None for m in mtp})
    for kind in ("file", "inline"):
        assert excluded_list(more[kind]) == excluded_list(ours[kind]) + ["mtp*"]
        for m in modules + mtp:
            assert resolve(more[kind], m) == want[m] and vllm(more[kind], m, True) == want[m] == vllm(more[kind], m, False)
    check_reading({"quantization_config": more["inline"]}, more["file"], modules + mtp, want, kv)
    for kind, key in (("file", "exclude_modules"), ("inline", "ignore")):
        if body(ours["file"])["quant_algo"] == "MIXED_PRECISION":
            assert body(more[kind])[key] == ["mtp*"]
        body(more[kind]).pop(key)
        body(ours[kind]).pop(key, None)
        assert more[kind] == ours[kind]
    return len(modules)


if not SHARED or not os.path.isdir(SHARED):
    print("skip the goldens of ModelOpt: no shared folder")
    sys.exit(0)
counts = {True: 0, False: 0}
for exact, families in ((True, FAMILIES), (False, OTHERS)):
    for family in families:
        for path in sorted(glob.glob(os.path.join(SHARED, "golden/modelopt", family, "*.json"))):
            n = one(path, exact)
            counts[exact] += n is not None
assert counts[True] >= 40 and counts[False] >= 25, counts
print("ok %d configurations equal to ModelOpt's in every field" % counts[True])
print("ok %d more with the same meaning" % counts[False])
