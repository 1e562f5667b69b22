#!/usr/bin/env python3
"""Searched mixtures against assignments that people make by hand, at no more bytes than these take: KL by `ingot verify` on
texts that neither the search nor the calibration saw. The search must win each time, and the scores it went by must be what
`verify` measures of a model where one group alone is quantized.

By default one comparison on nano-hybrid with few texts; AUTO_ALL=1: all of them, and nano-experts from the shared fixtures, as the
table in docs/algorithms.md has them (AUTO_TABLE=1 prints it)."""
import json, os, shutil, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INGOT = os.environ.get("INGOT", ROOT + "/build/ingot")
SHARED = os.environ.get("INGOT_SHARED", ROOT + "/../shared")
ALL, TABLE = bool(os.environ.get("AUTO_ALL")), bool(os.environ.get("AUTO_TABLE"))
SEARCH_TEXTS, SEARCH_TOKENS, EVAL_TEXTS = ("16", "128", 48) if ALL else ("6", "64", 12)
WORK = tempfile.mkdtemp()
bad = 0
LINEARS = "[attention, mamba_linears, mlp, shared_experts, routed_experts]"


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + (": " + str(detail)[:600] if detail else ""), flush=True)


def ingot(*args, status=(0,)):
    p = subprocess.run([INGOT, *args, "-q"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if p.returncode not in status:
        raise RuntimeError(f"ingot {' '.join(args)}: status {p.returncode}: {p.stderr}")
    return p.stdout


def rules(*rows):
    return "name: t\nunseen_experts: layer_max\nrules:\n" + "".join(
        f"  - {{role: {r}, weights: {t}, inputs: {t}, optional: true{', layers: ' + str(layers) if layers else ''}}}\n" for r, t, layers in rows)


def by_hand(n_layers):
    """name -> recipe"""
    every = list(range(n_layers))
    ends = [0, 1, n_layers - 2, n_layers - 1]
    return {
        "experts nvfp4, shared and Mamba fp8": rules(("routed_experts", "nvfp4", None), ("[shared_experts, mamba_linears]", "fp8", None)),
        "all fp8": rules((LINEARS, "fp8", None)),
        "nvfp4, the first and last two layers fp8": rules((LINEARS, "nvfp4", None), (LINEARS, "fp8", ends)),
        "nvfp4 and fp8 in turn by layer": rules((LINEARS, "nvfp4", every[::2]), (LINEARS, "fp8", every[1::2])),
        "MLPs and experts nvfp4, the rest as it is": rules(("[routed_experts, shared_experts, mlp]", "nvfp4", None)),
        "experts nvfp4, the rest fp8": rules((LINEARS, "fp8", None), ("routed_experts", "nvfp4", None)),
    }


def measure(model, recipe, data, texts, out):
    shutil.rmtree(out, ignore_errors=True)
    ingot("quantize", model, "-r", recipe, *data, "-o", out + "/q")
    ingot("pack", out + "/q", "-o", f"oci:{out}/p:t")
    return json.loads(ingot("verify", f"oci:{out}/p:t", "--against", model, "--data", texts, "--json", status=(0, 1, 9)))["parity"]


def save(name, text):
    path = f"{WORK}/{name}.yaml"
    with open(path, "w") as f:
        f.write(text)
    return path


def compare(fixture, model, base):
    data = ("-d", base + "/calibration.jsonl", "--max-texts", SEARCH_TEXTS, "--max-tokens", SEARCH_TOKENS)
    n_layers = len(json.load(open(model + "/config.json"))["hybrid_override_pattern"])
    lines = open(base + "/evaluation.jsonl").readlines()[:EVAL_TEXTS]
    texts = f"{WORK}/{fixture}.jsonl"
    with open(texts, "w") as f:
        f.writelines(lines)
    chosen = list(by_hand(n_layers).items())
    if not ALL:
        chosen = chosen[:1]
    scores = {}
    for method in ("kl", "gain") if ALL else ("gain",):
        scores[method] = f"{WORK}/{fixture}-{method}.json"
        ingot("search", model, *data, "--size", "1000000000", "--method", method, "--save-sensitivity", scores[method], "-o", WORK + "/x.yaml", status=(0, 3))
    rows = []
    for name, text in chosen:
        recipe = save("hand", text)
        size = json.loads(ingot("plan", model, "-r", recipe, "--json"))["sizes"]
        hand = measure(model, recipe, data, texts, WORK + "/hand")
        row = [name, size["effective_bits"], hand]
        for method, path in scores.items():
            found = json.loads(ingot("search", model, "--sensitivity", path, "--size", str(size["write_bytes"]), "-o", WORK + "/auto.yaml", "--json"))
            check(f"{fixture}, {name}, {method}: within the bytes, proven", found["bytes"] <= size["write_bytes"] and found["proven"], found["bytes"])
            got = measure(model, WORK + "/auto.yaml", data, texts, WORK + "/auto")
            check(f"{fixture}, {name}, {method}: less KL at no more bytes", got["kl_mean"] <= hand["kl_mean"], f"{got['kl_mean']:.4g}, by hand {hand['kl_mean']:.4g}")
            row += [found["effective_bits"], got, found["kl_sum"]]
        rows.append(row)
    if TABLE:
        print(f"\n{fixture}\n| by hand | bits | KL | top-1 |" + "".join(f" {m}: bits | KL | ratio | top-1 | sum of scores |" for m in scores))
        for r in rows:
            line = f"| {r[0]} | {r[1]:.3f} | {r[2]['kl_mean']:.3e} | {100 * r[2]['top1_agreement']:.2f} % |"
            for k in range(3, len(r), 3):
                line += f" {r[k]:.3f} | {r[k + 1]['kl_mean']:.3e} | {r[k + 1]['kl_mean'] / r[2]['kl_mean']:.2f} | {100 * r[k + 1]['top1_agreement']:.2f} % | {r[k + 2]:.3e} |"
            print(line)
        print(flush=True)


def one_cache(model, data, texts, path, patterns):
    """The cache's scores likewise, beside experts that cost next to nothing: a checkpoint without a quantized weight is refused."""
    scores = json.load(open(path))["cache"]
    for t in ("fp8", "nvfp4"):
        recipe = save("cache", f"name: t\nunseen_experts: layer_max\nkv_cache: {t}\nrules:\n" + patterns)
        got, want = measure(model, recipe, data, texts, WORK + "/one")["kl_mean"], scores[t]["kl"]
        check(f"score of the cache as {t}: what verify measures", abs(got - want) <= 0.03 * want, f"{want:.6g}, measured {got:.6g}")


def one_group(model, base):
    """A score is what verify measures of the checkpoint in which that group alone is quantized, on the same texts."""
    few = [json.dumps({"text": json.loads(line)["text"][:300]}) + "\n" for line in open(base + "/calibration.jsonl").readlines()[:3]]
    texts = WORK + "/few.jsonl"
    with open(texts, "w") as f:
        f.writelines(few)
    data = ("-d", texts)
    path = WORK + "/one.json"
    ingot("search", model, *data, "--size", "1000000000", "--cache-tokens", "1", "--method", "kl", "--save-sensitivity", path, "-o", WORK + "/x.yaml", "--roles", "attention,routed_experts,lm_head", status=(0, 3))
    small = min((g for g in json.load(open(path))["groups"] if g["role"] == "routed_experts"), key=lambda g: g["types"]["fp8"]["kl"])
    one_cache(model, data, texts, path, f'  - {{module: "{small["group"]}", weights: fp8, inputs: fp8}}\n')
    groups = json.load(open(path))["groups"]
    for g, t in ((groups[0], "nvfp4"), (groups[1], "fp8"), ([g for g in groups if g["role"] == "attention" and "{" in g["group"]][0], "nvfp4"), (groups[-1], "nvfp4"), (groups[-1], "fp8")):
        stem, _, names = g["group"].partition("{")
        patterns = [stem + n for n in names.rstrip("}").split(",")] if names else [g["group"]]
        recipe = save("one", "name: t\nunseen_experts: layer_max\nrules:\n" + "".join(f'  - {{module: "{p}", weights: {t}, inputs: {t}}}\n' for p in patterns))
        got = measure(model, recipe, data, texts, WORK + "/one")["kl_mean"]
        want = g["types"][t]["kl"]
        check(f"score of {g['group']} as {t}: what verify measures", abs(got - want) <= 1e-3 * want + 1e-10, f"{want:.6g}, measured {got:.6g}")


try:
    compare("nano-hybrid", ROOT + "/examples/nano-hybrid/model", ROOT + "/examples/nano-hybrid")
    one_group(ROOT + "/examples/nano-hybrid/model", ROOT + "/examples/nano-hybrid")
    if ALL and os.path.isdir(SHARED + "/fixtures/nano-experts"):
        compare("nano-experts", SHARED + "/fixtures/nano-experts", SHARED + "/fixtures/nano-experts")
    elif ALL:
        print("skip nano-experts: the shared fixtures are not here")
    else:
        print("# AUTO_ALL=1: every comparison, and nano-experts")
except RuntimeError as e:
    check("ran", False, e)
shutil.rmtree(WORK)
sys.exit(bad > 0)
