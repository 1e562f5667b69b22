#!/usr/bin/env python3
"""The built-in recipes for particular models on these models' own shapes (fixtures/fullsize of the shared folder; the weights are
holes): what each kind of linear becomes, against the precision tables of the published checkpoints as section 4 of
reference/quantize.md and the recipes' `source:` have them."""
import json, os, subprocess, sys, tempfile

INGOT = os.environ.get("INGOT", "build/ingot")
TOOLS = os.environ.get("INGOT_TOOLS", "build/release/tests/tools")
SHARED = os.environ.get("INGOT_SHARED", "../shared")
bad = 0
EXPERTS, SHARED_EXPERTS, MAMBA, MLP = ("expert_gate", "expert_up", "expert_down"), ("shared_gate", "shared_up", "shared_down"), ("ssm_in", "ssm_out"), ("mlp_gate", "mlp_up", "mlp_down")
ATTENTION = ("attn_q", "attn_k", "attn_v", "attn_o")


def of(**groups):
    return {role: form for form, roles in groups.items() for role in roles}


# recipe: model, {role: format}; every other role stays. A function may say more by layer.
def nano_before_attention(role, layer, form):
    return None if role in MAMBA and layer in (4, 11, 18, 25, 32, 41) else form


def nano_4b_down(role, layer, form):
    return "fp8" if role == "mlp_down" and layer in (1, 3, 5, 8, 10, 18, 25, 33, 41) else form


ROWS = [
    ("nano-30b-fp8", "Nemotron-3-Nano-30B-A3B", of(fp8=EXPERTS + SHARED_EXPERTS + MAMBA), nano_before_attention, "fp8"),
    ("nano-30b-nvfp4", "Nemotron-3-Nano-30B-A3B", of(nvfp4=EXPERTS + SHARED_EXPERTS + MAMBA), nano_before_attention, "fp8"),
    ("lightning-w4a16-nvfp4-4o6", "Nemotron-3-Nano-30B-A3B", of(w4a16_nvfp4=EXPERTS + SHARED_EXPERTS + ("lm_head",), fp8=MAMBA), None, "fp8"),
    ("nano-4b-mixed", "Nemotron-3-Nano-4B", of(nvfp4=ATTENTION + MLP + MAMBA), nano_4b_down, "none"),
    ("nano-9b-fp8", "Nemotron-Nano-9B-v2", of(fp8=MLP + MAMBA), None, "none"),
    ("nano-9b-nvfp4", "Nemotron-Nano-9B-v2", of(nvfp4=MLP), None, "none"),
    ("super-fp8", "Nemotron-3-Super-120B-A12B", of(fp8=EXPERTS + SHARED_EXPERTS + MAMBA), None, "fp8"),
    ("super-nvfp4-max-calib", "Nemotron-3-Super-120B-A12B", of(nvfp4=EXPERTS, fp8=SHARED_EXPERTS + MAMBA), None, "fp8"),
    ("super-nvfp4-mse", "Nemotron-3-Super-120B-A12B", of(nvfp4=EXPERTS, fp8=SHARED_EXPERTS + MAMBA), None, "fp8"),
    ("ultra-nvfp4-4o6", "Nemotron-3-Ultra-550B-A55B", of(nvfp4=EXPERTS, fp8=SHARED_EXPERTS + MAMBA), None, "fp8"),
    ("nemotron4-340b-fp8", "Nemotron-4-340B", of(fp8=ATTENTION + MLP), None, "fp8"),
    ("deepseek-nvfp4-experts", "DeepSeek-V3/R1", of(nvfp4=EXPERTS), None, "none"),
    ("kimi-nvfp4-experts", "Kimi-K2", of(nvfp4=EXPERTS), None, "none"),
    ("qwen-moe-nvfp4-experts", "Qwen3-30B-A3B", of(nvfp4=EXPERTS), None, "fp8"),
    ("qwen-moe-nvfp4-experts", "Qwen3-Next-80B-A3B", of(nvfp4=EXPERTS), None, "fp8"),
    ("gpt-oss-nvfp4-experts", "fixture gpt_oss_mxfp4", of(nvfp4=EXPERTS), None, "none"),
    ("gpt-oss-mxfp4", "fixture gpt_oss", of(mxfp4=EXPERTS), None, "none"),
    ("super49b-fp8", "Llama-3.3-Nemotron-Super-49B-v1", of(fp8=ATTENTION + MLP + ("attn_linear", "mlp_linear")), None, "fp8"),
    ("super49b-nvfp4", "Llama-3.3-Nemotron-Super-49B-v1", of(nvfp4=ATTENTION + MLP + ("attn_linear", "mlp_linear")), None, "fp8"),
    ("ultra253b-fp8", "Llama-3.1-Nemotron-Ultra-253B-v1", of(fp8=ATTENTION + MLP + ("attn_linear", "mlp_linear")), None, "fp8"),
    ("ultra253b-nvfp4", "Llama-3.1-Nemotron-Ultra-253B-v1", of(nvfp4=ATTENTION + MLP + ("attn_linear", "mlp_linear")), None, "fp8"),
]
SCALES = {"super-nvfp4-mse": "mse", "ultra-nvfp4-4o6": "four_over_six", "lightning-w4a16-nvfp4-4o6": "four_over_six", "qwen-moe-nvfp4-experts": "mse",
          "gpt-oss-nvfp4-experts": "mxfp4_cast"}


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + (": " + detail if detail and not ok else ""))


def one(recipe, model, folder, want, by_layer, kv):
    p = subprocess.run([INGOT, "plan", folder, "-r", recipe, "--allow-requantize", "--json"], capture_output=True, text=True)
    if p.returncode:
        return check(f"{recipe} on {model}", False, p.stderr.strip())
    plan = json.loads(p.stdout)
    wrong, roles, n = "", set(), 0
    for item in plan["items"]:
        form = None if item.get("mtp") else want.get(item["role"])
        if form and by_layer:
            form = by_layer(item["role"], item["layer"], form)
        roles.add(item["role"]) if form else None
        n += form is not None
        if item.get("format") != form:
            wrong = wrong or f"{item['tensor']} is {item.get('format')}, expected {form}"
        elif form and form.endswith("nvfp4") and item["scales"] != SCALES.get(recipe, "max"):
            wrong = wrong or f"{item['tensor']} has scales {item['scales']}"
    if plan["kv_cache"] != kv:
        wrong = wrong or f"KV cache {plan['kv_cache']}, expected {kv}"
    check(f"{recipe} on {model}, {n} linears", not wrong and n > 0, wrong or "nothing is quantized")


def spelled_out(config):
    """The reference shortens a layer of block_configs to [heads in a group, FFN's factor]; null: there is none."""
    if "block_configs" in config:
        config = dict(config, block_configs=[
            {"attention": {"n_heads_in_group": a, "no_op": a is None, "replace_with_linear": False},
             "ffn": {"ffn_mult": f, "no_op": f is None, "replace_with_linear": False}} for a, f in config["block_configs"]])
    return config


def main():
    configs = SHARED + "/fixtures/fullsize/configs.json"
    if not os.path.exists(configs):
        return print("skip the shared configurations are not here")
    configs = json.load(open(configs))
    listed = {r["name"] for r in json.loads(subprocess.run([INGOT, "list", "recipes", "--json"], capture_output=True, text=True, check=True).stdout)["recipes"]}
    check("every recipe of the table is built in", all(r[0] in listed for r in ROWS), str([r[0] for r in ROWS if r[0] not in listed]))
    with tempfile.TemporaryDirectory() as tmp:
        made = {}
        for recipe, model, want, by_layer, kv in ROWS:
            folder = SHARED + "/fixtures/" + model[8:] if model.startswith("fixture ") else made.get(model)
            if not folder:
                folder = made[model] = f"{tmp}/{len(made)}"
                os.mkdir(folder)
                json.dump(spelled_out(configs[model]["config"]), open(folder + "/config.json", "w"))
                p = subprocess.run([TOOLS + "/hollow_checkpoint", folder], capture_output=True, text=True)
                if p.returncode:
                    check(f"{model}: hollow checkpoint", False, p.stderr.strip())
                    continue
            one(recipe, model, folder, want, by_layer, kv)


main()
sys.exit(bad > 0)
