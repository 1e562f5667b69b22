#!/usr/bin/env python3
"""Layouts: the same quantized weights as ModelOpt, compressed-tensors, AWQ and GPTQ keep them. The tensors of each are taken apart
here, by the layouts' published orders, and must hold the codes and scales of ModelOpt's folder bit by bit; the forward pass of every
folder must give the same logits, and that of a folder whose weights were decoded here in float32 too. What a layout cannot say is
refused with its name."""
import json, os, random, re, shutil, struct, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
from tensors import save, tensors

MODEL = ROOT + "/examples/nano-hybrid/model"
MODULE = "backbone.layers.0.mixer.out_proj"
WORK = tempfile.mkdtemp()


def run(*args, status=0):
    p = subprocess.run([INGOT, *args], capture_output=True, text=True)
    if p.returncode != status:
        check(" ".join(args), False, f"status {p.returncode}, expected {status}: {p.stderr}")
    return p


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def f32s(raw):
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


def words(raw):
    return list(struct.unpack(f"<{len(raw) // 4}I", raw))


def f16s(raw):
    return list(struct.unpack(f"<{len(raw) // 2}e", raw))


def recipe(weights, inputs, more="", top="", select="role: [mlp, routed_experts, shared_experts, mamba_linears]"):
    path = WORK + "/recipe.yaml"
    with open(path, "w") as f:
        f.write(f"name: t\nunseen_experts: layer_max\n{top}rules:\n  - {{{select}, weights: {weights}, inputs: {inputs}{more}}}\n")
    return path


IDS = WORK + "/ids.json"
json.dump([[1] + [random.Random(5).randrange(3, 500) for _ in range(40)]], open(IDS, "w"))


def quantize(name, layout, *args):
    out = f"{WORK}/{name}"
    run("quantize", MODEL, "-r", recipe(*args), "--ids", IDS, "--layout", layout, "-o", out, "-q", "--force")
    return out


def logits(folder, *more):
    run("logits", folder, "--ids", IDS, "-o", WORK + "/logits.safetensors", "-q", *more)
    return open(WORK + "/logits.safetensors", "rb").read()


# ---- the same bytes under other names ----
def scalar(t):
    return f32s(t[2])[0]


def same_nvfp4(a, m, b, inputs):
    return (b["weight_packed"] == ("U8", m["weight"][1], m["weight"][2]) and b["weight_scale"] == m["weight_scale"]
            and b["weight_global_scale"][:2] == ("F32", [1]) and scalar(b["weight_global_scale"]) == f32(1 / scalar(m["weight_scale_2"]))
            and (not inputs or scalar(b["input_global_scale"]) == f32(1 / scalar(m["input_scale"]))))


def int4_codes(m, rows, cols):
    """ModelOpt's, as numbers: a byte holds a column of two rows."""
    raw = m["weight"][2]
    code = lambda r, c: raw[r // 2 * cols + c] >> r % 2 * 4 & 15
    return [[(code(r, c) ^ 8) - 8 for c in range(cols)] for r in range(rows)]


def ct_int4(b, rows, cols, group):
    w = words(b["weight_packed"][2])
    zp = words(b["weight_zero_point"][2]) if "weight_zero_point" in b else None
    n = cols // group
    codes = [[w[r * (cols // 8) + c // 8] >> c % 8 * 4 & 15 for c in range(cols)] for r in range(rows)]
    zeros = [[zp[r // 8 * n + g] >> r % 8 * 4 & 15 if zp else 8 for g in range(n)] for r in range(rows)]
    return codes, zeros, f32s(b["weight_scale"][2])


AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]      # nibble i of a word is row 8 k + AWQ_ORDER[i]


def side_int4(b, rows, cols, group, awq):
    w, z, s = words(b["qweight"][2]), words(b["qzeros"][2]), f16s(b["scales"][2])
    n = cols // group
    place = [AWQ_ORDER.index(i) if awq else i for i in range(8)]
    if awq:
        codes = [[w[c * (rows // 8) + r // 8] >> place[r % 8] * 4 & 15 for c in range(cols)] for r in range(rows)]
    else:
        codes = [[w[c // 8 * rows + r] >> c % 8 * 4 & 15 for c in range(cols)] for r in range(rows)]
    zeros = [[(z[g * (rows // 8) + r // 8] >> place[r % 8] * 4) + (0 if awq else 1) & 15 for g in range(n)] for r in range(rows)]
    return codes, zeros, [s[g * rows + r] for r in range(rows) for g in range(n)]


def decoded(parts, group, order=None):
    codes, zeros, scales = parts
    n = len(zeros[0])
    return [[f32((code - zeros[r][order[c] if order else c // group]) * scales[r * n + (order[c] if order else c // group)]) for c, code in enumerate(row)]
            for r, row in enumerate(codes)]


def parts_of(folder, module=MODULE):
    return {k[len(module) + 1:]: v for k, v in tensors(folder).items() if k.startswith(module + ".")}


SOURCE = parts_of(MODEL)["weight"]
ROWS, COLS = SOURCE[1]
TYPES = [("nvfp4", "nvfp4", ""), ("nvfp4", "none", ""), ("fp8", "fp8", ""), ("fp8_channel", "fp8_token", ""), ("fp8_block", "fp8_group", ""),
         ("fp8_block", "none", ""), ("mxfp8", "mxfp8", ""), ("mxfp4", "none", ""), ("mxfp4_ocp", "none", ""), ("int4", "none", ""),
         ("int4", "none", ", group: 64"), ("int4", "none", ", group: 32")]
WORDS = {"nvfp4": "nvfp4-pack-quantized", "mxfp4": "mxfp4-pack-quantized", "mxfp4_ocp": "mxfp4-pack-quantized", "mxfp8": "mxfp8-quantized",
         "int4": "pack-quantized"}
for weights, inputs, more in TYPES:
    name = f"{weights}/{inputs}{more}"
    m, c = quantize("m", "modelopt", weights, inputs, more), quantize("c", "compressed-tensors", weights, inputs, more)
    a, b, q = parts_of(m), parts_of(c), json.load(open(c + "/config.json"))["quantization_config"]
    if weights == "nvfp4":
        same = same_nvfp4(None, a, b, inputs == "nvfp4") and len(b) == 4 - (inputs == "none")
    elif weights == "int4":
        group = int(more.split()[-1]) if more else 128
        codes, zeros, scales = ct_int4(b, ROWS, COLS, group)
        same = (b["weight_packed"][:2] == ("I32", [ROWS, COLS // 8]) and b["weight_scale"] == a["weight_scale"] and set(b) == {"weight_packed", "weight_scale", "weight_shape"}
                and b["weight_shape"] == ("I64", [2], struct.pack("<2q", ROWS, COLS)) and [[x - 8 for x in row] for row in codes] == int4_codes(a, ROWS, COLS))
    else:
        weight = "weight_packed" if weights.startswith("mxfp4") else "weight"
        shape = {"fp8": [1], "fp8_channel": [ROWS, 1], "fp8_block": [(ROWS + 127) // 128, (COLS + 127) // 128]}.get(weights, a["weight_scale"][1])
        same = b[weight] == a["weight"] and b["weight_scale"] == (a["weight_scale"][0], shape, a["weight_scale"][2])
        same = same and (inputs != "fp8" or b["input_scale"] == ("F32", [1], a["input_scale"][2]))
    check(f"{name}: compressed-tensors holds ModelOpt's codes and scales", same, {k: v[:2] for k, v in b.items()})
    check(f"{name}: its configuration", q["quant_method"] == "compressed-tensors" and q["format"] == WORDS.get(weights, "float-quantized")
          and q["quantization_status"] == "compressed" and [g["targets"] for g in q["config_groups"].values()] == [["Linear"]]
          and not os.path.exists(c + "/hf_quant_config.json") and "lm_head" in q["ignore"], q)
    # ModelOpt's blocks have no word for inputs that stay: engines quantize them.
    # So is the reciprocal of an input's scale: the scale that comes back may lie one unit in the last place away.
    plain = ["--plain-inputs"] * (inputs == "nvfp4")
    check(f"{name}: the same logits", (logits(m, *plain) == logits(c, *plain)) == (weights != "fp8_block" or inputs != "none"))
    run("inspect", c, "--strict", "-q")

# ---- AWQ and GPTQ: against slow unpacking, and through a folder whose weights were decoded here ----
plain = f"{WORK}/plain"
shutil.copytree(MODEL, plain)
source = tensors(MODEL)


def logits_of_decoded(values):
    out = dict(source)
    out[MODULE + ".weight"] = ("F32", [ROWS, COLS], b"".join(struct.pack(f"<{COLS}f", *row) for row in values))
    os.makedirs(plain, exist_ok=True)
    save(plain, out)
    return logits(plain)


for group in (32, 64, 128):
    for zero in (False, True):
        seen = {}
        for layout in ("compressed-tensors", "awq", "gptq"):
            f = quantize(f"x-{layout}", layout, "int4", "none", f", group: {group}, zero: {str(zero).lower()}", "", f"module: '{MODULE}'")
            p = parts_of(f)
            parts = ct_int4(p, ROWS, COLS, group) if layout[0] == "c" else side_int4(p, ROWS, COLS, group, layout == "awq")
            seen[layout] = parts
            name = f"{layout}, groups of {group}{' with zero points' if zero else ''}"
            check(f"{name}: the engine decodes what slow unpacking does", logits(f) == logits_of_decoded(decoded(parts, group)))
            w = [struct.unpack("<f", b"\0\0" + SOURCE[2][2 * i:2 * i + 2])[0] for i in range(ROWS * COLS)]
            far = max(abs(w[r * COLS + c] - v) / parts[2][(r * COLS + c) // group] for r, row in enumerate(decoded(parts, group)) for c, v in enumerate(row))
            check(f"{name}: within half a step of the weights", far < (1.01 if zero else 0.51), far)
            if layout == "gptq":
                order = struct.unpack(f"<{COLS}i", p["g_idx"][2])
                check(f"{name}: g_idx", list(order) == [c // group for c in range(COLS)])
            q = json.load(open(f + "/config.json"))["quantization_config"]
            check(f"{name}: configuration", q["quant_method"] == layout and (layout[0] == "c" or (q["bits"], q["group_size"]) == (4, group))
                  and (layout != "gptq" or q["sym"] == (not zero)), q)
        check(f"groups of {group}{' with zero points' if zero else ''}: AWQ and GPTQ hold the same numbers", decoded(seen["awq"], group) == decoded(seen["gptq"], group))

# ---- act-order: columns in groups of another order, as GPTQ's own program writes them ----
group = 64
f = quantize("order", "gptq", "int4", "none", f", group: {group}, zero: true", "", f"module: '{MODULE}'")
order = [c // group for c in range(COLS)]
random.Random(3).shuffle(order)
t = tensors(f)
t[MODULE + ".g_idx"] = ("I32", [COLS], struct.pack(f"<{COLS}i", *order))
save(f, t)
check("gptq with act-order: the engine follows g_idx", logits(f) == logits_of_decoded(decoded(side_int4(parts_of(f), ROWS, COLS, group, False), group, order)))
for value, says in ((COLS // group, "there are"), (-1, "there are")):
    t[MODULE + ".g_idx"] = ("I32", [COLS], struct.pack(f"<{COLS}i", value, *order[1:]))
    save(f, t)
    p = run("logits", f, "--ids", IDS, "-o", WORK + "/l.safetensors", "-q", status=3)
    check(f"refused: g_idx {value}", says in p.stderr and "g_idx" in p.stderr, p.stderr)

q = json.load(open(f + "/config.json"))
q["quantization_config"]["sym"] = True
t[MODULE + ".g_idx"] = ("I32", [COLS], struct.pack(f"<{COLS}i", *order))
save(f, t)
json.dump(q, open(f + "/config.json", "w"))
p = run("logits", f, "--ids", IDS, "-o", WORK + "/l.safetensors", "-q", status=3)
check("refused: zero points where config.json says sym", "says sym: true" in p.stderr, p.stderr)

# ---- a group without negative numbers: GPTQ cannot store the zero point 0 in a way that its readers agree on ----
src = dict(source)
one = struct.unpack("<f", struct.pack("<f", 0.25))[0]
values = [one * (c % 7 + 1) for c in range(COLS)]
src[MODULE + ".weight"] = ("BF16", [ROWS, COLS], b"".join(struct.pack("<f", v)[2:] for v in values) * ROWS)
save(plain, src)
out = WORK + "/positive"
run("quantize", plain, "-r", recipe("int4", "none", ", group: 64, zero: true", "", f"module: '{MODULE}'"), "--layout", "gptq", "-o", out, "-q")
parts = side_int4(parts_of(out), ROWS, COLS, 64, False)
check("gptq: no zero point is 0", all(z == 1 for row in parts[1] for z in row), parts[1][0])
far = max(abs(values[c] - v) / parts[2][0] for c, v in enumerate(decoded(parts, 64)[0]))
check("gptq: such a group keeps within a step", far <= 1.01, far)

# ---- mixed precision, KV caches ----
MIXED = """name: t
unseen_experts: layer_max
kv_cache: fp8
rules:
  - {role: routed_experts, weights: nvfp4, inputs: nvfp4}
  - {role: [shared_experts, mamba_linears], weights: fp8, inputs: fp8}
  - {role: lm_head, weights: nvfp4, inputs: none}
"""
open(WORK + "/mixed.yaml", "w").write(MIXED)
folders = {}
for layout in ("modelopt", "compressed-tensors"):
    folders[layout] = f"{WORK}/mixed-{layout}"
    run("quantize", MODEL, "-r", WORK + "/mixed.yaml", "--ids", IDS, "--layout", layout, "-o", folders[layout], "-q")
    run("inspect", folders[layout], "--strict", "-q")
q = json.load(open(folders["compressed-tensors"] + "/config.json"))["quantization_config"]
by = {json.dumps(g["targets"])[:12]: g for g in q["config_groups"].values()}
check("mixed: one group per type, Linear for the experts", q["format"] == "mixed-precision" and q["config_groups"]["group_0"]["targets"] == ["Linear", "re:.*\\.experts\\.\\d+\\..*"]
      and q["config_groups"]["group_0"]["format"] == "nvfp4-pack-quantized" and any(g["targets"] == ["lm_head"] for g in q["config_groups"].values())
      and any(MODULE in g["targets"] and g["format"] == "float-quantized" for g in q["config_groups"].values()), list(by))
run("quantize", ROOT + "/tests/vectors/engine/qwen3", "-r", recipe("fp8_channel", "fp8_token", select="role: [mlp, attention]"), "--ids", IDS, "--layout", "compressed-tensors", "-o", WORK + "/tied", "-q")
said = json.load(open(WORK + "/tied/config.json"))
check("a head that is tied to the table is ignored by name: it is a Linear of transformers", said["tie_word_embeddings"] and "lm_head" in said["quantization_config"]["ignore"]
      and run("inspect", WORK + "/tied").returncode == 0, said["quantization_config"]["ignore"])
heads = [quantize("head-" + l, l, "nvfp4", "none", "", "", "role: lm_head") for l in ("modelopt", "compressed-tensors")]
said = json.load(open(heads[1] + "/config.json"))["quantization_config"]
check("the head alone: named, and nothing is said of Linear", [g["targets"] for g in said["config_groups"].values()] == [["lm_head"]] and MODULE in said["ignore"]
      and logits(heads[0]) == logits(heads[1]), said["config_groups"])
# Engines call the root of the layers something else than the files do: every name must be decided alike under each.
with open(WORK + "/roots.yaml", "w") as f:
    f.write("name: t\nunseen_experts: layer_max\nrules:\n  - {role: routed_experts, weights: nvfp4, inputs: nvfp4, optional: true}\n"
            "  - {role: mlp, weights: nvfp4, inputs: nvfp4, optional: true}\n  - {role: attention, weights: fp8, inputs: fp8}\n")


def decided(config, name):
    fits = lambda t: re.match(t[3:], name) if t.startswith("re:") else t == name
    if any(fits(t) for t in config["ignore"]):
        return None
    named = [g for g, v in config["config_groups"].items() if any(fits(t) for t in v["targets"])]
    return (named or [g for g, v in config["config_groups"].items() if "Linear" in v["targets"]])[0]


for family, source, root, others in (("Nemotron-H", MODEL, "backbone", ["model"]),
                                     ("one with a tower", ROOT + "/tests/vectors/engine/mistral3", "language_model.model", ["model.language_model", "model"])):
    out = WORK + "/roots"
    json.dump([[1, 5, 9, 20, 33, 7, 8, 10, 29, 3]], open(WORK + "/few.json", "w"))
    run("quantize", source, "-r", WORK + "/roots.yaml", "--ids", WORK + "/few.json", "--layout", "compressed-tensors", "-o", out, "-q", "--force")
    said = json.load(open(out + "/config.json"))["quantization_config"]
    modules = sorted(t[: -len(".weight")] for t in tensors(source) if t.startswith(root + ".layers.") and t.endswith(("proj.weight", "conv1d.weight", "gate.weight")))
    wrong = [(m, other) for m in modules for other in others if decided(said, m) != decided(said, other + m[len(root):])]
    check(f"{family}: {len(modules)} modules are the same under {', '.join(others)} as under {root}", len({decided(said, m) for m in modules}) > 1 and not wrong, wrong[:3])
check("mixed: the cache's scheme", q["kv_cache_scheme"]["num_bits"] == 8 and q["kv_cache_scheme"]["strategy"] == "tensor" and q["kv_cache_scheme"]["symmetric"], q["kv_cache_scheme"])
a, b = tensors(folders["modelopt"]), tensors(folders["compressed-tensors"])
pairs = [(k, k.replace(".k_proj.", ".").replace(".v_proj.", ".")) for k in a if k.endswith(("k_scale", "v_scale"))]
check("mixed: cache scales beside the projections", len(pairs) > 0 and all(b[n] == ("F32", [1], a[k][2]) for k, n in pairs), pairs)
check("mixed: the same logits", logits(folders["modelopt"]) == logits(folders["compressed-tensors"]))

for word, algo in (("nvfp4", "NVFP4"), ("nvfp4_cast", "NVFP4"), ("fp8_cast", "FP8"), ("none", None)):
    out = f"{WORK}/kv-{word}"
    run("quantize", MODEL, "-r", recipe("nvfp4", "none", "", f"kv_cache: {word}\n"), "--ids", IDS, "-o", out, "-q")
    quant, inline = json.load(open(out + "/hf_quant_config.json"))["quantization"], json.load(open(out + "/config.json"))["quantization_config"]
    scales = [k for k in tensors(out) if k.endswith(("k_scale", "v_scale"))]
    want = {"NVFP4": "NVFP4", "FP8": {"dynamic": False, "num_bits": 8, "type": "float"}, None: None}[algo]
    check(f"kv_cache {word}: configurations", quant["kv_cache_quant_algo"] == algo and inline.get("kv_cache_scheme") == want, (quant, inline.get("kv_cache_scheme")))
    check(f"kv_cache {word}: scales are written when they were observed", bool(scales) == (word == "nvfp4"), scales)
    folders[word] = logits(out)
out = f"{WORK}/kv-ct"
run("quantize", MODEL, "-r", recipe("nvfp4", "none", "", "kv_cache: fp8_cast\n"), "--ids", IDS, "--layout", "compressed-tensors", "-o", out, "-q")
ones = {k: t for k, t in tensors(out).items() if k.endswith(("k_scale", "v_scale"))}
check("kv_cache fp8_cast in compressed-tensors: scales of 1 are written, which its library else takes from memory as it is",
      len(ones) == 2 * sum(".k_proj." in k for k in tensors(MODEL)) > 0 and all(t == ("F32", [1], struct.pack("<f", 1)) for t in ones.values()) and logits(out) == folders["fp8_cast"], ones)
check("kv_cache: each type rounds in its own way", len({folders[w] for w in ("nvfp4", "nvfp4_cast", "fp8_cast", "none")}) == 4)

# ---- what cannot be said ----
for layout, args, status, text in [
    ("exl2", ("int4", "none"), 2, "layout 'exl2' is not written"),
    ("awq", ("nvfp4", "none"), 4, "weights nvfp4 with inputs none is no format that engines load in the layout awq"),
    ("gptq", ("int4", "none", "", "kv_cache: fp8_cast\n"), 4, "the layout gptq has no way to declare an FP8 cache"),
    ("compressed-tensors", ("int4", "none", "", "kv_cache: nvfp4_cast\n"), 4, "no way to declare an NVFP4 cache"),
    ("modelopt", ("int4", "none", ", zero: true"), 4, "int4 with zero points"),
]:
    p = run("plan", MODEL, "-r", recipe(*args), "--layout", layout, status=status)
    check(f"refused: {layout} {' '.join(args)}".strip(), text in p.stderr, p.stderr)
for layout, words in (("fp8", ("fp8_block", "none", "", "", "role: lm_head")), ("awq", ("int4", "none", ", group: 64", "", "role: lm_head"))):
    p = run("quantize", MODEL, "-r", recipe(*words), "--layout", layout, "-o", WORK + "/head-" + layout, "-q", status=4)
    check(f"refused: the head in {layout}", f"'lm_head' is no linear: {layout} quantizes only those" in p.stderr, p.stderr)
shutil.rmtree(WORK)
finish()
