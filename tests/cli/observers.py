#!/usr/bin/env python3
"""What observers of inputs report: their squared error against that of observer: max, and whether they lost, for FP8 and NVFP4."""
import json, random, shutil, sys, os, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import ROOT, check, finish, ingot

W = tempfile.mkdtemp()
MODEL = ROOT + "/tests/vectors/engine/qwen3"
r = random.Random(3)
json.dump([[r.randrange(64) for _ in range(40)] for _ in range(4)], open(W + "/ids.json", "w"))


def run(kind, inputs, *args):
    with open(W + "/r.yaml", "w") as f:
        f.write(f"name: t\nrules:\n  - {{role: [attention, mlp], weights: {kind}, inputs: {{type: {kind}, {inputs}}}}}\n")
    p = ingot("quantize", MODEL, "-r", W + "/r.yaml", "--ids", W + "/ids.json", "-o", W + "/out", "--force", "-q", *args)
    check(f"{kind}, {inputs} {' '.join(args)}".strip(), p.returncode == 0, p.stderr)
    return p.stdout


for kind, inputs in (("fp8", "observer: mse"), ("fp8", "observer: percentile"), ("nvfp4", "observer: headroom"), ("nvfp4", "observer: percentile"),
                     ("nvfp4", "observer: percentile, percentile: 60")):
    rows = json.loads(run(kind, inputs, "--json"))["observed_inputs"]
    check(f"{kind}, {inputs}: every linear is compared with max", len(rows) == 21 and all(0 < x["error_of_max"] < float("inf") for x in rows), rows[:3])
    check(f"{kind}, {inputs}: who is worse has lost", all(x["lost"] == (x["error_of_max"] > 1) for x in rows), rows[:3])
    check(f"{kind}, {inputs}: max itself neither gains nor loses", all(x["error_of_max"] == 1 for x in rows if x["amax"] == x["peak"]), rows[:3])
    if "60" in inputs:
        check(f"{kind}: clipping two fifths of the inputs loses", sum(x["lost"] and x["error_of_max"] > 1.05 for x in rows) > 15, rows)
        text = run(kind, inputs)
        check(f"{kind}: so it is said", f"their squared error is" in text and "lost: " in text, text)
shutil.rmtree(W)
finish()
