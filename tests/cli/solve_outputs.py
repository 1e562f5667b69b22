#!/usr/bin/env python3
"""`solve: {method: descent, outputs: readers}`: linears that write into the residual stream are solved otherwise, the rest
as without it; the same bytes whatever the threads and the memory; an error of outputs that stays below that of max."""
import json, os, shutil, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import ROOT, check, digest, finish, ingot
from tensors import tensors

MODEL, TEXTS = ROOT + "/examples/nano-hybrid/model", ROOT + "/examples/nano-hybrid/calibration.jsonl"
W = tempfile.mkdtemp()
DATA = ["--data", TEXTS, "--max-texts", "2", "--max-tokens", "64"]


def recipe(name, solve, head=""):
    path = f"{W}/{name}.yaml"
    with open(path, "w") as f:
        f.write(f"name: {name}\n{head}rules:\n  - {{role: [mamba_linears, attention, mlp, shared_experts], weights: nvfp4, "
                f"inputs: none, scales: local_hessian, solve: {solve}}}\n")
    return path


def calibrate(r, out, *args):
    return ingot("calibrate", MODEL, "-r", r, *DATA, "-o", f"{W}/{out}.safetensors", "-q", *args)


def same(a, b):
    return digest(f"{W}/{a}.safetensors") == digest(f"{W}/{b}.safetensors")


alike = recipe("alike", "{method: descent, passes: 2}")
readers = recipe("readers", "{method: descent, passes: 2, outputs: readers}")
p = calibrate(alike, "alike")
q = calibrate(readers, "readers", "--json")
check("both calibrate", p.returncode == q.returncode == 0, p.stderr + q.stderr)
rows = json.loads(q.stdout or "{}").get("solved", {}).get("linears", [])
check("the error of outputs is still less than that of max", len(rows) > 20 and sum(r["error"] for r in rows) < 0.8 * sum(r["error_max"] for r in rows), rows[:3])
a, b = tensors(f"{W}/alike.safetensors"), tensors(f"{W}/readers.safetensors")
weights = [k for k in a if k.startswith("solved.") and k.endswith(".weight")]
writers = [k for k in weights if any(s in k for s in ("out_proj", "o_proj", "down_proj"))]
changed = {k for k in weights if a[k] != b[k]}
check("the same tensors", sorted(a) == sorted(b))
check("linears that write into the stream are solved otherwise, but none behind whose layer nobody reads", changed <= set(writers) and len(changed) >= len(writers) - 2, set(writers) ^ changed)
last = max(int(k.split(".layers.")[1].split(".")[0]) for k in weights)
behind = [k for k in writers if f".layers.{last}." in k]
n_layers = json.load(open(MODEL + "/config.json"))["num_hidden_layers"]
check("the last layer's stay", last != n_layers - 1 or (behind and not changed & set(behind)), behind)
calibrate(readers, "one", "-t", "1", "--solve-memory", "1000000")
check("one thread and little memory give the same file", same("readers", "one"))
p = ingot("quantize", MODEL, "-r", readers, "-s", f"{W}/readers.safetensors", "-o", f"{W}/q", "-q")
written = tensors(f"{W}/q/model.safetensors") if p.returncode == 0 else {}
check("quantize writes what was solved", p.returncode == 0 and all(b[k] == written[k[7:]] for k in weights), p.stderr)
p = ingot("quantize", MODEL, "-r", alike, "-s", f"{W}/readers.safetensors", "-o", f"{W}/no", "-q")
check("statistics of the other word are refused", p.returncode == 3 and not os.path.exists(f"{W}/no"), p.stderr)
for solve, part in (("{method: descent, outputs: routers}", "solve.outputs: expected one of alike, readers"), ("{method: gptq, outputs: readers}", "unknown key 'outputs'")):
    p = ingot("plan", MODEL, "-r", recipe("refused", solve))
    check(f"refused: {solve}", p.returncode == 3 and part in p.stderr, p.stderr)

shutil.rmtree(W, ignore_errors=True)
finish()
