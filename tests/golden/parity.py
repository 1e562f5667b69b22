#!/usr/bin/env python3
"""What `ingot verify` measures against what an independent program measured on the same folder (tests/vectors/parity; its
README says how): mean KL, top-1 agreement, both perplexities within 3 %. The recorded SHA-256 says that it is the same
folder. With the published recipe the model may lose at most 3 % more than ModelOpt's own export does; with `copy` nothing.

nano-hybrid is in the tree, with two recipes; `make check-parity` takes every recipe, and nano-experts from the shared
fixtures."""
import hashlib, json, os, shutil, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INGOT = os.environ.get("INGOT", ROOT + "/build/ingot")
SHARED = os.environ.get("INGOT_SHARED", ROOT + "/../shared")
ALL = bool(os.environ.get("PARITY_ALL"))
VECTORS = ROOT + "/tests/vectors/parity"
# golden/nano-parity.json: what ModelOpt's export of nvfp4-super costs
PEER = {"nano-hybrid": (0.002027037990433131, 0.968595450049456), "nano-experts": (0.011869453197646521, 0.927045203030561)}
bad = 0


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + (": " + detail if detail else ""), flush=True)


def ingot(*args, status=(0,)):
    p = subprocess.run([INGOT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if p.returncode not in status:
        raise RuntimeError(f"ingot {' '.join(args)}: status {p.returncode}: {p.stderr}")
    return p.stdout


def sha256_of(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while piece := f.read(1 << 20):
            h.update(piece)
    return h.hexdigest()


def measure(model, texts, recipe, work):
    path = f"{VECTORS}/recipes/{recipe}.yaml"
    args = [] if recipe == "copy" else ["--data", texts + "/calibration.jsonl"]
    ingot("quantize", model, "-r", path if os.path.exists(path) else recipe, *args, "-o", work + "/q", "-q")
    ingot("pack", work + "/q", "-o", f"oci:{work}/p:t", "-q")
    out = ingot("verify", f"oci:{work}/p:t", "--against", model, "--data", texts + "/evaluation.jsonl", "--json", "-q", status=(0, 1, 9))
    return json.loads(out)["parity"], sha256_of(work + "/q/model.safetensors")


def near(a, b):
    return abs(a - b) <= 0.03 * abs(b)


for fixture in ("nano-hybrid", "nano-experts"):
    recorded = json.load(open(f"{VECTORS}/{fixture}.json"))
    base = ROOT + "/examples/nano-hybrid" if fixture == "nano-hybrid" else f"{SHARED}/fixtures/{fixture}"
    model = base + "/model" if fixture == "nano-hybrid" else base
    for recipe, ref in sorted(recorded.items()):
        name = f"{fixture} {recipe}"
        if not ALL and (fixture != "nano-hybrid" or recipe not in ("copy", "nvfp4-super")):
            continue
        if not os.path.isdir(model):
            print(f"skip {name}: the shared fixtures are not here")
            continue
        work = tempfile.mkdtemp()
        try:
            got, digest = measure(model, base, recipe, work)
        except RuntimeError as e:
            check(name, False, str(e))
            continue
        finally:
            shutil.rmtree(work, ignore_errors=True)
        check(f"{name}: the folder that was measured", digest == ref["weights_sha256"], digest)
        check(f"{name}: tokens", got["tokens"] == ref["tokens"], str(got["tokens"]))
        if recipe == "copy":
            check(f"{name}: nothing lost", got["kl_mean"] == 0 and got["top1_agreement"] == 1, f"KL {got['kl_mean']}, top-1 {got['top1_agreement']}")
            continue
        detail = "KL %.6g, reference %.6g; top-1 %.5f, %.5f" % (got["kl_mean"], ref["kl_mean"], got["top1_agreement"], ref["top1_agreement"])
        check(f"{name}: measures as the reference", all(near(got[k], ref[k]) for k in ("kl_mean", "top1_agreement", "ppl_original", "ppl_quantized")), detail)
        if recipe == "nvfp4-super":
            kl, top1 = PEER[fixture]
            check(f"{name}: loses no more than ModelOpt's", got["kl_mean"] <= 1.03 * kl and got["top1_agreement"] >= 0.97 * top1, f"KL {kl:.6g}, top-1 {top1:.5f} there")
if not ALL:
    print("# make check-parity: every recipe, and nano-experts")
sys.exit(bad > 0)
