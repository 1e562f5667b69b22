#!/usr/bin/env python3
"""ModelOpt's published recipes, resolved (reference/recipes.md of the shared folder), against what is made of them here:
the same list written as a ModelOpt file, the built-in recipe of that name, and, where ModelOpt's own files are (the folder
that INGOT_MODELOPT_RECIPES names, or the Python package modelopt_recipes), the original. Then what each list selects on
every model that is here, against Python's fnmatch on the reference's own lines."""
import fnmatch, importlib.util, json, os, re, subprocess, sys, tempfile

INGOT = os.environ.get("INGOT", "build/ingot")
TOOLS = os.environ.get("INGOT_TOOLS", "build/release/tests/tools")
SHARED = os.environ.get("INGOT_SHARED", "../shared")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
bad = 0


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + (": " + detail if detail and not ok else ""))


def originals():
    folder = os.environ.get("INGOT_MODELOPT_RECIPES")
    spec = None if folder else importlib.util.find_spec("modelopt_recipes")
    return folder or (os.path.dirname(spec.origin) if spec and spec.origin else None)


def sections(text):
    """-> {path: (algorithm, [(pattern, class or None, words)])}; the default-disabled list put in where it is named."""
    out, lines, algorithm, path, default = {}, None, None, None, []
    for line in text.splitlines():
        if line.startswith("## The default-disabled list"):
            lines = default
        elif line.startswith("## Recipes"):
            lines = None
        elif line.startswith("### "):
            path, lines = line[4:].strip(), []
        elif line.startswith("algorithm: ") and path:
            word = line[11:].strip()
            algorithm = eval(word) if word[0] == "{" else None if word == "None" else word   # a Python literal of the reference's own
            out[path] = (algorithm, lines)
        elif lines is not None and line.startswith("- *(default-disabled list)*"):
            lines += default
        elif lines is not None and (m := re.match(r"- `([^`]*)`(?: \(class (\S+)\))? (.*)", line)):
            lines.append((m[1], m[2], m[3]))
    return out


def is_four_over_six(a):
    return isinstance(a, dict) and a.get("start_multiplier") == 1.0 and a.get("stop_multiplier") == 1.5


def attributes(words, algorithm):
    """`on E2M1 block -1:16 dynamic scale E4M3` -> ModelOpt's attributes."""
    m = re.match(r"on (\S+)(?: block -1:(\d+) (\w+) scale (\w+)| per tensor)(.*)$", words)
    bits, block, kind, scale, rest = m.groups()
    cfg = {"num_bits": 4 if bits == "INT4" else bits.lower()}
    if block:
        cfg["block_sizes"] = {"-1": int(block), "type": kind}
        if scale != "float":
            cfg["block_sizes"]["scale_bits"] = scale.lower()
        if kind == "static" and scale == "E4M3" and is_four_over_six(algorithm):
            cfg["block_sizes"]["four_over_six"] = True
    if "use_constant_amax" in rest:
        cfg["use_constant_amax"] = True
    elif "constant_amax" in rest:
        cfg["constant_amax"] = float(rest.split()[-1])
    return cfg


def expected(pattern, cls, words, algorithm):
    """The rule that must come of a line: (type or None, options)."""
    if words == "off":
        return "off", {}
    cfg = attributes(words, algorithm)
    b = cfg.get("block_sizes", {})
    kind = {("e2m1", 16, "e4m3"): "nvfp4", ("e2m1", 32, "e8m0"): "mxfp4", (4, 128, None): "int4", ("e4m3", None, None): "fp8"}.get(
        (cfg["num_bits"], b.get("-1"), b.get("scale_bits")))
    if not kind:
        return None, {}
    more = {"group": 128} if kind == "int4" else {}
    if "constant_amax" in cfg:
        more["amax"] = cfg["constant_amax"]
    if "use_constant_amax" in cfg:
        more["constant"] = True
    if pattern.endswith(("input_quantizer", "bmm_quantizer")):
        return kind, more
    method = algorithm if isinstance(algorithm, str) else (algorithm or {}).get("method")
    if method == "nvfp4_act_headroom":
        return None, {}
    if b.get("four_over_six"):
        more["scales"] = "four_over_six"
    elif method == "mse" and kind == "nvfp4" and b["type"] == "static":
        more["scales"] = "mse"
    elif method == "mse" and kind == "fp8" and not algorithm.get("fp8_scale_sweep"):   # a sweep leaves FP8 as it is
        more["scales"] = {"method": "mse", "start": algorithm.get("start_multiplier", 0.25), "stop": algorithm.get("stop_multiplier", 4.0),
                          "step": algorithm.get("step_size", 0.1)}
    if method == "gptq":
        more["solve"] = {"method": "gptq", "damp": 0.01, "block": 128}
    return kind, more


def rule_of(r):
    return (r["quantizer"], r.get("class"), None if "refuse" in r else r["type"],
            {k: v for k, v in r.items() if k in ("group", "amax", "constant", "scales", "solve")})


def resolved(name):
    p = subprocess.run([TOOLS + "/recipe_tool", name], capture_output=True, text=True)
    return (json.loads(p.stdout), None) if p.returncode == 0 else (None, p.stderr.strip())


def same(label, name, want):
    got, why = resolved(name)
    if not got:
        return check(label, False, why)
    rules = [rule_of(r) for r in got["rules"]]
    wrong = next((f"line {i + 1}: {a}, expected {b}" for i, (a, b) in enumerate(zip(rules, want)) if a != b), "")
    check(label, not wrong and len(rules) == len(want), wrong or f"{len(rules)} rules, expected {len(want)}")


def as_modelopt(path, algorithm, lines):
    entries = []
    for pattern, cls, words in lines:
        e = {"quantizer_name": pattern}
        if cls:
            e["parent_class"] = cls
        if words == "off":
            e["enable"] = False
        else:
            e["cfg"] = attributes(words, algorithm)
        entries.append(e)
    return {"metadata": {"recipe_type": "ptq", "description": path}, "quantize": {"algorithm": algorithm, "quant_cfg": entries}}


def choices(lines, algorithm, item):
    """What the lines, later ones over earlier, leave for the weights and the inputs of one linear."""
    module, out = item["tensor"][: -len(".weight")], {}
    for half in ("weight_quantizer", "input_quantizer"):
        out[half] = "off"
        for pattern, cls, words in lines:
            if cls and not (cls == "nn.Embedding" and item["role"] == "embed"):
                continue
            if fnmatch.fnmatchcase(f"{module}.{half}", pattern):
                out[half] = expected(pattern, cls, words, algorithm)[0]
    return out["weight_quantizer"], out["input_quantizer"]


FORMAT = {("off", "off"): None, ("nvfp4", "nvfp4"): "nvfp4", ("nvfp4", "off"): "w4a16_nvfp4", ("fp8", "fp8"): "fp8", ("mxfp4", "off"): "w4a16_mxfp4",
          ("int4", "off"): "w4a16_awq_g128"}
# Words of refusals that are about the model, not about what the recipe selects.
MODEL_SAYS_NO = ("are not a multiple of", "lies in the stack", "quantized already", "matches nothing", "quantizes nothing", "need one format",
                 "is no format that engines load", "is no type that", "is not supported", "are not supported", "does not run", "Mamba's projections", "are no multiple of an NVFP4 cache's block")


def selections(name, recipe, algorithm, lines, models, linear_roles):
    tried = wrong = compared = 0
    first = ""
    for m in models:
        p = subprocess.run([INGOT, "plan", m, "-r", recipe, "--json"], capture_output=True, text=True)
        if p.returncode:
            if not any(w in p.stderr for w in MODEL_SAYS_NO):
                wrong, first = wrong + 1, first or f"{os.path.basename(m)}: {p.stderr.strip()}"
            continue
        tried += 1
        for item in json.loads(p.stdout)["items"]:
            if item["role"] not in linear_roles or item.get("mtp") or not item["tensor"].endswith(".weight"):
                continue
            compared += 1
            w, i = choices(lines, algorithm, item)
            want = None if item["role"] == "embed" else FORMAT.get((w, i), (w, i))
            if item.get("format") != want:
                wrong, first = wrong + 1, first or f"{os.path.basename(m)}: {item['tensor']} is {item.get('format')}, expected {want}"
    check(f"{name} selects {compared} linears of {tried} models", wrong == 0, first)
    return compared


def main():
    reference = SHARED + "/reference/recipes.md"
    if not os.path.exists(reference):
        return print("skip the shared reference is not here: no resolved recipes to compare with")
    models = [ROOT + "/examples/nano-hybrid/model"] + sorted(
        f"{SHARED}/fixtures/{d}" for d in os.listdir(SHARED + "/fixtures") if os.path.exists(f"{SHARED}/fixtures/{d}/config.json"))
    roles = json.loads(subprocess.run([INGOT, "list", "roles", "--json"], capture_output=True, text=True, check=True).stdout.splitlines()[0])
    linear = {r["name"] for r in roles["roles"] if "never quantized" not in r["what"] and r["name"] != "carried"}
    builtin = {r["name"] for r in json.loads(subprocess.run([INGOT, "list", "recipes", "--json"], capture_output=True, text=True, check=True).stdout)["recipes"]}
    folder, found, tried = originals(), 0, 0
    with tempfile.TemporaryDirectory() as tmp:
        for path, (algorithm, lines) in sections(open(reference).read()).items():
            name = path.rsplit("/", 1)[-1]
            want = [(p, c[3:] if c else None, *expected(p, c, w, algorithm)) for p, c, w in lines]
            file = f"{tmp}/{name}.yaml"
            json.dump(as_modelopt(path, algorithm, lines), open(file, "w"))
            same(f"{name} as a list", file, want)
            if folder:
                same(f"{name} as published", f"{folder}/{path}.yaml", want)
            own = next((b for b in (name, {"nvfp4-max-calib": "super-nvfp4-max-calib", "nvfp4-mse": "super-nvfp4-mse"}.get(name)) if b in builtin), None)
            if own:
                same(f"{own} built in", own, want)
            found += 1
            tried += selections(name, f"{folder}/{path}.yaml" if folder else file, algorithm, lines, models, linear)
    check("recipes of the reference", found >= 20 and tried >= 10000, f"{found} recipes, {tried} linears")
    if not folder:
        print("skip ModelOpt's own files are not here (INGOT_MODELOPT_RECIPES): their resolved lists alone were read")


main()
sys.exit(bad > 0)
