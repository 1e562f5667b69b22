"""Writes q8_0.json: blocks of 32 numbers as F32, and the bytes that ggml's own reference gives them.
usage: make_q8_0.py OUT.json     needs: pip install llama-cpp-python numpy (made with 0.3.36)"""
import ctypes, glob, json, os, sys
import numpy as np
import llama_cpp

ggml = ctypes.CDLL(glob.glob(os.path.join(os.path.dirname(llama_cpp.__file__), "lib/libggml-base.so*"))[0])
r = np.random.default_rng(8)
rows = [r.standard_normal(32) * s for s in (0.02, 1, 3e4, 1e-6, 1e-30)]
rows += [np.zeros(32), -np.zeros(32), np.linspace(-1, 1, 32), np.full(32, 0.7), r.standard_normal(32) * (r.random(32) < 0.1)]
rows += [np.array([127.0] + [k + 0.5 for k in range(-15, 16)]), np.array([-127.0] + [k + 0.49999997 for k in range(-15, 16)])]   # ties
rows += [np.array([127 * 2.0**-14 * f] + [2.0**-20] * 31) for f in (1, 0.5, 2.0**-10, 2.0**-11)]                                # d is a denormal, or 0
rows += [np.array([8.3e6] + [1.0] * 31), r.integers(-127, 128, 32) * 0.25]
x = np.stack(rows).astype(np.float32)
out = np.zeros(34 * len(rows), np.uint8)
ggml.quantize_row_q8_0_ref.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
ggml.quantize_row_q8_0_ref(x.ctypes.data, out.ctypes.data, x.size)
back = np.zeros_like(x)
ggml.dequantize_row_q8_0.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
ggml.dequantize_row_q8_0(out.ctypes.data, back.ctypes.data, x.size)
with open(sys.argv[1], "w") as f:
    json.dump({"blocks": [{"f32": a.tobytes().hex(), "q8_0": b.tobytes().hex(), "back": c.tobytes().hex()} for a, b, c in zip(x, out.reshape(-1, 34), back)]}, f, indent=1)
    f.write("\n")
