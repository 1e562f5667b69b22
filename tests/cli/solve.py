#!/usr/bin/env python3
"""`solve:` from the command line: what calibrate solves is what quantize writes, whatever the threads, the memory and
interruptions; statistics that do not belong are refused; what solving is worth is said."""
import json, os, shutil, struct, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import ROOT, check, digest, finish, ingot, kill_calibrate
from tensors import header, tensors

MODEL, TEXTS = ROOT + "/examples/nano-hybrid/model", ROOT + "/examples/nano-hybrid/calibration.jsonl"
W = tempfile.mkdtemp()
DATA = ["--data", TEXTS, "--max-texts", "3", "--max-tokens", "96"]


def recipe(name, rules, head="unseen_experts: layer_max\n"):
    path = f"{W}/{name}.yaml"
    with open(path, "w") as f:
        f.write(f"name: {name}\n{head}rules:\n" + "".join(f"  - {{{r}}}\n" for r in rules))
    return path


def calibrate(r, out, *args):
    return ingot("calibrate", MODEL, "-r", r, *DATA, "-o", f"{W}/{out}.safetensors", "-q", *args)


def same(a, b):
    return digest(f"{W}/{a}.safetensors") == digest(f"{W}/{b}.safetensors")


gptq = recipe("gptq", ["role: [routed_experts, mlp, attention], weights: nvfp4, inputs: nvfp4, solve: gptq"])

# ---- what is solved is what is written ----
p = calibrate(gptq, "s", "--json")
doc = json.loads(p.stdout or "{}")
solved = doc.get("solved", {})
rows = solved.get("linears", [])
check("calibrate solves every expert, the MLP and attention", p.returncode == 0 and solved.get("count") == len(rows) == 138, p.stderr or solved)
check("the error is less than that of scales: max", 0 < solved.get("error", 0) < 0.7 * solved.get("error_max", 0), solved)
check("every linear says what it gained", all(r["damp"] == 0 or r["lost"] == (r["error"] > r["error_max"]) for r in rows) and len({r["module"] for r in rows}) == 138)
check("no work folder stays", not [f for f in os.listdir(W) if "partial" in f], os.listdir(W))
p = ingot("quantize", MODEL, "-r", gptq, "-s", f"{W}/s.safetensors", "-o", f"{W}/q", "-q")
check("quantize takes the statistics", p.returncode == 0, p.stderr)
stats = tensors(f"{W}/s.safetensors")
written = tensors(f"{W}/q/model.safetensors")
names = [k[7:] for k in stats if k.startswith("solved.") and k != "solved.sha256"]
check("solved tensors are written as they are", len(names) == 2 * 138 and all(stats["solved." + n] == written[n] for n in names))
plain = recipe("plain", ["role: [routed_experts, mlp, attention], weights: nvfp4, inputs: nvfp4"])
p = ingot("quantize", MODEL, "-r", plain, *DATA, "-o", f"{W}/plain", "-q")
rounded = tensors(f"{W}/plain/model.safetensors")
codes = [n for n in names if n.endswith(".weight")]
check("scales are those of plain rounding, codes are not", all(rounded[n] == written[n] for n in names if not n.endswith(".weight")) and sum(rounded[n] != written[n] for n in codes) > 100)
p = ingot("quantize", MODEL, "-r", gptq, *DATA, "-o", f"{W}/q2", "-q", "--json")
check("quantize --data gives the same", p.returncode == 0 and digest(f"{W}/q/model.safetensors") == digest(f"{W}/q2/model.safetensors"), p.stderr)
check("and says what was gained", json.loads(p.stdout or "{}").get("solved", {}).get("count") == 138)
check("no work folder stays beside the output", not [f for f in os.listdir(W) if "partial" in f], os.listdir(W))

# ---- threads, memory, interruptions ----
calibrate(gptq, "t1", "-t", "1")
check("one thread gives the same file", same("s", "t1"))
calibrate(gptq, "small", "--solve-memory", "1000000")
check("little memory gives the same file", same("s", "small"))
journal = f"{W}/.k.safetensors.ingot-partial/.ingot-journal"
done = kill_calibrate(f"{W}/k.safetensors", 3, MODEL, "-r", gptq, *DATA)
check("a killed run leaves its blocks", done >= 3 and os.path.exists(journal), done)
with open(journal, "ab") as f:
    f.write(b"block:9 torn")
p = calibrate(gptq, "k")
check("and the next one goes on and ends in the same bytes", p.returncode == 0 and same("s", "k"), p.stderr)

# ---- variants ----
p = calibrate(gptq, "seq", "--sequential", "--json")
check("--sequential is another result, and says so", p.returncode == 0 and json.loads(p.stdout)["solved"]["sequential"] and not same("s", "seq") and header(f"{W}/seq.safetensors")[0]["__metadata__"].get("sequential") == "true", p.stderr)
calibrate(gptq, "seq1", "--sequential", "-t", "1", "--solve-memory", "1000000")
check("the same with one thread and little memory", same("seq", "seq1"))
p = ingot("quantize", MODEL, "-r", gptq, "-s", f"{W}/seq.safetensors", "-o", f"{W}/q", "-q", "--force")
check("quantize takes it", p.returncode == 0, p.stderr)
for name, rule in (("order", "solve: {method: gptq, act_order: true}"), ("rounded", "solve: {method: gptq, inputs: rounded}"), ("mse", "scales: mse, solve: {method: gptq, damp: 0.05, block: 64}")):
    r = recipe(name, [f"role: [mlp, attention], weights: nvfp4, inputs: nvfp4, {rule}"])
    p = calibrate(r, name, "--json")
    q = ingot("quantize", MODEL, "-r", r, "-s", f"{W}/{name}.safetensors", "-o", f"{W}/q", "-q", "--force")
    d = json.loads(p.stdout or "{}").get("solved", {})
    check(f"{rule}: calibrates and quantizes", p.returncode == q.returncode == 0 and 0 < d.get("error", 0) < d.get("error_max", 0) and d["lost"] == 0, p.stderr + q.stderr + str(d)[:200])
    calibrate(r, name + "1", "-t", "1", "--solve-memory", "1")
    check(f"{rule}: the same with one thread and no memory", same(name, name + "1"))

r = recipe("int4", ["role: [mlp, attention], weights: int4, group: 32, solve: gptq"])
p = calibrate(r, "int4", "--json", "--sequential")
q = ingot("quantize", MODEL, "-r", r, "-s", f"{W}/int4.safetensors", "-o", f"{W}/q", "-q", "--force")
d = json.loads(p.stdout or "{}").get("solved", {})
check("INT4 in groups: calibrates and quantizes", p.returncode == q.returncode == 0 and 0 < d.get("error", 0) < d.get("error_max", 0), p.stderr + q.stderr)
solved = tensors(f"{W}/int4.safetensors")
written = tensors(f"{W}/q/model.safetensors")
name = next(k for k in solved if k.endswith("down_proj.weight") and k.startswith("solved."))[7:]
a, b = solved["solved." + name][2], written[name][2]
check("INT4: ModelOpt's container holds the same nibbles, two rows to a byte", sorted(x for v in a for x in (v & 15, v >> 4)) == sorted(x for v in b for x in (v & 15, v >> 4)) and a != b)
check("INT4: scales as they were solved", solved["solved." + name + "_scale"] == written[name + "_scale"])

for more in ([], ["--sequential"]):
    found = []
    for layout in ("modelopt", "compressed-tensors"):
        r = recipe("int4" + layout, ["role: [mlp, attention], weights: int4, group: 32, solve: gptq"], f"unseen_experts: layer_max\nlayout: {layout}\n")
        d = json.loads(calibrate(r, "int4" + layout, "--json", *more).stdout or "{}").get("solved", {})
        found.append((d.get("count"), d.get("error"), d.get("error_max")))
    check(f"INT4{' '.join([''] + more)}: as good in layout compressed-tensors as in modelopt", found[0] == found[1] and found[0][0] and 0 < found[0][1] < found[0][2], found)

# ---- refused ----
with open(f"{W}/s.safetensors", "rb") as f:
    file = bytearray(f.read())
n = struct.unpack("<Q", file[:8])[0]
head = json.loads(file[8:8 + n])
name = next(k for k in head if k.startswith("solved.") and k.endswith("experts.0.up_proj.weight"))
file[8 + n + head[name]["data_offsets"][0]] ^= 1
with open(f"{W}/bad.safetensors", "wb") as f:
    f.write(file)
p = ingot("quantize", MODEL, "-r", gptq, "-s", f"{W}/bad.safetensors", "-o", f"{W}/no", "-q")
check("a changed byte of a solved tensor is found", p.returncode == 3 and name[7:] in p.stderr and not os.path.exists(f"{W}/no"), p.stderr)
p = ingot("quantize", MODEL, "-r", plain, "-s", f"{W}/s.safetensors", "-o", f"{W}/no", "-q")
check("statistics that solved for another recipe are refused", p.returncode == 3 and "another checkpoint or recipe" in p.stderr, p.stderr)
calibrate(plain, "plain")
p = ingot("quantize", MODEL, "-r", gptq, "-s", f"{W}/plain.safetensors", "-o", f"{W}/no", "-q")
check("statistics that solved nothing are refused", p.returncode == 3, p.stderr)
for text, status, part in (
    ("role: mlp, weights: fp8, inputs: fp8, solve: gptq", 4, "gptq"),
    ("role: mlp, weights: nvfp4, inputs: nvfp4, solve: magic", 3, "expected one of none, gptq"),
    ("role: mlp, weights: nvfp4, inputs: nvfp4, solve: {method: gptq, damp: 0}", 3, "solve.damp"),
    ("role: mlp, weights: nvfp4, inputs: nvfp4, solve: {method: gptq, block: 33}", 3, "solve.block"),
    ("role: mlp, weights: nvfp4, inputs: nvfp4, solve: {method: gptq, inputs: twice}", 3, "solve.inputs"),
    ("role: mlp, weights: none, inputs: none, solve: gptq", 3, "needs quantized weights"),
):
    p = ingot("plan", MODEL, "-r", recipe("refused", [text]))
    check(f"refused: {text.split('solve')[1]}", p.returncode == status and part in p.stderr, p.stderr)
p = ingot("plan", MODEL, "-r", gptq)
check("plan says what will be solved, and the memory", "nvfp4 gptq" in p.stdout and "calibrate solves in" in p.stdout, p.stdout)

shutil.rmtree(W, ignore_errors=True)
finish()
