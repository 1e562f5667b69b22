#!/usr/bin/env python3
"""`ingot quantize --scales-from`: the weights of a student that was trained with quantization, under the scales it was trained
with. Codes and the count of weights beyond their scale are held against this file's own arithmetic; the scales must come out
as they went in; whatever is no scale, or of another plan, is refused by name."""
import glob, json, os, shutil, struct, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
EXAMPLE = ROOT + "/examples/nano-hybrid"
MODEL = EXAMPLE + "/model"
WORK = tempfile.mkdtemp()


def ingot(*args, status=0):
    p = subprocess.run([INGOT, *args, "-q"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    check(f"ingot {args[0]}: status {status}", p.returncode == status, f"{p.returncode}: {p.stderr}")
    return p


def tensors(folder):
    """name -> (dtype, shape, bytes, file, where in it)"""
    out = {}
    for path in sorted(glob.glob(folder + "/*.safetensors")):
        raw = open(path, "rb").read()
        n = struct.unpack("<Q", raw[:8])[0]
        for k, t in json.loads(raw[8:8 + n]).items():
            if k != "__metadata__":
                a, b = t["data_offsets"]
                out[k] = (t["dtype"], t["shape"], raw[8 + n + a:8 + n + b], path, 8 + n + a)
    return out


def poke(row, offset, data):
    with open(row[3], "r+b") as f:
        f.seek(row[4] + offset)
        f.write(data)


def f32(v):
    return struct.unpack("<f", struct.pack("<f", v))[0]


def bf16(data):
    return [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]


def e4m3(b):
    e, m = b >> 3 & 15, b & 7
    v = (1 + m / 8) * 2.0 ** (e - 7) if e else m / 8 * 2.0 ** -6
    return -v if b & 128 else v


POSITIVE = [(e4m3(b), b) for b in range(0x7F)]


def nearest(q, table):
    """The code of the nearest value, ties to the even one; saturating. table: (value, code), ascending."""
    a = abs(q)
    i = min(range(len(table)), key=lambda i: (abs(table[i][0] - a), table[i][1] & 1))
    return table[i][1]


E2M1 = list(zip([0, 0.5, 1, 1.5, 2, 3, 4, 6], range(8)))

# ---- a folder, and a student whose weights are the source's: nothing may change
ingot("quantize", MODEL, "-r", "nvfp4-super", "-d", EXAMPLE + "/calibration.jsonl", "--max-texts", "8", "-o", WORK + "/q")
q = tensors(WORK + "/q")
out = json.loads(ingot("quantize", MODEL, "-r", "nvfp4-super", "--scales-from", WORK + "/q", "-o", WORK + "/same", "--json").stdout)
same = tensors(WORK + "/same")
check("the same weights give the same folder", {k: v[:3] for k, v in same.items()} == {k: v[:3] for k, v in q.items()},
      [k for k in q if k not in same or same[k][:3] != q[k][:3]][:5])
check("none outgrew its scale", out["clipped"] == {"weights": 0, "tensors": 0, "worst": None}, out["clipped"])
doc = json.load(open(WORK + "/same/ingot.json"))
check("ingot.json names the scales", doc["scales_from"]["sha256"] == out["scales_sha256"] and doc["calibration"] is None, doc.get("scales_from"))

# ---- a student: some weights moved, some far
student = WORK + "/student"
shutil.copytree(MODEL, student)
s = tensors(student)
nv = sorted(k for k in q if k.endswith("experts.2.up_proj.weight"))[0]
fp = sorted(k for k in q if k.endswith("mixer.in_proj.weight"))[0]
for name, step, factor in ((nv, 7, 1.5), (fp, 11, -1.25), (nv, 901, 40.0), (fp, 1201, 90.0)):
    values = bf16(tensors(student)[name][2])
    for i in range(0, len(values), step):
        poke(s[name], 2 * i, struct.pack("<f", values[i] * factor)[2:])
s = tensors(student)
p = ingot("quantize", student, "-r", "nvfp4-super", "--scales-from", WORK + "/q", "-o", WORK + "/s", "--json")
got, said = tensors(WORK + "/s"), json.loads(p.stdout)["clipped"]
scales = [k for k in q if k.rsplit(".", 1)[1] in ("weight_scale", "weight_scale_2", "input_scale", "k_scale", "v_scale")]
check("the scales are the folder's", all(got[k][:3] == q[k][:3] for k in scales) and len(scales) > 100, len(scales))

w, blocks, s2 = bf16(s[nv][2]), q[nv + "_scale"][2], struct.unpack("<f", q[nv + "_scale_2"][2])[0]
codes, beyond_nv = bytearray(len(w) // 2), 0
for i, v in enumerate(w):
    e = f32(e4m3(blocks[i // 16]) * s2)
    r = f32(v / e)
    codes[i // 2] |= (nearest(r, E2M1) | (8 if r < 0 else 0)) << (4 * (i % 2))
    beyond_nv += f32(abs(v) / e) > 7
check("NVFP4 codes", bytes(codes) == got[nv][2], nv)
w, scale = bf16(s[fp][2]), struct.unpack("<f", q[fp + "_scale"][2])[0]
codes, beyond_fp, memo = bytearray(len(w)), 0, {}
for i, v in enumerate(w):
    r = f32(v / scale)
    b = struct.unpack("<I", struct.pack("<f", r))[0]            # the recipe rounds the quotient to bf16 (modelopt-cpu)
    b = (b + 0x7FFF + (b >> 16 & 1)) & 0xFFFF0000
    if b not in memo:
        x = struct.unpack("<f", struct.pack("<I", b))[0]
        memo[b] = nearest(x, POSITIVE) | (128 if b >> 31 else 0)
    codes[i] = memo[b]
    beyond_fp += f32(abs(v) / scale) > 464
check("FP8 codes", bytes(codes) == got[fp][2], fp)
check("what lies beyond is counted", beyond_nv > 0 and beyond_fp > 0 and said["weights"] == beyond_nv + beyond_fp and said["tensors"] == 2, (said, beyond_nv, beyond_fp))
worst = max(((beyond_nv / len(s[nv][2]), nv, beyond_nv), (beyond_fp / len(s[fp][2]), fp, beyond_fp)))
check("and the worst tensor named", said["worst"]["tensor"] == worst[1] and said["worst"]["weights"] == worst[2] and said["worst"]["of"] == len(s[worst[1]][2]) // 2, said)
text = ingot("quantize", student, "-r", "nvfp4-super", "--scales-from", WORK + "/q", "-o", WORK + "/s", "--force", "-t", "3").stdout
check("a line for people", f"{beyond_nv + beyond_fp} weights of 2 tensors" in text, text)
check("threads do not show", {k: v[:3] for k, v in tensors(WORK + "/s").items()} == {k: v[:3] for k, v in got.items()})

# ---- the cache's scales of latent attention have names of their own
MLA = ROOT + "/tests/vectors/engine/mistral4"
with open(WORK + "/mla.yaml", "w") as f:
    f.write("name: t\nunseen_experts: layer_max\nkv_cache: fp8\nrules: [{role: attention, weights: fp8, inputs: fp8}]\n")
json.dump([[1, 5, 9, 20, 33, 7, 8, 10]], open(WORK + "/ids.json", "w"))
ingot("quantize", MLA, "-r", WORK + "/mla.yaml", "--ids", WORK + "/ids.json", "-o", WORK + "/latent")
ingot("quantize", MLA, "-r", WORK + "/mla.yaml", "--scales-from", WORK + "/latent", "-o", WORK + "/again")
was, now = tensors(WORK + "/latent"), tensors(WORK + "/again")
check("latent attention: the cache's scales come out as they went in", sum(k.endswith(("k_scale", "v_scale")) for k in now) > 1
      and {k: t[:3] for k, t in now.items()} == {k: t[:3] for k, t in was.items()})

# ---- no scales, or another plan's
CASES = [(nv + "_scale", 5, b"\0", "element 5 is 0"), (nv + "_scale", 6, b"\x7f", "element 6 is nan"), (nv + "_scale", 0, b"\xb8", "element 0 is -1"),
         (nv + "_scale_2", 0, struct.pack("<f", float("inf")), "inf"), (fp.replace("weight", "input_scale"), 0, struct.pack("<f", 0), "is 0"),
         (fp + "_scale", 0, struct.pack("<f", -1), "-1"), (sorted(k for k in q if k.endswith("k_scale"))[0], 0, struct.pack("<f", float("nan")), "nan")]
for name, offset, data, words in CASES:
    shutil.copytree(WORK + "/q", WORK + "/bad")
    poke(tensors(WORK + "/bad")[name], offset, data)
    e = ingot("quantize", MODEL, "-r", "nvfp4-super", "--scales-from", WORK + "/bad", "-o", WORK + "/x", status=3).stderr
    check(f"{name}, {words}", name in e and words in e and "positive" in e and not os.path.exists(WORK + "/x"), e)
    shutil.rmtree(WORK + "/bad")
e = ingot("quantize", MODEL, "-r", "nvfp4_mlp_only-kv_fp8", "--scales-from", WORK + "/q", "-o", WORK + "/x", status=3).stderr
check("another plan", "the plans must be the same" in e and "tensor '" in e, e)
open(WORK + "/r.yaml", "w").write("name: t\nrules: [{role: routed_experts, weights: nvfp4, inputs: nvfp4}]\n")
e = ingot("quantize", MODEL, "-r", WORK + "/r.yaml", "--scales-from", WORK + "/q", "-o", WORK + "/x", status=3).stderr
check("another KV cache", "KV cache is FP8, the plan's is not quantized" in e, e)
e = ingot("quantize", MODEL, "-r", "nvfp4-super", "--scales-from", MODEL, "-o", WORK + "/x", status=3).stderr
check("a folder that is not quantized", "--scales-from" in e and "not quantized" in e, e)
e = ingot("quantize", MODEL, "-r", "nvfp4-super", "--scales-from", WORK + "/q", "-d", EXAMPLE + "/calibration.jsonl", "-o", WORK + "/x", status=2).stderr
check("not with data", "--scales-from takes the place of" in e, e)
e = ingot("quantize", MODEL, "-r", "nvfp4-super", "--scales-from", WORK + "/q", "-o", WORK + "/q", "--force", status=2).stderr
check("not into itself", WORK in e and os.path.exists(WORK + "/q/ingot.json"), e)
check("nothing is left", not os.path.exists(WORK + "/x") and not glob.glob(WORK + "/.*"))
shutil.rmtree(WORK)
finish()
