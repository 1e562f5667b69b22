#!/usr/bin/env python3
"""Towers beside a language model (tests/vectors/engine): quantize carries them byte for byte, the quantization config excludes
them, inspect counts them, what is written for the language model stands where the source has it, and the result runs."""
import fnmatch, json, os, shutil, struct, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT + "/tests/tools")
from tensors import tensors

INGOT = os.environ.get("INGOT", ROOT + "/build/ingot")
WORK = tempfile.mkdtemp()
bad = 0


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + ("" if ok else ": " + str(detail)[:400]))


def ingot(*args):
    return subprocess.run([INGOT, *args], capture_output=True, text=True, timeout=60)


open(WORK + "/recipe.yaml", "w").write("name: all\nrules:\n  - {module: '*', weights: nvfp4, inputs: none}\n"
                                       "  - {role: [embed, lm_head], weights: none, inputs: none}\n"
                                       "  - {role: [mlp_down, routed_experts, shared_down], weights: none, inputs: none, optional: true}\n")
json.dump([[1, 2, 3]], open(WORK + "/ids.json", "w"))
for name, inside in (("mistral3", "text_config"), ("gemma3_vision", "text_config"), ("llama_vision", "llm_config"), ("nemotron_h_vision", "llm_config"),
                     ("nemotron_h_omni", "llm_config")):
    source, out = ROOT + "/tests/vectors/engine/" + name, WORK + "/" + name
    before = tensors(source)
    towers = [k for k in before if not k.startswith("language_model.")]
    d = json.loads(ingot("inspect", source, "--json").stdout.strip().split("\n")[-1])
    carried = sum(r["tensors"] for r in d["roles"] if r["role"] == "carried") if "roles" in d else None
    check(f"{name}: inspect counts the carried tensors", carried == len(towers), d.keys() if carried is None else carried)
    p = ingot("quantize", source, "-r", WORK + "/recipe.yaml", "-o", out, "-q")
    check(f"{name}: quantizes", p.returncode == 0, p.stderr)
    if p.returncode:
        continue
    after, config = tensors(out), json.load(open(out + "/config.json"))
    check(f"{name}: {len(towers)} tensors of towers are what they were", towers and all(after.get(k) == before[k] for k in towers))
    check(f"{name}: and something was quantized", any(t[0] == "U8" for t in after.values()))
    ignore = config["quantization_config"]["ignore"]
    check(f"{name}: towers are excluded", all(any(fnmatch.fnmatch(k, i) or k.startswith(i + ".") for i in ignore) for k in towers), ignore)
    was, now = json.load(open(source + "/config.json")), config
    if "nemotron_h" in name:
        check(f"{name}: the state's type stands inside", now[inside].pop("mamba_ssm_cache_dtype", None) == "float32" and "mamba_ssm_cache_dtype" not in now, now)
        check(f"{name}: Infinity is still written so", "Infinity" in open(out + "/config.json").read())
    now.pop("quantization_config")
    check(f"{name}: the rest of config.json is what it was", now == was)
    p = ingot("logits", out, "--ids", WORK + "/ids.json", "-o", WORK + "/out.safetensors", "-q")
    check(f"{name}: runs", p.returncode == 0, p.stderr)
shutil.rmtree(WORK)
sys.exit(bad > 0)
