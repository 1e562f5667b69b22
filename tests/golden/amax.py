#!/usr/bin/env python3
"""`ingot calibrate` against the maxima of the reference implementation in fp32 (tests/vectors/amax): every point within
1e-5 of it. nano-hybrid is in the tree; the other models need the shared fixtures."""
import glob, json, os, struct, subprocess, sys, tempfile

INGOT = os.environ.get("INGOT", "build/ingot")
SHARED = os.environ.get("INGOT_SHARED", "../shared")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
bad = 0


def scalars(path):
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        head = json.loads(f.read(n))
        out = {}
        for k, t in head.items():
            if k != "__metadata__" and t["dtype"] == "F32":
                f.seek(8 + n + t["data_offsets"][0])
                out[k] = struct.unpack("<f", f.read(4))[0]
        return out


QUANTIZED = {"gpt_oss_mxfp4"}    # sources that are quantized already
for path in sorted(glob.glob(ROOT + "/tests/vectors/amax/*.json")):
    name = os.path.basename(path)[:-5]
    model = ROOT + "/examples/nano-hybrid/model" if name == "nano-hybrid" else f"{SHARED}/fixtures/{name}"
    if not os.path.isdir(model):
        print(f"skip {name}: the shared fixtures are not here")
        continue
    want = json.load(open(path))
    with tempfile.TemporaryDirectory() as tmp:
        json.dump(want["tokens"], open(tmp + "/ids.json", "w"))
        subprocess.run([INGOT, "calibrate", model, "-r", "fp8_default-kv_fp8", "--ids", tmp + "/ids.json", "-o", tmp + "/s.safetensors", "-q"] + ["--allow-requantize"] * (name in QUANTIZED), check=True, stdout=subprocess.DEVNULL)
        got = {}
        for k, v in scalars(tmp + "/s.safetensors").items():
            module, leaf = k.rsplit(".", 1)
            if leaf == "weight_amax":
                continue
            if ".experts." in module:
                a, b = module.split(".experts.")
                module = a + ".experts." + b.split(".", 1)[1]
            key = module + (".input" if leaf == "input_amax" else ".output")
            got[key] = max(got.get(key, 0), v)
    # lm_head is not quantized by this recipe, so nobody watched it
    expected = {k: v for k, v in want["amax"].items() if not k.startswith("lm_head")}
    worst = max(abs(got.get(k, 0) / v - 1) for k, v in expected.items())
    ok = worst <= 1e-5 and set(got) == set(expected)
    bad += not ok
    print(f"{'ok' if ok else 'FAIL'} {name}: {len(expected)} points, worst {worst:.1e}")
sys.exit(bad > 0)
