#!/usr/bin/env python3
"""Folding alone: scales per channel, powers of two, go through every model that is here (`solve: smoothquant` with `exact`
and weights: none), and the forward pass gives the logits that the reference implementation gave for the model as it was
(fixtures/README.md's tolerance: 1e-3 at most, 1e-4 in the mean). Models with norms around zero are turned into fp32 first:
(1 + w) / s - 1 is hardly ever a bf16 number, so in bf16 their columns are rounded once more. The example and tiny models of
every family from tests/vectors/engine; the shared fixtures where they are. Beside that: the tensors that change are those
that the plan names."""
import json, os, shutil, struct, subprocess, sys, tempfile
from array import array

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INGOT = os.environ.get("INGOT", ROOT + "/build/ingot")
SHARED = os.environ.get("INGOT_SHARED", ROOT + "/../shared")
TINY = ROOT + "/tests/vectors/engine/"
FIXTURES = ["llama_rope3_tied", "llama_fp32_sharded", "nemotron", "deci", "qwen3", "qwen3_moe", "mistral_sw", "mistral_small3", "ministral3",
            "gpt_oss", "qwen3_next", "qwen3_5", "deepseek_v3", "kimi_k2", "mistral_large3", "nemotron_h_dense", "nemotron_h_moe",
            "nemotron_h_latent_mtp", "nemotron_h_groups", "nemotron_h_dtlimit"]
ROLES = ["attention", "mamba_linears", "delta_linears", "mlp", "shared_experts", "routed_experts", "latent"]
RECIPE = ("name: t\nunseen_experts: layer_max\nrules:\n"
          "  - {role: [%s], weights: none, inputs: none, solve: {method: smoothquant, exact: true}}\n" % ", ".join(ROLES))
QUANTIZED = ("gpt_oss_mxfp4", "kimi_int4")  # would have to be requantized
AROUND_ZERO = ("qwen3_next", "qwen3_5", "gemma3", "nemotron")  # model types
W = tempfile.mkdtemp()
bad = 0


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + (": " + str(detail)[:500] if detail else ""), flush=True)


def tensors(folder):
    out = {}
    for f in sorted(os.listdir(folder)):
        if not f.endswith(".safetensors"):
            continue
        with open(folder + "/" + f, "rb") as h:
            n = struct.unpack("<Q", h.read(8))[0]
            head = json.loads(h.read(n))
            for k, t in head.items():
                if k != "__metadata__":
                    h.seek(8 + n + t["data_offsets"][0])
                    out[k] = (t["dtype"], t["shape"], h.read(t["data_offsets"][1] - t["data_offsets"][0]))
    return out


def floats(t):
    a = array("f")
    a.frombytes(t[2])
    return a


def ids_of(gold):
    n = sum(k.endswith(".input_ids") for k in gold)
    out = []
    for i in range(n):
        a = array("i")
        a.frombytes(gold[f"p{i}.input_ids"][2])
        out.append(list(a))
    return out


def ingot(*args):
    return subprocess.run([INGOT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def golden(path):
    with open(path, "rb") as h:
        n = struct.unpack("<Q", h.read(8))[0]
        head, data = json.loads(h.read(n)), h.read()
    return {k: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for k, t in head.items() if k != "__metadata__"}


def widen(model, to):
    """A copy whose bf16 tensors are fp32."""
    shutil.rmtree(to, ignore_errors=True)
    os.mkdir(to)
    for f in os.listdir(model):
        if os.path.isfile(f"{model}/{f}") and not f.endswith((".safetensors", ".safetensors.index.json")):
            shutil.copy(f"{model}/{f}", to)
    head, data, at = {}, [], 0
    for k, (dtype, shape, raw) in tensors(model).items():
        if dtype == "BF16":
            wide = bytearray(2 * len(raw))
            wide[2::4], wide[3::4] = raw[0::2], raw[1::2]
            dtype, raw = "F32", bytes(wide)
        head[k] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        at += len(raw)
        data.append(raw)
    text = json.dumps(head).encode()
    with open(to + "/model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data))
    return to


def model_type(model):
    path = model + "/config.json"
    doc = json.load(open(path)) if os.path.exists(path) else {}
    return (doc.get("text_config") or doc).get("model_type", doc.get("model_type", ""))


def case(name, model, gold):
    with open(W + "/ids.json", "w") as f:
        json.dump(ids_of(gold), f)
    if any(model_type(model).startswith(t) for t in AROUND_ZERO) and not model_type(model).startswith("nemotron_h") and model_type(model) != "nemotron-nas":
        model = widen(model, W + "/wide")
    p = ingot("plan", model, "-r", W + "/r.yaml", "--json")
    if p.returncode:
        return check(f"{name}: plans", False, p.stderr)
    folded = {i["tensor"] for i in json.loads(p.stdout)["items"] if i["action"] == "fold"}
    p = ingot("quantize", model, "-r", W + "/r.yaml", "--ids", W + "/ids.json", "-o", W + "/q", "--force", "-q")
    if p.returncode:
        return check(f"{name}: folds", False, p.stderr)
    was, now = tensors(model), tensors(W + "/q")
    changed = {k for k in was if was[k] != now.get(k)}
    check(f"{name}: nothing else changes", set(was) == set(now) and changed <= folded and len(changed) > len(folded) * 0.9,
          f"{len(changed)} of {len(folded)} that the plan names; {sorted(changed - folded)[:3]}")
    p = ingot("logits", W + "/q", "--ids", W + "/ids.json", "-o", W + "/out.safetensors", "-q")
    if p.returncode:
        return check(f"{name}: runs", False, p.stderr)
    out = golden(W + "/out.safetensors")
    for i in range(sum(k.endswith(".input_ids") for k in gold)):
        a, b = floats(out[f"{i}.logits"]), floats(gold[f"p{i}.logits"])
        d = [abs(x - y) for x, y in zip(a, b)]
        check(f"{name} p{i} logits", len(a) == len(b) and max(d) <= 1e-3 and sum(d) / len(d) <= 1e-4,
              f"max {max(d):.2e} mean {sum(d) / len(d):.2e}, {len(folded)} tensors folded")


with open(W + "/r.yaml", "w") as f:
    f.write(RECIPE)
cases = [("example", ROOT + "/examples/nano-hybrid/model", TINY + "nano-hybrid.safetensors")]
cases += [(f"tiny {n}", TINY + n, f"{TINY}{n}/golden/golden.safetensors") for n in sorted(os.listdir(TINY)) if os.path.isdir(TINY + n) and n not in QUANTIZED]
if os.path.isdir(SHARED + "/fixtures"):
    cases += [(n, f"{SHARED}/fixtures/{n}", f"{SHARED}/fixtures/{n}/golden/golden.safetensors") for n in FIXTURES]
else:
    print("skip the shared fixtures are not here")
for name, model, path in cases:
    case(name, model, golden(path))
p = ingot("plan", TINY + "gpt_oss", "-r", W + "/r.yaml")
check("experts in stacks keep their channels, and the plan says so", p.returncode == 0 and "lies in a stack of experts" in p.stdout, p.stderr)
shutil.rmtree(W, ignore_errors=True)
sys.exit(bad > 0)
