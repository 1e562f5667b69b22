#!/usr/bin/env python3
"""Each way of choosing scales and codes is better than max on nano-hybrid's attention and shared experts (4-bit weights,
calibration and evaluation texts apart), says in its report that it is, and gives the same bytes whatever the threads and the
instruction set. `make check-parity` takes all of them; docs/algorithms.md has the whole models."""
import hashlib, json, os, shutil, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INGOT = os.environ.get("INGOT", ROOT + "/build/ingot")
ALL = bool(os.environ.get("PARITY_ALL"))
BASE = ROOT + "/examples/nano-hybrid"
WORK = tempfile.mkdtemp()
# name: what the line says, KL of max's at most, the member of the report that says what was gained
METHODS = {
    "four_over_six": ("scales: four_over_six", 0.95, "scales"),
    "mse": ("scales: mse", 0.9, "scales"),
    "mse range": ("scales: {method: mse, start: 0.25, stop: 4.0, step: 0.1}", 0.95, "scales"),
    "local_hessian": ("scales: local_hessian", 0.85, "solved"),
    "gptq": ("solve: gptq", 0.75, "solved"),
    "descent": ("solve: descent, scales: local_hessian", 0.5, "solved"),
}
QUICK = ("mse range", "descent")
bad = 0


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + (": " + detail if detail else ""), flush=True)


def ingot(*args, status=(0,), env=None):
    p = subprocess.run([INGOT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ, **(env or {})))
    if p.returncode not in status:
        raise RuntimeError(f"ingot {' '.join(args)}: status {p.returncode}: {p.stderr}")
    return p.stdout


def quantize(extra, *args, env=None):
    shutil.rmtree(WORK + "/q", ignore_errors=True)
    with open(WORK + "/r.yaml", "w") as f:
        f.write("name: t\nrules:\n  - {role: [attention, shared_experts], weights: nvfp4, inputs: none%s}\n" % (extra and ", " + extra))
    out = ingot("quantize", BASE + "/model", "-r", WORK + "/r.yaml", "--data", BASE + "/calibration.jsonl", "-o", WORK + "/q", "-q", "--json",
                *args, env=env)
    with open(WORK + "/q/model.safetensors", "rb") as f:
        return json.loads(out), hashlib.sha256(f.read()).hexdigest()


def kl():
    shutil.rmtree(WORK + "/p", ignore_errors=True)
    ingot("pack", WORK + "/q", "-o", f"oci:{WORK}/p:t", "-q")
    out = ingot("verify", f"oci:{WORK}/p:t", "--against", BASE + "/model", "--data", BASE + "/evaluation.jsonl", "--json", "-q", status=(0, 1, 9))
    return json.loads(out)["parity"]["kl_mean"]


try:
    quantize("")
    base = kl()
    for name, (extra, most, member) in METHODS.items():
        if not ALL and name not in QUICK:
            continue
        report, digest = quantize(extra)
        said = report[member][0] if member == "scales" else report[member]
        check(f"{name}: the report says what was gained", 0 < said["error"] < said["error_max"] and said["lost"] == 0, json.dumps(said)[:200])
        got = kl()
        check(f"{name}: better than max", got <= most * base, "KL %.6g, max %.6g, at most %.2f of it" % (got, base, most))
        if member == "solved":
            check(f"{name}: one thread, AVX2", quantize(extra, "-t", "1", env={"INGOT_ISA": "avx2"})[1] == digest)
finally:
    shutil.rmtree(WORK, ignore_errors=True)
if not ALL:
    print("# make check-parity: every method")
sys.exit(bad > 0)
