#!/usr/bin/env python3
"""PyTorch's files give what the same model gives as safetensors: `convert` the same bytes, `logits` the same bytes. Models of
tests/vectors/engine, and of the shared folder where it is there, are written with tests/tools/torch_write.py (plain Python) in every form,
plain and as views; and with torch itself where it is installed (TORCH_PYTHON, or python3)."""
import filecmp, glob, json, os, shutil, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
SHARED = os.environ.get("INGOT_SHARED", "")
import torch_write as w  # noqa: E402


def ingot(*args):
    return subprocess.run([INGOT, *args], capture_output=True, text=True, errors="replace")


def tensors_of(d):
    """In the order of files and bytes."""
    out = {}
    for path in sorted(glob.glob(d + "/*.safetensors")):
        out.update(w.read_safetensors(path))
    return out


def copy_but_weights(d, to):
    os.makedirs(to)
    for n in os.listdir(d):
        if n.endswith((".json", ".jinja")) and not n.endswith(".index.json"):
            shutil.copy(d + "/" + n, to)


def as_view(dtype, shape, data, kind):
    """The same tensor in a storage where its elements do not lie in order."""
    e, n = w.BYTES[dtype], len(data) // w.BYTES[dtype]
    if kind == "offset":
        return w.View(w.Storage(dtype, b"\xaa" * 3 * e + data + b"\xbb" * e), shape, offset=3)
    if kind == "stepped":   # every second element, of every row one more
        rows, cols = (n // shape[-1], shape[-1]) if shape else (1, 1)
        wide = bytearray(b"\xcc" * (rows * (2 * cols + 3)) * e)
        for r in range(rows):
            for c in range(cols):
                at = (r * (2 * cols + 3) + 2 * c) * e
                wide[at:at + e] = data[(r * cols + c) * e:][:e]
        strides, s = [], 2 * cols + 3
        for d in reversed(shape[:-1]):
            strides.insert(0, s)
            s *= d
        return w.View(w.Storage(dtype, bytes(wide)), shape, strides=strides + [2][:len(shape)])
    if kind == "turned" and len(shape) > 1:   # all dimensions in the other order
        strides, s = [0] * len(shape), 1
        for i, d in enumerate(shape):
            strides[i] = s
            s *= d
        turned = bytearray(len(data))
        for k in range(n):
            at, rest = 0, k
            for i in reversed(range(len(shape))):
                at += rest % shape[i] * strides[i]
                rest //= shape[i]
            turned[at * e:at * e + e] = data[k * e:k * e + e]
        return w.View(w.Storage(dtype, bytes(turned)), shape, strides=strides)
    return w.View(w.Storage(dtype, data), shape)


def forms(t):
    plain = {k: w.tensor(*v) for k, v in t.items()}
    names = list(t)
    half = len(names) // 2
    one, two = "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"
    index = json.dumps({"metadata": {}, "weight_map": {n: one if i < half else two for i, n in enumerate(names)}}).encode()
    yield "zip", {"pytorch_model.bin": w.save(plain)}
    if not any(v[0] in w.UNTYPED for v in t.values()):   # torch itself cannot read those back
        yield "legacy", {"pytorch_model.bin": w.legacy(plain)}
        yield "sharded", {one: w.save({n: plain[n] for n in names[:half]}), two: w.legacy({n: plain[n] for n in names[half:]}),
                          "pytorch_model.bin.index.json": index}


def same(name, tmp, model, files, wanted, logits=None):
    d, out = f"{tmp}/{name}", f"{tmp}/{name}.out"
    copy_but_weights(model, d)
    for n, content in files.items():
        with open(f"{d}/{n}", "wb") as f:
            f.write(content)
    p = ingot("convert", d, "--to", "safetensors", "-o", out)
    ok = p.returncode == 0 and filecmp.cmp(out + "/model.safetensors", wanted, shallow=False)
    check(f"{name}: convert gives the bytes that safetensors give", ok, p.stderr)
    if logits:
        p = ingot("logits", d, "--ids", tmp + "/ids", "-o", d + ".logits")
        ok = p.returncode == 0 and filecmp.cmp(d + ".logits", logits, shallow=False)
        check(f"{name}: the same logits", ok, p.stderr)
    shutil.rmtree(d)
    shutil.rmtree(out, ignore_errors=True)


def models():
    for n in ("llama", "nemotron", "gpt_oss", "nemotron_h_vision"):
        yield n, f"{ROOT}/tests/vectors/engine/{n}", True
    if SHARED:
        for d in sorted(glob.glob(SHARED + "/fixtures/*/config.json")):
            if glob.glob(os.path.dirname(d) + "/model*.safetensors"):
                yield "shared-" + os.path.basename(os.path.dirname(d)), os.path.dirname(d), False


MAKE = """
import sys, glob, torch
from safetensors.torch import load_file
for at in range(2, len(sys.argv), 2):
    t = {}
    for p in sorted(glob.glob(sys.argv[at] + '/*.safetensors')): t.update(load_file(p))
    for how in sys.argv[at + 1].split(','):
        x = t
        if how == 'parameters': x = {k: torch.nn.Parameter(v, requires_grad=False) for k, v in t.items()}
        if how == 'turned': x = {k: v.t().contiguous().t() if v.dim() == 2 else v for k, v in t.items()}
        if how == 'sliced': x = {k: torch.cat([v, v], -1)[..., :v.shape[-1]] if v.dim() else v for k, v in t.items()}
        if how == 'nested': x = {'state_dict': t, 'epoch': 3, 'lr': 0.5}
        torch.save(x, sys.argv[1] + '/torch-%d-%s' % (at, how), _use_new_zipfile_serialization=how != 'legacy')
"""
HOWS = "plain,legacy,parameters,turned,sliced,nested"


def python_with_torch():
    for p in (os.environ.get("TORCH_PYTHON"), sys.executable):
        if p and subprocess.run([p, "-c", "import importlib.util as u, sys; sys.exit(not (u.find_spec('torch') and u.find_spec('safetensors')))"]).returncode == 0:
            return p


def compare(tmp, name, d, ours, made):
    """made: how -> a file that torch wrote."""
    ref = f"{tmp}/{name}.ref"
    p = ingot("convert", d, "--to", "safetensors", "-o", ref)
    if p.returncode:   # a layout that convert does not write
        print(f"skip {name}: {p.stderr.strip().splitlines()[-1][:160]}")
        return
    wanted, logits = ref + "/model.safetensors", None
    if ours:
        logits = ref + ".logits"
        p = ingot("logits", d, "--ids", tmp + "/ids", "-o", logits)
        check(f"{name}: logits of the original", p.returncode == 0, p.stderr)
    t = tensors_of(d)
    stacks = any(len(v[1]) > 3 or "experts.gate_up" in k for k, v in t.items())   # read as views, of tensors in one piece
    for form, files in forms(t):
        if ours or form == "zip" or name in ("shared-nemotron", "shared-llama_fp32_sharded"):
            same(f"{name}-{form}", tmp, d, files, wanted, logits)
    if ours and not stacks:
        for kind in ("offset", "stepped", "turned"):
            same(f"{name}-{kind}", tmp, d, {"pytorch_model.bin": w.save({k: as_view(*v, kind) for k, v in t.items()})}, wanted, logits)
    for how, path in made.items():
        with open(path, "rb") as f:
            same(f"{name}-torch-{how}", tmp, d, {"pytorch_model.bin": f.read()}, wanted, None)


with tempfile.TemporaryDirectory() as tmp:
    with open(tmp + "/ids", "w") as f:
        f.write("[[1, 2, 3, 4, 5, 6, 7]]")
    real, jobs, made = python_with_torch(), [], {}
    for name, d, ours in models():
        hows = HOWS if name in ("llama", "nemotron_h_vision") else "plain" if name in ("nemotron", "gpt_oss", "shared-deepseek_v3_fp8", "shared-llama_rope3_tied") else None
        if hows:
            jobs += [d, hows]
            made[name] = {h: f"{tmp}/torch-{len(jobs)}-{h}" for h in hows.split(",")}
    if not real:
        print("skip files of torch itself: no torch here")
        made = {}
    else:
        p = subprocess.run([real, "-c", MAKE, tmp, *jobs], capture_output=True, text=True)
        check("torch writes its files", p.returncode == 0, p.stderr)
    for name, d, ours in models():
        compare(tmp, name, d, ours, made.get(name, {}))
finish()
