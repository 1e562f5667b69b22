#!/usr/bin/env python3
"""What each algorithm costs in quality: KL, top-1 agreement and perplexity of nano-hybrid and nano-experts, quantized by this
program, calibrated on calibration.jsonl, measured by `ingot verify` on evaluation.jsonl. Prints the tables of
docs/algorithms.md as Markdown.

usage: quality.py [--cache FILE] [--only WORD] [--no-measure]
--cache: results by model and recipe, kept between runs (they do not depend on the machine; delete the file when the
program changed). --only: rows whose name holds the word. --no-measure: tables of what the cache holds."""
import argparse, json, os, shutil, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
INGOT = os.environ.get("INGOT", ROOT + "/build/ingot")
SHARED = os.environ.get("INGOT_SHARED", ROOT + "/../shared")
MODELS = ("nano-hybrid", "nano-experts")
GOLDEN = {m: r for m, r in json.load(open(SHARED + "/golden/nano-parity.json")).items()}
ALL = "[routed_experts, shared_experts, mlp, mamba_linears, latent, attention]"
ROLES = ("attention", "mamba_linears", "latent", "mlp", "shared_experts", "routed_experts")
# name: what the line says beside weights and inputs
NVFP4 = {
    "max": "",
    "four_over_six": "scales: four_over_six",
    "mse": "scales: mse",
    "local_hessian": "scales: local_hessian",
    "awq": "solve: awq",
    "awq, clip": "solve: {method: awq, clip: true}",
    "awq, mse": "solve: awq, scales: mse",
    "smoothquant": "solve: {method: smoothquant, alpha: 0.5}",
    "gptq": "solve: gptq",
    "gptq, local_hessian": "solve: gptq, scales: local_hessian",
    "descent, local_hessian": "solve: descent, scales: local_hessian",
    "descent, local_hessian, readers": "solve: {method: descent, outputs: readers}, scales: local_hessian",
}
BY_ROLE = ("max", "mse", "gptq", "descent, local_hessian", "descent, local_hessian, readers")
a = argparse.ArgumentParser()
a.add_argument("--cache", default="")
a.add_argument("--only", default="")
a.add_argument("--no-measure", action="store_true")
a = a.parse_args()
cache = json.load(open(a.cache)) if a.cache and os.path.exists(a.cache) else {}


def run(*args, ok=(0,)):
    p = subprocess.run([INGOT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return (p.returncode, p.stdout if p.returncode in ok else p.stderr)


def measure(model, recipe):
    """What verify says; {"error": ...} when the recipe is refused, e.g. because it matches nothing."""
    key = model + "\n" + recipe
    if key in cache or a.no_measure:
        return cache.get(key)
    fixture, work = SHARED + "/fixtures/" + model, tempfile.mkdtemp()
    try:
        path = recipe
        if "\n" in recipe:
            path = work + "/r.yaml"
            open(path, "w").write(recipe)
        rc, text = run("quantize", fixture, "-r", path, "--data", fixture + "/calibration.jsonl", "-o", work + "/q", "-q")
        if rc == 0:
            rc, text = run("pack", work + "/q", "-o", f"oci:{work}/p:t", "-q")
        if rc == 0:
            rc, text = run("verify", f"oci:{work}/p:t", "--against", fixture, "--data", fixture + "/evaluation.jsonl", "--json",
                           "-q", ok=(0, 1, 9))
            rc = 0 if rc in (0, 1, 9) else rc
        if rc == 0:
            p = json.loads(text)["parity"]
            cache[key] = {k: p[k] for k in ("kl_mean", "kl_mean_half_width_95", "top1_agreement", "top1_half_width_95",
                                            "ppl_original", "ppl_quantized")}
        else:
            cache[key] = {"error": text.strip().split("\n")[-1]}
            if "matches nothing" not in text:
                print(f"# {model}: {recipe!r}: {text.strip()}", file=sys.stderr)
        if a.cache:
            json.dump(cache, open(a.cache + ".part", "w"), indent=1)
            os.replace(a.cache + ".part", a.cache)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return cache[key]


def recipe(role, inputs, extra):
    return (f"name: quality\nunseen_experts: layer_max\nrules:\n"
            f"  - {{role: {role}, weights: nvfp4, inputs: {inputs}{', ' + extra if extra else ''}}}\n")


def kl(r):
    if not r or "error" in r:
        return "-"
    return ("%.5f ± %.5f" if r["kl_mean"] >= 1e-4 else "%.1e ± %.1e") % (r["kl_mean"], r["kl_mean_half_width_95"])


def row(*cells):
    print("| " + " | ".join(cells) + " |")


def head(*cells):
    row(*cells)
    row(*["---"] * len(cells))


def ratio(r, base):
    return "%.2f" % (r["kl_mean"] / base["kl_mean"]) if r and base and "kl_mean" in r and "kl_mean" in base else "-"


def wanted(name):
    return a.only in name


print("### Published recipes, max calibration\n")
head("model", "recipe", "KL", "ModelOpt's KL", "top-1", "ModelOpt's", "perplexity", "ModelOpt's", "unquantized")
for m in MODELS:
    for name, ref in GOLDEN[m].items():
        r = wanted("published") and measure(m, name)
        if r and "error" not in r:
            row(m, name, kl(r), "%.5f" % ref["kl_mean"], "%.4f ± %.4f" % (r["top1_agreement"], r["top1_half_width_95"]),
                "%.4f" % ref["top1_agreement"], "%.3f" % r["ppl_quantized"], "%.3f" % ref["ppl_quantized"], "%.3f" % r["ppl_original"])
for title, inputs in (("W4A16", "none"), ("W4A4", "nvfp4")):
    print(f"\n### All linears NVFP4, {title}\n")
    head("model", "algorithm", "KL", "of max's", "top-1", "perplexity", "unquantized")
    for m in MODELS:
        base = wanted(title) and measure(m, recipe(ALL, inputs, ""))
        for name, extra in NVFP4.items():
            r = wanted(title) and measure(m, recipe(ALL, inputs, extra))
            if r and "error" not in r:
                row(m, name, kl(r), ratio(r, base), "%.4f ± %.4f" % (r["top1_agreement"], r["top1_half_width_95"]),
                    "%.3f" % r["ppl_quantized"], "%.3f" % r["ppl_original"])
print("\n### One role at a time, W4A16: KL, and in brackets its share of max's\n")
head("model", "role", *BY_ROLE)
for m in MODELS:
    for role in ROLES:
        results = [wanted("role") and measure(m, recipe(role, "none", NVFP4[name])) for name in BY_ROLE]
        if results[0] and "error" not in results[0]:
            row(m, role, *[f"{kl(r)} ({ratio(r, results[0])})" for r in results])
