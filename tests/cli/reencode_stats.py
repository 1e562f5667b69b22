#!/usr/bin/env python3
"""`ingot verify --all` of packages whose plan needs data: with the statistics that ingot.json names everything is made again; without
them what hangs on them is undecided, and never passes."""
import os, shutil, sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools"))
from audited import MODEL, TEXTS, Verified, check, done, ingot, lie, pack, tensors

REST = "encoded again, the rest"
DATA = ["--data", TEXTS, "--max-texts", "3", "--max-tokens", "64"]


def make(name, recipe):
    ingot("calibrate", MODEL, "-r", recipe, *DATA, "-o", f"{name}.safetensors")
    ingot("quantize", MODEL, "-r", recipe, "-s", f"{name}.safetensors", "-o", name)
    pack(name)


def recipe(name, *rules):
    with open(name + ".yaml", "w") as f:
        f.write(f"name: {name}\nunseen_experts: layer_max\nrules:\n" + "".join(f"  - {{{r}}}\n" for r in rules))
    return name + ".yaml"


# ---- observed inputs and caches ----
make("seen", "nvfp4_mlp_only-kv_fp8")
SAID = tensors("seen")
hang = {t for t in SAID if t.endswith((".input_scale", ".k_scale", ".v_scale"))}
check("the recipe observes inputs and caches", any(t.endswith(".input_scale") for t in hang) and any(t.endswith(".k_scale") for t in hang), SAID.keys())
v = Verified("seen", "--all")
check("without statistics: undecided, all else is the same", v.status == 9 and v.of() == "pass" and v.of(REST) == "undecided" and set(v.again["undecided"]) == hang and v.again["tensors"] == len(SAID) - len(hang), v)
check("the sentence says what to give", "--stats" in v.stderr, v.stderr)
v = Verified("seen", "--all", "-s", "seen.safetensors")
check("with them: the same bytes", v.status == 0 and v.of() == "pass" and v.of("statistics") == "pass" and v.again["tensors"] == len(SAID) and not v.again["undecided"], v)
scale = sorted(t for t in hang if t.endswith(".input_scale"))[0]
lie("seen", "lie-scale", scale)
v = Verified("lie-scale", "--all")
check(f"{scale} changed and listed: undecided without statistics", v.status == 9 and scale in v.again["undecided"], v)
v = Verified("lie-scale", "--all", "-s", "seen.safetensors")
check(f"{scale} changed and listed: seen with them", v.status == 1 and v.of() == "fail" and scale in v.rows["encoded again"]["detail"], v)

# ---- solved and folded weights ----
make("solved", recipe("solved", "role: mlp, weights: nvfp4, inputs: nvfp4, solve: gptq", "role: attention, weights: nvfp4, inputs: none, solve: awq", "role: routed_experts, weights: nvfp4, inputs: none"))
SAID = tensors("solved")
coded = [t for t in SAID if t + "_scale" in SAID]
v = Verified("solved", "--all")
left = set(v.again.get("undecided", []))
free = {t for t in coded if ".experts." in t}
check("solved and folded weights, and the norm in front: undecided", v.status == 9 and {t for t in coded if t not in free} <= left and any(t.endswith("norm.weight") for t in left), v)
check("weights without either are compared", v.of() == "pass" and not left & free and len(free) > 9, v)
v = Verified("solved", "--all", "-s", "solved.safetensors")
check("with the statistics: the same bytes", v.status == 0 and v.again["tensors"] == len(SAID) and not v.again["undecided"], v)
name = sorted(t for t in coded if t not in free)[0]
lie("solved", "lie-solved", name)
v = Verified("lie-solved", "--all", "-s", "solved.safetensors")
check(f"{name} changed and listed: seen with them", v.status == 1 and v.of() == "fail" and name in v.stderr, v)

# ---- statistics that are not the package's ----
v = Verified("seen", "--sample", "2", "-s", "solved.safetensors")
check("other statistics: fail, and nothing is made of them", v.status == 1 and v.of("statistics") == "fail" and "digest: statistics" in v.stderr and v.of(REST) == "undecided", v)
with open("solved.safetensors", "rb") as f:
    data = bytearray(f.read())
data[len(data) // 2] ^= 1
open("bent.safetensors", "wb").write(data)
v = Verified("solved", "--all", "-s", "bent.safetensors")
check("bent statistics: refused or a failure", v.status in (1, 3) and v.stderr, v)
v = Verified("seen", "--all", "-s", "missing.safetensors")
check("no such statistics: 3", v.status == 3 and "missing.safetensors" in v.stderr, v)
ingot("quantize", MODEL, "-r", "nvfp4-data-free", "-o", "free")
pack("free")
v = Verified("free", "--sample", "1", "-s", "seen.safetensors")
check("statistics of a package that names none: undecided", v.status == 9 and v.of("statistics") == "undecided" and v.of() == "pass", v)

# ---- scales from elsewhere ----
ingot("quantize", MODEL, "-r", "nvfp4-data-free", "--scales-from", "free", "-o", "student")
pack("student")
v = Verified("student", "--sample", "2")
check("scales from elsewhere: codes are compared, scales are undecided", v.status == 9 and v.of() == "pass" and "own scales" in v.rows["encoded again"]["detail"] and set(v.again["undecided"]) == {t.removesuffix("weight") + s for t in v.again["names"] for s in ("weight_scale", "weight_scale_2", "input_scale")} and len(v.again["names"]) == 2, v)
shutil.rmtree("seen")
done()
