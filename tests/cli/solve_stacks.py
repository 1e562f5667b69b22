#!/usr/bin/env python3
"""`solve:` of experts that are kept as stacks: of [experts, inputs, outputs] (GPT-OSS) the stack that is written holds, row by row,
what calibration solved for each expert; of [experts, outputs, inputs] experts come apart. Whatever threads and memory; statistics
of other stacks are refused."""
import json, os, shutil, struct, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import ROOT, check, finish, ingot
from tensors import tensors

VECTORS = ROOT + "/tests/vectors/engine/"
W = tempfile.mkdtemp()
IDS = [[(7 * i + 3 * k) % 61 + 2 for i in range(48)] for k in range(6)]
json.dump(IDS, open(W + "/ids.json", "w"))


def recipe(name, *rules):
    path = f"{W}/{name}.yaml"
    with open(path, "w") as f:
        f.write(f"name: {name}\nunseen_experts: layer_max\nrules:\n" + "".join(f"  - {{{r}}}\n" for r in rules))
    return path


def calibrate(model, r, out, *args):
    p = ingot("calibrate", model, "-r", r, "--ids", W + "/ids.json", "-o", f"{W}/{out}.safetensors", "-q", "--json", *args)
    return p, json.loads(p.stdout or "{}").get("solved", {})


def data(name):
    with open(f"{W}/{name}.safetensors", "rb") as f:
        return f.read()


def quantize(model, r, stats, out):
    return ingot("quantize", model, "-r", r, "-s", f"{W}/{stats}.safetensors", "-o", f"{W}/{out}", "-q", "--force")


def row_of(t, expert, output, halves):
    """Bytes of one output of one expert of a written stack [experts, rows, outputs]; halves: codes, two inputs to a byte."""
    _, (_, rows, outputs), raw = t
    return bytes(raw[(expert * rows + i) * outputs + output] for i in range(rows))


def holds_what_was_solved(stats, written, layer):
    """Gate and up alternate among the outputs of gate_up_proj; down's are its own."""
    at = f"model.layers.{layer}.mlp.experts."
    for part in "weight", "weight_scale":
        suffix = "" if part == "weight" else "_weight_scale"
        experts = written[at + "down_proj"][1][0]
        for e in range(experts):
            for k, (proj, stack, first, step) in enumerate((("gate_proj", "gate_up_proj", 0, 2), ("up_proj", "gate_up_proj", 1, 2), ("down_proj", "down_proj", 0, 1))):
                _, (rows, cols), raw = stats[f"solved.{at}{e}.{proj}.{part}"]
                for r in range(rows):
                    if row_of(written[at + stack + suffix], e, first + r * step, part == "weight") != raw[r * cols:(r + 1) * cols]:
                        return f"{part} of expert {e}'s {proj}, row {r}"
    return ""


OSS = VECTORS + "gpt_oss"
gptq = recipe("gptq", "role: routed_experts, weights: nvfp4, inputs: nvfp4, solve: gptq")
p, solved = calibrate(OSS, gptq, "s")
check("calibrate solves every expert of the stacks", p.returncode == 0 and solved.get("count") == 24, p.stderr or solved)
check("the error is less than that of scales: max", 0 < solved.get("error", 0) < 0.9 * solved.get("error_max", 0) and solved["lost"] == 0, solved)
calibrate(OSS, gptq, "s1", "-t", "1", "--solve-memory", "1")
check("one thread and no memory give the same file", data("s") == data("s1"))
p = quantize(OSS, gptq, "s", "q")
stats, written = tensors(W + "/s.safetensors"), tensors(W + "/q/model.safetensors")
wrong = [holds_what_was_solved(stats, written, layer) for layer in (0, 1)]
check("the stacks hold what was solved, output by output", p.returncode == 0 and wrong == ["", ""], p.stderr or wrong)
plain = recipe("plain", "role: routed_experts, weights: nvfp4, inputs: nvfp4")
p = ingot("quantize", OSS, "-r", plain, "--ids", W + "/ids.json", "-o", W + "/plain", "-q")
rounded = tensors(W + "/plain/model.safetensors")
codes = [k for k in rounded if k.endswith(("experts.gate_up_proj", "experts.down_proj"))]
check("names, shapes and all scales are those of plain rounding, codes are not",
      len(codes) == 4 and {k: v[:2] for k, v in written.items()} == {k: v[:2] for k, v in rounded.items()}
      and sorted(k for k in written if written[k] != rounded[k]) == sorted(codes), p.stderr)
p = ingot("quantize", OSS, "-r", gptq, "--ids", W + "/ids.json", "-o", W + "/q1", "-q", "-t", "1")
check("quantize --ids gives the same with one thread", p.returncode == 0 and tensors(W + "/q1/model.safetensors") == written, p.stderr)

for rule in ("solve: {method: gptq, act_order: true}", "solve: descent, scales: local_hessian", "scales: local_hessian", "solve: {method: gptq, inputs: rounded}, scales: mse", "solve: awq_clip"):
    r = recipe("v", "role: routed_experts, weights: nvfp4, inputs: nvfp4, " + rule)
    p, d = calibrate(OSS, r, "v", "--sequential")
    q = quantize(OSS, r, "v", "v")
    wrong = q.returncode == 0 and holds_what_was_solved(tensors(W + "/v.safetensors"), tensors(W + "/v/model.safetensors"), 1)
    check(f"{rule}: solved and written", p.returncode == q.returncode == 0 and wrong == "" and 0 < d.get("error", 0) < d.get("error_max", 0), p.stderr + q.stderr + str((wrong, d)))

# ---- what does not belong ----
shutil.copytree(OSS, W + "/other")
with open(W + "/other/model.safetensors", "rb") as f:
    raw = bytearray(f.read())
n = struct.unpack("<Q", raw[:8])[0]
place = json.loads(raw[8:8 + n])["model.layers.1.mlp.experts.down_proj"]["data_offsets"]
values = struct.unpack(f"<{(place[1] - place[0]) // 2}H", raw[8 + n + place[0]:8 + n + place[1]])
small = min(range(len(values)), key=lambda i: values[i] & 0x7FFF)          # the tensor's maximum stays
raw[8 + n + place[0] + 2 * small] ^= 1
with open(W + "/other/model.safetensors", "wb") as f:
    f.write(raw)
p = quantize(W + "/other", gptq, "s", "no")
check("statistics of another stack are refused", p.returncode == 3 and "'model.layers.1.mlp.experts.down_proj' is not the one that was solved" in p.stderr and not os.path.exists(W + "/no"), p.stderr)
raw = bytearray(data("s"))
n = struct.unpack("<Q", raw[:8])[0]
raw[8 + n + json.loads(raw[8:8 + n])["solved.model.layers.0.mlp.experts.2.up_proj.weight"]["data_offsets"][0]] ^= 1
with open(W + "/bad.safetensors", "wb") as f:
    f.write(raw)
p = quantize(OSS, gptq, "bad", "no")
check("a changed byte of a solved expert is found", p.returncode == 3 and "experts.2.up_proj.weight" in p.stderr and not os.path.exists(W + "/no"), p.stderr)
p = ingot("plan", OSS, "-r", recipe("half", "role: routed_experts, weights: nvfp4, inputs: none, solve: gptq", "module: '*.up_proj', weights: nvfp4, inputs: none"))
check("half of a stack solved is refused", p.returncode == 4 and "lie in one stack, one is solved and the other is not" in p.stderr, p.stderr)

# ---- stacks of outputs by inputs come apart ----
MISTRAL = VECTORS + "mistral4"
r = recipe("apart", "role: routed_experts, weights: nvfp4, inputs: none, solve: gptq")
p, d = calibrate(MISTRAL, r, "m")
q = quantize(MISTRAL, r, "m", "m")
stats, written = tensors(W + "/m.safetensors"), tensors(W + "/m/model.safetensors") if q.returncode == 0 else {}
names = [k[7:] for k in stats if k.startswith("solved.") and k != "solved.sha256"]
check("experts that come apart are solved and written as they are", p.returncode == q.returncode == 0 and names and d["error"] < d["error_max"] and len(names) == 2 * d["count"]
      and all(stats["solved." + k] == written[k] for k in names), p.stderr + q.stderr + str(d))
calibrate(MISTRAL, r, "m1", "-t", "1", "--solve-memory", "1", "--sequential")
calibrate(MISTRAL, r, "m2", "--sequential")
check("the same with one thread and no memory", data("m1") == data("m2"))

shutil.rmtree(W, ignore_errors=True)
finish()
