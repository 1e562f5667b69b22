#!/usr/bin/env python3
"""Checkpoints with pre_quant_scale, written by ModelOpt's own AWQ (tests/vectors/modelopt/pre_quant_scale): logits and decoded weights
against what was made of them outside of ingot, copies, requantizing, and what is refused; and `solve: {pre_quant_scale: true}`, which
writes the like."""
import array, json, os, shutil, struct, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT + "/tests/tools")
from tensors import tensors

INGOT = os.environ.get("INGOT", ROOT + "/build/ingot")
VECTORS = ROOT + "/tests/vectors/modelopt/pre_quant_scale/"
W = tempfile.mkdtemp()
bad = count = 0


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + ("" if ok else ": " + str(detail)[:600]), flush=True)


def ingot(*args):
    return subprocess.run([INGOT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def floats(t):
    return array.array("f", t[2])


def bf16(data):
    return [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]


def logits(folder, *args):
    global count
    count += 1
    out = f"{W}/logits{count}.safetensors"
    p = ingot("logits", folder, "--ids", VECTORS + "nvfp4/golden/ids.json", "-o", out, "-q", *args)
    return {k: floats(v) for k, v in tensors(out).items() if k.endswith("logits")} if p.returncode == 0 else p.stderr


def off(a, b):
    """The largest difference, in terms of the largest value."""
    return max(max(abs(x - y) for x, y in zip(a[k], b[k])) / max(map(abs, b[k])) for k in b)


def changed(source, name, **new):
    """A copy with other bytes of one tensor, or with another configuration."""
    global count
    count += 1
    out = f"{W}/changed{count}"
    shutil.copytree(source, out)
    with open(out + "/model.safetensors", "rb") as f:
        raw = bytearray(f.read())
    n = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8:8 + n])
    if "value" in new:
        at = 8 + n + head[name]["data_offsets"][0]
        raw[at:at + 2] = new["value"]
    if "dtype" in new:
        head[name]["dtype"], head[name]["shape"] = new["dtype"], new["shape"]
    text = json.dumps(head, separators=(",", ":")).encode()
    with open(out + "/model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + raw[8 + n:])
    for file in ("config.json", "hf_quant_config.json") if "config" in new else ():
        with open(out + "/" + file) as f:
            doc = json.load(f)
        inner = doc.get("quantization_config") or doc["quantization"]
        inner.update(new["config"])
        with open(out + "/" + file, "w") as f:
            json.dump(doc, f)
    return out


O_PROJ = "model.layers.1.self_attn.o_proj"
for kind in "nvfp4", "int4":
    folder = VECTORS + kind
    golden = tensors(folder + "/golden/golden.safetensors")
    want = {k: floats(v) for k, v in golden.items() if k.endswith("logits")}
    got = logits(folder, "--plain-inputs")
    check(f"{kind}: logits are those of transformers on the same numbers", isinstance(got, dict) and off(got, want) < 2e-5, got if isinstance(got, str) else off(got, want))
    check(f"{kind}: the same with one thread", logits(folder, "--plain-inputs", "-t", "1") == got)
    out = f"{W}/{kind}-plain"
    p = ingot("convert", folder, "--to", "safetensors", "--type", "f32", "-o", out, "-q")
    t = tensors(out + "/model.safetensors") if p.returncode == 0 else {}
    weights = [k for k in golden if k.endswith(".weight")]
    check(f"{kind}: decoded weights are the golden ones, bit for bit", len(weights) == 3 and all(t.get(k) == golden[k] for k in weights), p.stderr)
    check(f"{kind}: no scale stays beside them", not [k for k in t if "scale" in k], list(t))
    out = f"{W}/{kind}-copy"
    p = ingot("quantize", folder, "-r", "copy", "-o", out, "-q")
    check(f"{kind}: copied whole", p.returncode == 0 and tensors(out + "/model.safetensors") == tensors(folder + "/model.safetensors"), p.stderr)
    recipe = W + "/mlp.yaml"
    with open(recipe, "w") as f:
        f.write("name: mlp\nrules:\n  - {role: mlp, weights: fp8_channel, inputs: fp8_token}\n")
    out = f"{W}/{kind}-mixed"
    p = ingot("quantize", folder, "-r", recipe, "-o", out, "-q", "--allow-requantize")
    layers = json.load(open(out + "/hf_quant_config.json"))["quantization"]["quantized_layers"] if p.returncode == 0 else {}
    row = layers.get(O_PROJ, {})
    check(f"{kind}: linears that stay in a mixture keep it, and the configuration says so", row.get("pre_quant_scale") is True and row.get("has_zero_point") is False
          and row["quant_algo"] == ("NVFP4_AWQ" if kind == "nvfp4" else "W4A16_AWQ") and layers["model.layers.0.self_attn.q_proj"].get("pre_quant_scale") is not True
          and tensors(out + "/model.safetensors")[O_PROJ + ".pre_quant_scale"] == tensors(folder + "/model.safetensors")[O_PROJ + ".pre_quant_scale"], p.stderr or row)
    got = logits(out, "--plain-inputs")
    check(f"{kind}: and the mixture is read back", isinstance(got, dict) and off(got, want) < 0.5, got if isinstance(got, str) else off(got, want))
    with open(recipe, "w") as f:
        f.write("name: all\nrules:\n  - {role: attention, weights: fp8_channel, inputs: fp8_token}\n")
    out = f"{W}/{kind}-again"
    p = ingot("quantize", folder, "-r", recipe, "-o", out, "-q", "--allow-requantize")
    t = tensors(out + "/model.safetensors") if p.returncode == 0 else {}
    rows, cols = golden[O_PROJ + ".weight"][1]
    w, codes, scales = floats(golden[O_PROJ + ".weight"]), t.get(O_PROJ + ".weight", (0, 0, b""))[2], floats(t.get(O_PROJ + ".weight_scale", (0, 0, b"")))
    e4m3 = [(-1 if c & 128 else 1) * ((c & 7) * 2.0**-9 if not c >> 3 & 15 else (8 + (c & 7)) * 2.0**((c >> 3 & 15) - 10)) for c in range(256)]
    worst = max(abs(e4m3[c] * scales[i // cols] - w[i]) / max(abs(w[i]), 2 * scales[i // cols] / 100) for i, c in enumerate(codes)) if codes else 9
    check(f"{kind}: requantized from the numbers that it stands for", worst < 0.07 and not [k for k in t if "pre_quant" in k], p.stderr or worst)
    p = ingot("convert", folder, "--to", "gguf", "-o", W + "/no.gguf", "-q")
    check(f"{kind}: GGUF cannot hold it", p.returncode == 4 and "pre_quant_scale" in p.stderr and not os.path.exists(W + "/no.gguf"), p.stderr)

# A folder of which the scales were all folded away says pre_quant_scale: true as well: ModelOpt always does.
for kind in "nvfp4", "int4":
    def without(names, source=VECTORS + kind):
        """A copy without some tensors. Their bytes go too: a file has no gaps."""
        global count
        count += 1
        out = f"{W}/without{count}"
        shutil.copytree(source, out)
        with open(out + "/model.safetensors", "rb") as f:
            raw = f.read()
        n = struct.unpack("<Q", raw[:8])[0]
        head, data, new = json.loads(raw[8:8 + n]), raw[8 + n:], {}
        kept = b""
        for k, v in sorted(((k, v) for k, v in head.items() if k != "__metadata__"), key=lambda kv: kv[1]["data_offsets"]):
            if k not in names:
                a, b = v["data_offsets"]
                new[k] = {**v, "data_offsets": [len(kept), len(kept) + b - a]}
                kept += data[a:b]
        text = json.dumps(new).encode()
        with open(out + "/model.safetensors", "wb") as f:
            f.write(struct.pack("<Q", len(text)) + text + kept)
        return out

    whole = tensors(VECTORS + kind + "/model.safetensors")
    scales = sorted(k for k in whole if k.endswith(".pre_quant_scale"))
    some, none = without(scales[:1]), without(scales)
    for what, folder in (("one scale less", some), ("no scale at all", none)):
        p = ingot("inspect", folder)
        check(f"{kind}, {what}: inspected", p.returncode == 0, p.stderr)
        out = folder + "-plain"
        p = ingot("convert", folder, "--to", "safetensors", "--type", "f32", "-o", out, "-q")
        t = tensors(out + "/model.safetensors") if p.returncode == 0 else {}
        left = sorted(k for k in tensors(folder + "/model.safetensors") if k.endswith(".pre_quant_scale"))
        golden = tensors(VECTORS + kind + "/golden/golden.safetensors")
        right = 0
        for k in scales:
            m = k[:-len(".pre_quant_scale")] + ".weight"
            w, g = (floats(t[m]), floats(golden[m])) if m in t else ([], [])
            column = bf16(whole[k][2]) if k not in left else [1.0] * golden[m][1][1]
            right += len(w) == len(g) > 0 and all(abs(a * column[i % len(column)] - b) <= 1e-6 * abs(b) for i, (a, b) in enumerate(zip(w, g)))
        check(f"{kind}, {what}: decoded with those that are there and no other", right == len(scales) == 3 and len(left) == (2 if folder == some else 0), (right, left, p.stderr))
        got, plain = logits(folder, "--plain-inputs"), logits(out)
        check(f"{kind}, {what}: logits are those of the decoded weights", isinstance(got, dict) and isinstance(plain, dict) and off(got, plain) < 2e-5, (got, plain) if not isinstance(got, dict) else off(got, plain))
        p = ingot("quantize", folder, "-r", "copy", "-o", folder + "-copy", "-q")
        check(f"{kind}, {what}: copied whole, and read again", p.returncode == 0 and tensors(folder + "-copy/model.safetensors") == tensors(folder + "/model.safetensors") and logits(folder + "-copy", "--plain-inputs") == got, p.stderr)

SCALE = O_PROJ + ".pre_quant_scale"
for what, folder, text in (
    ("a zero", changed(VECTORS + "nvfp4", SCALE, value=b"\0\0"), f"'{SCALE}' is 0 in column 0; a scale is positive and finite"),
    ("NaN", changed(VECTORS + "nvfp4", SCALE, value=b"\xc0\x7f"), "a scale is positive and finite"),
    ("another shape", changed(VECTORS + "nvfp4", SCALE, dtype="BF16", shape=[8, 8]), f"'{SCALE}': expected shape [64]"),
    ("integers", changed(VECTORS + "nvfp4", SCALE, dtype="I16", shape=[64]), f"'{SCALE}': expected F32, BF16 or F16, found I16"),
    ("a configuration without it", changed(VECTORS + "nvfp4", SCALE, config={"quant_algo": "NVFP4", "pre_quant_scale": False}), "the quantization config says nothing of pre_quant_scale"),
):
    got = logits(folder)
    check(f"refused: {what}", isinstance(got, str) and text in got, got)

# ---- written ----

SOURCE = ROOT + "/tests/vectors/engine/qwen3"
IDS = W + "/ids.json"
json.dump([[(7 * i + 3 * k) % 61 + 2 for i in range(48)] for k in range(6)], open(IDS, "w"))


def nearest_bf16(x):
    u = struct.unpack("<I", struct.pack("<f", x))[0]
    return struct.unpack("<f", struct.pack("<I", (u + 0x7fff + (u >> 16 & 1)) >> 16 << 16))[0]


def recipe(name, *rules):
    with open(f"{W}/{name}.yaml", "w") as f:
        f.write(f"name: {name}\nunseen_experts: layer_max\nrules:\n" + "".join(f"  - {{{r}}}\n" for r in rules))
    return f"{W}/{name}.yaml"


source = tensors(SOURCE + "/model.safetensors")
for kind, types, bound in (("nvfp4", "weights: nvfp4, inputs: nvfp4", 0.2), ("int4", "weights: int4, group: 32, inputs: none", 0.09)):
    theirs = tensors(VECTORS + kind + "/model.safetensors")
    for method in "{method: awq, pre_quant_scale: true}", "{method: smoothquant, pre_quant_scale: true}":
        r = recipe("w", f"module: '*.o_proj', {types}, solve: {method}")
        p = ingot("calibrate", SOURCE, "-r", r, "--ids", IDS, "-o", W + "/w.safetensors", "-q", "--json")
        q = ingot("quantize", SOURCE, "-r", r, "-s", W + "/w.safetensors", "-o", W + "/w", "-q", "--force")
        t = tensors(W + "/w/model.safetensors") if q.returncode == 0 else {}
        names = sorted(k for k in t if ".self_attn.o_proj." in k)
        check(f"{kind}, {method}: the tensors of the output projections are those of ModelOpt's export, by name, type and shape",
              p.returncode == 0 and names == sorted(k for k in theirs if ".self_attn.o_proj." in k) and len(names) >= 9 and all(t[k][:2] == theirs[k][:2] for k in names), p.stderr + q.stderr + str(names))
        stats = tensors(W + "/w.safetensors")
        scales, vectors = bf16(t[O_PROJ + ".pre_quant_scale"][2]), floats(stats["solved." + O_PROJ + ".input_fold_scale"])
        check(f"{kind}, {method}: they are 1 over the scales that were found, and not all 1", scales == [nearest_bf16(1 / v) for v in vectors] and len(set(scales)) > 8, scales[:4])
        ingot("convert", W + "/w", "--to", "safetensors", "--type", "f32", "-o", W + "/plain", "-q", "--force")
        w, back = bf16(source[O_PROJ + ".weight"][2]), floats(tensors(W + "/plain/model.safetensors")[O_PROJ + ".weight"])
        worst = max(abs(a - b) for a, b in zip(w, back)) / max(map(abs, w))
        check(f"{kind}, {method}: decoded weights are the source's, but for rounding", 0 < worst < bound, worst)
        if "awq" in method:
            d = json.loads(p.stdout)["solved"]
            check(f"{kind}, {method}: less error than scales: max", d["count"] == 3 and 0 < d["error"] < d["error_max"] and d["lost"] == 0, d)
            ours, their = (json.load(open(x + "/hf_quant_config.json"))["quantization"] for x in (W + "/w", VECTORS + kind))
            check(f"{kind}, {method}: the configuration is ModelOpt's, but for what is left out", {k: v for k, v in ours.items() if k != "exclude_modules"} == {k: v for k, v in their.items() if k != "exclude_modules"}, ours)
            p = ingot("quantize", SOURCE, "-r", r, "--ids", IDS, "-o", W + "/w1", "-q", "-t", "1", "--force")
            check(f"{kind}, {method}: the same with one thread", p.returncode == 0 and tensors(W + "/w1/model.safetensors") == t, p.stderr)

for what, rule in (("what goes into norms and quantized neighbours goes there still", "role: attention, weights: nvfp4, inputs: nvfp4"),
                   ("types that ModelOpt has none for are folded as before", "module: '*.o_proj', weights: nvfp4, inputs: none")):
    p = ingot("quantize", SOURCE, "-r", recipe("no", rule + ", solve: {method: awq, pre_quant_scale: true}"), "--ids", IDS, "-o", W + "/no", "-q", "--force")
    t = tensors(W + "/no/model.safetensors") if p.returncode == 0 else {}
    check(what, any(k.endswith("o_proj.weight_scale") for k in t) and not [k for k in t if "pre_quant" in k], p.stderr)

shutil.rmtree(W, ignore_errors=True)
sys.exit(bad > 0)
