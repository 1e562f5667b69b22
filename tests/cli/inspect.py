#!/usr/bin/env python3
"""`ingot inspect`: files that concern people, and one tensor's values against what is computed here from the file."""
import hashlib, json, math, os, shutil, struct, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import ROOT, check, finish, ingot
MODEL = ROOT + "/examples/nano-hybrid/model"
W = tempfile.mkdtemp()


def inspect(folder, *more):
    p = ingot("inspect", folder, "--json", *more)
    return json.loads(p.stdout) if p.returncode == 0 else {"error": p.stderr}


def stored(folder, name):
    """file, offset in it, dtype, shape, raw bytes"""
    for file in sorted(os.listdir(folder)):
        if not file.endswith(".safetensors"):
            continue
        with open(f"{folder}/{file}", "rb") as f:
            n = struct.unpack("<Q", f.read(8))[0]
            t = json.loads(f.read(n)).get(name)
            if t:
                a, b = t["data_offsets"]
                f.seek(8 + n + a)
                return file, 8 + n + a, t["dtype"], t["shape"], f.read(b - a)


def bf16(raw):
    return [struct.unpack("<f", b"\0\0" + raw[i:i + 2])[0] for i in range(0, len(raw), 2)]


def e4m3(c):
    e, m = c >> 3 & 15, c & 7
    return (-1) ** (c >> 7) * (math.nan if c & 127 == 127 else m / 512 if e == 0 else (1 + m / 8) * 2.0 ** (e - 7))


def agrees(doc, values):
    finite = [x for x in values if math.isfinite(x)]
    mean = math.fsum(finite) / len(finite)
    std = math.sqrt(math.fsum((x - mean) ** 2 for x in finite) / len(finite))
    octaves = {}
    for x in finite:
        if x:
            k = min(23, max(-40, math.frexp(abs(x))[1] - 1))
            octaves[k] = octaves.get(k, 0) + 1
    want = {"elements": len(values), "zeros": sum(x == 0 for x in finite), "negative": sum(x < 0 for x in finite), "min": min(finite),
            "max": max(finite), "amax": max(map(abs, finite)), "nan": sum(math.isnan(x) for x in values), "infinite": sum(math.isinf(x) for x in values)}
    wrong = {k: (doc.get(k), v) for k, v in want.items() if doc.get(k) != v}
    if abs(doc.get("mean", 9) - mean) > 1e-12 or abs(doc.get("std", 9) - std) > 1e-9:
        wrong["mean, std"] = (doc.get("mean"), mean, doc.get("std"), std)
    if {r["log2"]: r["count"] for r in doc.get("histogram", []) if r["count"]} != octaves:
        wrong["histogram"] = (doc.get("histogram"), octaves)
    return wrong


# ---- one tensor ----
name = "backbone.layers.0.mixer.in_proj.weight"
file, at, dtype, shape, raw = stored(MODEL, name)
doc = inspect(MODEL, "--tensor", name)
check("a tensor's place", [doc.get(k) for k in ("file", "offset", "bytes", "dtype", "shape", "role")] == [file, at, len(raw), dtype, shape, "ssm_in"], doc)
check("its values", not agrees(doc, bf16(raw)), agrees(doc, bf16(raw)))
check("by its module", inspect(MODEL, "--tensor", name[:-7]) == doc)
text = ingot("inspect", MODEL, "--tensor", name).stdout
check("for people", "2^-5" in text and "####" in text and "ssm_in" in text, text)
p = ingot("inspect", MODEL, "--tensor", "nobody")
check("no such tensor", p.returncode == 2 and "'nobody'" in p.stderr, p.stderr)

odd = W + "/odd"
shutil.copytree(MODEL, odd)
with open(f"{odd}/{file}", "r+b") as f:  # bf16: NaN, infinity, a subnormal, minus zero
    f.seek(at)
    f.write(struct.pack("<4H", 0x7FC0, 0xFF80, 0x0001, 0x8000))
values = bf16(stored(odd, name)[4])
check("NaN, infinity, subnormal and minus zero are counted", not agrees(inspect(odd, "--tensor", name), values), agrees(inspect(odd, "--tensor", name), values))

q = W + "/q"
p = ingot("quantize", MODEL, "-r", "nvfp4-data-free", "-o", q, "-q")
check("quantize", p.returncode == 0, p.stderr)
doc = inspect(q)
check("inspect names the types", doc.get("quantized") and doc.get("quantization") and all(t in {r["stored"] for r in doc["roles"]} for t in doc["quantization"]), doc.get("quantization"))
module = "backbone.layers.1.mixer.experts.3.up_proj"
codes, scales, g = (stored(q, f"{module}.{x}") for x in ("weight", "weight_scale", "weight_scale_2"))
scale2, cols = struct.unpack("<f", g[4])[0], 2 * codes[3][1]
grid = [0, 0.5, 1, 1.5, 2, 3, 4, 6]


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


nibbles = [v for byte in codes[4] for v in (byte & 15, byte >> 4)]
decoded = [(-1) ** (v >> 3) * grid[v & 7] * f32(e4m3(scales[4][i // 16]) * scale2) for i, v in enumerate(nibbles)]
decoded = [f32(x) for x in decoded]
doc = inspect(q, "--tensor", module)
wrong = agrees(doc, decoded)
check("a quantized tensor is decoded", doc.get("shape") == [codes[3][0], cols] and not wrong, wrong)
doc = inspect(q, "--tensor", module + ".weight_scale")
check("its scales alone, as FP8", doc.get("role") is None and not agrees(doc, [e4m3(c) for c in scales[4]]), doc)

# ---- files ----
files = W + "/files"
shutil.copytree(MODEL, files)
for n, text in (("LICENSE", "terms"), ("Notice.txt", "thanks"), ("modeling_x.py", "print(1)\n"), ("setup.SH", "rm")):
    with open(f"{files}/{n}", "w") as f:
        f.write(text)
with open(files + "/README.md", "w") as f:
    f.write("---\nlicense: other\nlicense_name: nvidia-open-model-license\ntags: [a, b]\n---\n# Model\n")
doc = inspect(files)


def row(n):
    with open(f"{files}/{n}", "rb") as f:
        data = f.read()
    return {"file": n, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


check("licence files with digests", doc.get("license_files") == [row("LICENSE"), row("Notice.txt")], doc)
check("code files with digests", doc.get("code_files") == [row("modeling_x.py"), row("setup.SH")], doc)
check("the licence that the card declares", doc.get("license") == "nvidia-open-model-license", doc.get("license"))
check("the tokenizer's file", doc.get("tokenizer") == "tokenizer.json", doc.get("tokenizer"))
for text, want in (("---\nlicense: apache-2.0\n---\n", "apache-2.0"), ("---\nlicense: [mit, llama3.1]\n---\nx", ["mit", "llama3.1"]), ("no front matter", None),
                   ("---\nlicense: &a mit\n---\n", None), ("---\nlicense: mit\n", None)):
    with open(files + "/README.md", "w") as f:
        f.write(text)
    doc = inspect(files)
    check(f"card {text!r}", "license" in doc and doc["license"] == want, doc.get("license", doc))
text = ingot("inspect", files).stdout
check("for people: what there is", "code files: modeling_x.py, setup.SH" in text and "licence files: LICENSE, Notice.txt" in text, text[:400])
check("for people: what there is not", "code files: none" in ingot("inspect", MODEL).stdout)
# ---- a family that is not computed here ----
pipeline = W + "/pipeline"
os.makedirs(pipeline + "/transformer"), os.makedirs(pipeline + "/vae")
for n, doc in (("model_index.json", {"_class_name": "Cosmos3OmniPipeline"}), ("transformer/config.json", {"_class_name": "T"}), ("vae/config.json", {})):
    json.dump(doc, open(f"{pipeline}/{n}", "w"))
weights = sorted(f for f in os.listdir(MODEL) if f.endswith(".safetensors"))
for n, source in (("transformer/diffusion_pytorch_model.safetensors", weights[0]), ("vae/diffusion_pytorch_model.safetensors", weights[1])):
    shutil.copy(f"{MODEL}/{source}", f"{pipeline}/{n}")
open(pipeline + "/LICENSE", "w").write("terms")
doc = inspect(pipeline, "--bundle-only", "--strict")
heads = {}
for n in weights[:2]:
    with open(f"{MODEL}/{n}", "rb") as f:
        h = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
    h.pop("__metadata__", None)
    heads[n] = h
want = sum(math.prod(t["shape"]) for h in heads.values() for t in h.values())
check("bundle-only: what the folder calls itself, its tensors and elements", (doc.get("class"), doc.get("parameters"), doc.get("tensors"), doc.get("weight_files"))
      == ("Cosmos3OmniPipeline", want, sum(map(len, heads.values())), 2), doc)
found = {r["file"]: r["sha256"] for r in doc.get("files", [])}
real = {os.path.relpath(os.path.join(d, f), pipeline): hashlib.sha256(open(os.path.join(d, f), "rb").read()).hexdigest() for d, _, fs in os.walk(pipeline) for f in fs}
check("bundle-only: every file with its digest", found == real, doc)
check("bundle-only: types in bytes", sum(doc["files"][[r["file"] for r in doc["files"]].index("vae/diffusion_pytorch_model.safetensors")]["types"].values())
      == sum(t["data_offsets"][1] - t["data_offsets"][0] for t in heads[weights[1]].values()))
check("bundle-only: for people", "Cosmos3OmniPipeline, bundled only" in ingot("inspect", pipeline, "--bundle-only").stdout)
p = ingot("quantize", pipeline, "-r", "nvfp4-data-free", "-o", W + "/no", "-q")
check("quantize refuses it", p.returncode in (3, 4) and not os.path.exists(W + "/no"), p.stderr)
p = ingot("pack", pipeline, "-o", f"oci:{W}/p:t", "-q")
check("pack refuses it without --bundle-only, and says so", p.returncode == 3 and "--bundle-only" in p.stderr, p.stderr)
p = ingot("pack", pipeline, "-o", f"oci:{W}/p:t", "-q", "--bundle-only")
k = ingot("keygen", "-o", W + "/k", "-q")
s = ingot("sign", f"oci:{W}/p:t", "-k", W + "/k.key", "-q")
v = ingot("verify", f"oci:{W}/p:t", "-k", W + "/k.pub", "-q", "--json")
check("packed, signed, verified", p.returncode == k.returncode == s.returncode == v.returncode == 0 and "bundled as it is" in v.stdout, p.stderr + s.stderr + v.stderr)
v = ingot("verify", f"oci:{W}/p:t", "-k", W + "/k.pub", "-q", "--json", "--against", MODEL)
check("a bundle is compared with no original: undecided", v.returncode == 9 and "not compared with" in v.stdout, (v.returncode, v.stdout[-300:], v.stderr))
unknown = W + "/unknown"
shutil.copytree(MODEL, unknown)
config = json.load(open(unknown + "/config.json"))
config.update(architectures=["SpeechThingForASR"], model_type="speech_thing")
json.dump(config, open(unknown + "/config.json", "w"))
p, b = ingot("inspect", unknown), inspect(unknown, "--bundle-only")
check("an unknown architecture: refused as a model, taken as a bundle", p.returncode == 4 and "SpeechThingForASR" in p.stderr and b.get("class") == "SpeechThingForASR", (p.stderr, b))
with open(pipeline + "/vae/diffusion_pytorch_model.safetensors", "r+b") as f:
    f.truncate(os.path.getsize(f.name) - 1)
p = ingot("inspect", pipeline, "--bundle-only")
check("bundle-only: a file that is cut", p.returncode == 3 and "vae/diffusion_pytorch_model.safetensors" in p.stderr, p.stderr)
os.makedirs(W + "/nothing")
open(W + "/nothing/a.txt", "w").write("x")
p = ingot("inspect", W + "/nothing", "--bundle-only")
check("bundle-only: no weights at all", p.returncode == 3 and "no file of weights" in p.stderr, p.stderr)
shutil.rmtree(W, ignore_errors=True)
finish()
