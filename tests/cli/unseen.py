#!/usr/bin/env python3
"""Experts that no calibration token reaches, on the example with a router that is told never to choose expert 3 of its first
MoE layer: what each policy does, and where it is written down. What all_tokens must find is what a model whose router sends
every token to every expert finds there, which is another way through the program. nano-experts, with few texts, from the
shared fixtures."""
import glob, json, os, shutil, struct, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
SHARED = os.environ.get("INGOT_SHARED", ROOT + "/../shared")
EXAMPLE = ROOT + "/examples/nano-hybrid"
WORK = tempfile.mkdtemp()
RECIPE = "name: t\nunseen_experts: %s\nrules:\n  - {role: routed_experts, weights: nvfp4, inputs: nvfp4}\n"


def ingot(*args, status=0):
    p = subprocess.run([INGOT, *args, "-q"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    check(f"ingot {args[0]}: status {status}", p.returncode == status, f"{p.returncode}: {p.stderr}")
    return p


def tensors(path):
    """name -> (dtype, shape, bytes, where in the file)"""
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8:8 + n])
    rows = {k: (t["dtype"], t["shape"], raw[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]], 8 + n + t["data_offsets"][0])
            for k, t in head.items() if k != "__metadata__"}
    return rows, head.get("__metadata__", {})


def scalar(rows, name):
    return struct.unpack("<f", rows[name][2])[0]


def counts(rows, name):
    return list(struct.unpack(f"<{rows[name][1][0]}q", rows[name][2]))


def recipe(policy):
    path = f"{WORK}/{policy}.yaml"
    open(path, "w").write(RECIPE % policy)
    return path


def stats(model, policy, out, *data):
    p = ingot("calibrate", model, "-r", recipe(policy), "-o", f"{WORK}/{out}.safetensors", "--json", *data)
    rows, meta = tensors(f"{WORK}/{out}.safetensors")
    return json.loads(p.stdout), rows, meta


# ---- the example, spoilt: expert 3 of the first MoE layer is never chosen
source = EXAMPLE + "/model"
never, every = WORK + "/never", WORK + "/every"
for d in (never, every):
    shutil.copytree(source, d)
DATA = ("-d", EXAMPLE + "/calibration.jsonl", "--max-texts", "12")
files = sorted(glob.glob(never + "/*.safetensors"))
biases = sorted((k, f) for f in files for k in tensors(f)[0] if k.endswith("gate.e_score_correction_bias"))
biases.sort(key=lambda b: int(b[0].split(".")[2]))
name, path = biases[0]
kind, shape, _, at = tensors(path)[0][name]
check("the bias is fp32", kind == "F32" and shape == [16], (kind, shape))
with open(path, "r+b") as f:
    f.seek(at + 4 * 3)
    f.write(struct.pack("<f", -1e9))
with open(every + "/config.json") as f:
    config = f.read()
with open(every + "/config.json", "w") as f:
    f.write(config.replace('"num_experts_per_tok": 4', '"num_experts_per_tok": 16'))
box = name.replace("gate.e_score_correction_bias", "experts")
want_unseen = f"{box}.3"

report, rows, meta = stats(never, "error", "error", *DATA)
check("it is listed", want_unseen in report["unseen_experts"], report["unseen_experts"])
check("with the policy", report["unseen_policy"] == "error" and meta["unseen_experts"] == "error", report["unseen_policy"])
mine = {e["container"]: e for e in report["experts"]}
check("counts are the file's", all(counts(rows, c + ".tokens") == e["tokens"] for c, e in mine.items()), mine)
check("every token goes to four", all(sum(e["tokens"]) == 4 * report["tokens"] for e in mine.values()), mine)
check("nothing is touched", all(e["all_tokens"] == [] for e in mine.values()) and f"{box}.all_tokens" not in rows)
check("it has no maximum", f"{box}.3.up_proj.input_amax" not in rows and f"{box}.2.up_proj.input_amax" in rows)
p = ingot("quantize", never, "-r", recipe("error"), "-s", WORK + "/error.safetensors", "-o", WORK + "/q", status=3)
check("error: refused by name", want_unseen in p.stderr and "all_tokens" in p.stderr, p.stderr)

report, rows, meta = stats(never, "layer_max", "layer_max", *DATA)
q = json.loads(ingot("quantize", never, "-r", recipe("layer_max"), "-s", WORK + "/layer_max.safetensors", "-o", WORK + "/q", "--json").stdout)
check("layer_max: the report lists it", want_unseen in q["unseen_experts"] and q["unseen_policy"] == "layer_max", q)
doc = json.load(open(WORK + "/q/ingot.json"))["calibration"]
check("layer_max: ingot.json lists it", [doc[k] for k in ("unseen_policy", "unseen_experts", "experts")] == [q[k] for k in ("unseen_policy", "unseen_experts", "experts")], doc)
written, _ = tensors(sorted(glob.glob(WORK + "/q/*.safetensors"))[0])
top = max(scalar(rows, f"{box}.{e}.up_proj.input_amax") for e in range(16) if e != 3)
f32 = lambda v: struct.unpack("<f", struct.pack("<f", v))[0]
check("layer_max: its scale is the layer's", scalar(written, f"{box}.3.up_proj.input_scale") == f32(top / 2688), top)

report, rows, meta = stats(never, "all_tokens", "all_tokens", *DATA)
mine = {e["container"]: e for e in report["experts"]}
check("all_tokens: touched", 3 in mine[box]["all_tokens"] and report["unseen_policy"] == "all_tokens" and meta["unseen_experts"] == "all_tokens", mine[box])
check("all_tokens: it stays unseen", want_unseen in report["unseen_experts"] and mine[box]["tokens"][3] == 0, report["unseen_experts"])
check("all_tokens: only those without tokens", all((e["tokens"][k] == 0) == (k in e["all_tokens"]) for e in mine.values() for k in range(16)), mine)
forced = counts(rows, box + ".all_tokens")
check("all_tokens: all of them, once", forced == [report["tokens"] if k in mine[box]["all_tokens"] else 0 for k in range(16)], forced)
_, other, _ = stats(every, "error", "every", *DATA)
check("the other model sends every token to every expert", set(counts(other, box + ".tokens")) == {report["tokens"]})
for part in ("up_proj", "down_proj"):
    a, b = (scalar(r, f"{box}.3.{part}.input_amax") for r in (rows, other))
    check(f"all_tokens: {part} sees what it would see", a == b > 0, (a, b))
_, plain, _ = stats(never, "layer_max", "again", *DATA)
check("all_tokens: nobody else's maximum changes", all(rows[k][2] == v[2] for k, v in plain.items()) and
      all(k.startswith(f"{c}.{e}.") or k.endswith(".all_tokens") for k in set(rows) - set(plain) for c, e in [k.rsplit(".", 3)[:2] if not k.endswith(".all_tokens") else ("", "")]),
      sorted(set(rows) - set(plain)))
q = json.loads(ingot("quantize", never, "-r", recipe("all_tokens"), "-s", WORK + "/all_tokens.safetensors", "-o", WORK + "/q", "--force", "--json").stdout)
doc = json.load(open(WORK + "/q/ingot.json"))["calibration"]
check("all_tokens: report and ingot.json", q["experts"] == doc["experts"] == report["experts"] and doc["unseen_policy"] == "all_tokens", doc)
text = ingot("quantize", never, "-r", recipe("all_tokens"), "-s", WORK + "/all_tokens.safetensors", "-o", WORK + "/q", "--force").stdout
check("all_tokens: a line for people", "unseen_experts: all_tokens" in text and want_unseen in text, text)
for threads in ("1", "3"):
    _, again, _ = stats(never, "all_tokens", "t" + threads, *DATA, "-t", threads)
    check(f"all_tokens: {threads} threads, the same", again == rows)
p = ingot("quantize", never, "-r", recipe("all_tokens"), "-s", WORK + "/layer_max.safetensors", "-o", WORK + "/x", status=3)
check("all_tokens: statistics of another policy do not fit", "statistics were made for another" in p.stderr, p.stderr)

# ---- statistics that contradict themselves
raw = bytearray(open(WORK + "/all_tokens.safetensors", "rb").read())
at = rows[box + ".tokens"][3] + 8 * 3
raw[at:at + 8] = struct.pack("<q", 1)
open(WORK + "/bad.safetensors", "wb").write(raw)
p = ingot("quantize", never, "-r", recipe("all_tokens"), "-s", WORK + "/bad.safetensors", "-o", WORK + "/x", status=3)
check("seen and forced is a contradiction", f"expert '{box}.3' was sent all tokens though it had seen 1" in p.stderr, p.stderr)

# ---- nano-experts, one short text: many experts see nothing
model = SHARED + "/fixtures/nano-experts"
if os.path.isdir(model):
    few = ("-d", model + "/calibration.jsonl", "--max-texts", "1", "--max-tokens", "6")
    report, rows, meta = stats(model, "all_tokens", "nano", *few)
    check("nano-experts: some see nothing", len(report["unseen_experts"]) > 0, report)
    check("nano-experts: all of them are visited", sum(len(e["all_tokens"]) for e in report["experts"]) == len(report["unseen_experts"]))
    check("nano-experts: every expert has its maxima", all(f"{e['container']}.{k}.{p}.input_amax" in rows for e in report["experts"] for k in range(len(e["tokens"])) for p in ("up_proj", "down_proj")))
    ingot("quantize", model, "-r", recipe("all_tokens"), "-s", WORK + "/nano.safetensors", "-o", WORK + "/nq")
else:
    print("skip nano-experts: the shared fixtures are not here")

shutil.rmtree(WORK)
finish()
