#!/usr/bin/env python3
"""Recipes in other programs' languages from the command line: a ModelOpt file makes the bytes of the built-in recipe that
transcribes it, wherever the file lies; `plan --explain`; exit statuses and sentences."""
import json, os, shutil, subprocess, sys, tempfile

INGOT = os.environ.get("INGOT", "build/ingot")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODEL = ROOT + "/examples/nano-hybrid/model"
bad = 0


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + ("" if ok else ": " + str(detail)[:600]), flush=True)


def ingot(*args, status=0):
    p = subprocess.run([INGOT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    check(" ".join(a if len(a) < 60 else "..." + a[-40:] for a in args[:1] + args[2:4]) + f" ends with {status}", p.returncode == status, p.stderr)
    return p


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    return path


WEIGHT_ONLY = """imports:
  base_disable_all: configs/ptq/units/base_disable_all
  w4: configs/ptq/units/w4_nvfp4
  default_disabled_quantizers: configs/ptq/units/default_disabled_quantizers
metadata: {recipe_type: ptq, description: every linear NVFP4 W4A16}
quantize:
  algorithm: max
  quant_cfg:
    - $import: base_disable_all
    - $import: w4
    - $import: default_disabled_quantizers
"""

with tempfile.TemporaryDirectory() as W:
    a, b = write(W + "/a/weight-only.yaml", WEIGHT_ONLY), write(W + "/elsewhere/b/weight-only.yaml", WEIGHT_ONLY)
    plans = [json.loads(ingot("plan", MODEL, "-r", r, "--json").stdout) for r in (a, b, "nvfp4_weight_only-kv_fp16")]
    check("a plan does not depend on where its recipe lies", plans[0] == plans[1])
    check("a ModelOpt recipe is called as its file", plans[0]["recipe"]["name"] == "weight-only")
    same = [[{k: v for k, v in i.items() if k != "reason"} for i in p["items"]] for p in plans]
    check("a ModelOpt recipe plans what the built-in one does", same[0] == same[2])
    for r, out in ((a, W + "/one"), ("nvfp4_weight_only-kv_fp16", W + "/two")):
        ingot("quantize", MODEL, "-r", r, "-o", out, "-q")
    read = lambda d: {n: open(f"{W}/{d}/{n}", "rb").read() for n in sorted(os.listdir(f"{W}/{d}")) if n != "ingot.json"}
    check("and writes its bytes", read("one") == read("two") and len(read("one")) > 3, sorted(read("one")))
    recipe = json.load(open(W + "/one/ingot.json"))["recipe"]
    check("ingot.json holds the recipe in our words", recipe["name"] == "weight-only" and recipe["rules"][1]["type"] == "nvfp4" and W not in json.dumps(recipe), recipe)

    # ---- --explain ----
    t = "backbone.layers.1.mixer.experts.0.up_proj"
    text = ingot("plan", MODEL, "-r", a, "--explain", t).stdout
    check("--explain: the line that decides, and those before it", "    rule 1: * (base_disable_all): type off\n  > rule 2: *weight_quantizer (w4_nvfp4): type nvfp4\n" in text
          and f"    {t}.weight_scale  F8_E4M3 " in text, text)
    told = json.loads(ingot("plan", MODEL, "-r", a, "--explain", t + ".weight", "--json").stdout)
    item = next(i for i in plans[0]["items"] if i["tensor"] == t + ".weight")
    check("--explain agrees with the plan", (told["format"], told["reason"], [{k: w[k] for k in ("name", "dtype", "shape")} for w in told["written"]])
          == (item["format"], item["reason"], item["outputs"]), told)
    check("--explain: one rule decides", [w.get("decides", False) for w in told["weights"]] == [False, True], told["weights"])
    told = json.loads(ingot("plan", MODEL, "-r", a, "--explain", "lm_head.weight", "--json").stdout)
    check("--explain: switched off last", told["action"] == "copy" and told["weights"][-1]["says"] == {"type": "off"} and told["weights"][-1]["note"] == "default_disabled_quantizers", told)
    p = ingot("plan", MODEL, "-r", a, "--explain", "no.such.tensor", status=2)
    check("--explain: a tensor that is not there", "no tensor or module 'no.such.tensor'" in p.stderr, p.stderr)

    for name in ("backbone.layers.1.mixer.experts", "*experts.0.up_proj"):
        p = ingot("plan", MODEL, "-r", a, "--explain", name, status=2)
        check(f"--explain: {name} is more than one", f"'{name}' stands for " in p.stderr and "such as 'backbone.layers.1.mixer.experts.0." in p.stderr, p.stderr)
    lc = write(W + "/lc.yaml", "QuantizationModifier: {scheme: NVFP4A16, targets: Linear, ignore: ['re:.*(?<!_)experts.*', lm_head]}\n")
    text = ingot("plan", MODEL, "-r", lc, "--explain", t).stdout
    check("--explain: a line whose ignore list names it", "leaves it out\n" in text and "  > " not in text, text)
    own = write(W + "/own.yaml", "name: own\nrules:\n  - {module: 're:.*layers\\.(?!4\\.)\\d{1,2}\\..*(?<!shared_)experts\\..*', weights: nvfp4, inputs: none}\n")
    names = [ingot("plan", MODEL, "-r", own, "--explain", f"backbone.layers.{x}.up_proj").stdout for x in ("1.mixer.experts.0", "4.mixer.experts.1", "1.mixer.shared_experts")]
    check("--explain: our own recipe's line, and an expression that looks around", "\\..* (line 3): type nvfp4\n" in names[0] and "  > " not in names[1] + names[2] and "no rule selects them" in names[1], names)

    # ---- the cache's quantizers obey the last line, too ----
    kv = "    - {quantizer_name: '*[kv]_bmm_quantizer', cfg: {num_bits: e4m3}}\n"
    head = "quantize:\n  quant_cfg:\n    - {quantizer_name: '*', enable: false}\n    - {quantizer_name: '*mixer.up_proj.weight_quantizer', cfg: {num_bits: e4m3}}\n" \
           "    - {quantizer_name: '*mixer.up_proj.input_quantizer', cfg: {num_bits: e4m3, constant_amax: 448}}\n"
    for name, text, want in (
        ("kv_off", kv + "    - {quantizer_name: '*bmm*', enable: false}\n", "none"),
        ("kv_on_again", kv + "    - {quantizer_name: '*bmm*', enable: false}\n    - {quantizer_name: '*[kv]_bmm_quantizer', enable: true}\n", "fp8"),
        ("kv_class", kv + "    - {quantizer_name: '*mixer.[kv]_*', parent_class: nn.Linear, enable: false}\n", "fp8"),
        ("kv_refused_then_off", kv.replace("e4m3", "8") + "    - {quantizer_name: '*bmm*', enable: false}\n", "none"),
        ("kv_refused_then_fp8", kv.replace("e4m3", "8") + kv, "fp8"),
    ):
        found = json.loads(ingot("plan", MODEL, "-r", write(f"{W}/{name}.yaml", head + text), "--json").stdout)
        check(f"{name}: the cache is {want}", found["kv_cache"] == want, found["kv_cache"])

    # ---- what is refused ----
    for name, text, status, why in (
        ("a.yaml", "imports: {x: configs/no/such}\nquantize: {quant_cfg: []}\n", 3, "a.yaml: line 1: import 'configs/no/such' is neither a file"),
        ("b.yaml", "imports: {x: b}\nquantize: {quant_cfg: []}\n", 3, "b.yaml' imports itself"),
        ("c.yaml", "quantize:\n  quant_cfg:\n    - {quantizer_name: '*', cfg: {num_bits: e5m5}}\n", 3, "c.yaml: line 3: key 'num_bits': E5M5 is no type of ModelOpt's"),
        ("d.yaml", "quantize:\n  algorithm: {method: magic}\n  quant_cfg: []\n", 3, "d.yaml: line 2: algorithm 'magic' is not known"),
        ("e.yaml", "quantize:\n  quant_cfg:\n    - {quantizer_name: '*', enable: false}\n    - {quantizer_name: '*up_proj.weight_quantizer', cfg: {num_bits: 8, axis: 0}}\n", 4,
         "rule 2: *up_proj.weight_quantizer (e.yaml: line 4): the weights of tensor"),
        ("i.yaml", head + kv.replace("e4m3", "8"), 4, "(i.yaml: line 6): the KV cache of 'backbone.layers."),
        ("j.yaml", head + "    - {quantizer_name: '*k_bmm_quantizer', enable: true}\n", 4, "(j.yaml: line 6): the KV cache of 'backbone.layers."),
        ("f.yaml", "quantize:\n  quant_cfg:\n    - {quantizer_name: '*', enable: false}\n", 3, "quantizes nothing"),
        ("g.yaml", "q_stage: {q_modifiers: {SparseGPTModifier: {sparsity: 0.5}}}\n", 4, "g.yaml: line 1: modifier 'SparseGPTModifier' is not read here"),
        ("h.yaml", "q_stage: {q_modifiers: {QuantizationModifier: {scheme: W8A8, ignore: [lm_head]}}}\n", 4, "(q_stage.q_modifiers.QuantizationModifier, line 1): the weights of tensor"),
    ):
        p = ingot("plan", MODEL, "-r", write(f"{W}/bad/{name}", text), status=status)
        check(f"{name}: {why}", why in p.stderr and p.stderr.count("\n") == 1, p.stderr)
sys.exit(bad > 0)
