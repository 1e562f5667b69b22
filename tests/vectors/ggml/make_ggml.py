"""Writes ggml.json: what ggml's own reference functions make of numbers (encode) and of bytes (decode), block by block.
usage: make_ggml.py OUT.json     needs: pip install llama-cpp-python gguf numpy (made with 0.3.36 and gguf 0.19.0, which must
agree about every decoded block that it knows)"""
import ctypes, glob, json, os, sys
import gguf, numpy as np
import llama_cpp

ggml = ctypes.CDLL(glob.glob(os.path.join(os.path.dirname(llama_cpp.__file__), "lib/libggml-base.so*"))[0])
TYPES = {"Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q2_K": (256, 84), "Q3_K": (256, 110),
         "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210), "IQ4_NL": (32, 18), "IQ4_XS": (256, 136), "MXFP4": (32, 17), "NVFP4": (64, 36)}
WRITTEN = ["Q4_0", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K", "MXFP4"]
r = np.random.default_rng(8)


def word(name):
    return name.lower().replace("_k", "_K") if name.endswith("_K") else name.lower()


def call(function, src, dst, n):
    f = getattr(ggml, function)
    f.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    f(src.ctypes.data, dst.ctypes.data, n)


def decode(name, raw):
    n, size = TYPES[name]
    out = np.zeros(raw.size // size * n, np.float32)
    call("dequantize_row_" + word(name), raw, out, out.size)
    try:
        other = gguf.quants.dequantize(raw.reshape(-1, size), gguf.GGMLQuantizationType[name]).reshape(-1)
        finite = np.isfinite(out)
        assert np.array_equal(out[finite], other[finite]), name
    except (NotImplementedError, AttributeError):
        print("gguf-py does not decode", name)
    return out


def numbers(n):
    """Blocks of n: weights, outliers, both signs of one number, zeros, groups of very unlike size, multiples of a quarter."""
    x = [r.standard_normal(n) * 0.02, r.standard_normal(n) * np.where(r.random(n) < 0.02, 50, 1), np.where(r.random(n) < 0.5, 0.7, -0.7),
         np.zeros(n), np.exp(np.repeat(r.standard_normal(n // 16), 16)) * r.standard_normal(n), r.integers(-20, 20, n) * 0.25,
         np.abs(r.standard_normal(n)) + 3, r.standard_normal(n) * (r.random(n) < 0.1), r.standard_normal(n) * np.repeat(10.0 ** r.integers(-6, 3, n // 32), 32)]
    return [v.astype(np.float32) for v in x]


out = {"encode": [], "decode": []}
for name in WRITTEN:
    n, size = TYPES[name]
    for x in numbers(n):
        y = np.zeros(size, np.uint8)
        call("quantize_row_%s_ref" % word(name), x, y, n)
        out["encode"].append({"type": name, "f32": x.tobytes().hex(), "bytes": y.tobytes().hex()})
for name, (n, size) in TYPES.items():
    for _ in range(3):
        raw = r.integers(0, 256, size, dtype=np.uint8)
        values = decode(name, raw)
        while not np.isfinite(values).all():
            raw = r.integers(0, 256, size, dtype=np.uint8)
            values = decode(name, raw)
        out["decode"].append({"type": name, "bytes": raw.tobytes().hex(), "f32": values.tobytes().hex()})
with open(sys.argv[1], "w") as f:
    json.dump(out, f, indent=1)
    f.write("\n")
