#!/usr/bin/env python3
"""Writes the saved inputs of fuzz_recipe into tests/fuzz/corpus/recipe: recipes in each language, good ones and one for every rule
that a reader must enforce. usage: make_corpus_recipe.py [FOLDER]"""
import glob, os, sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "corpus")
RECIPES = os.path.join(HERE, "..", "..", "recipes")
MO = "metadata: {recipe_type: ptq}\nquantize:\n  algorithm: %s\n  quant_cfg:\n    - {quantizer_name: '*', enable: false}\n"
NV = "{num_bits: e2m1, block_sizes: {-1: 16, type: %s, scale_bits: e4m3}}"
LC = "quant_stage:\n  quant_modifiers:\n    %s\n"
out = {
    "ours_regex": "name: t\nlayout: modelopt\nallow_ssm: true\nrules:\n  - {module: 're:.*(a|b)\\.c$', except: ['re:x.*', 'y*'], weights: nvfp4, inputs: {type: nvfp4, amax: 3}}\n"
                  "  - {role: mlp, before: attention, layers: [1, 2], mtp: true, weights: int4, group: 64}\n  - {quantizer: '*', enable: true, note: n, optional: true}\n",
    "ours_bad": "name: t\nrules: [{module: 're:(', weights: fp8}]\n",
    "mo_list": MO % "max" + "    - {quantizer_name: '*weight_quantizer', cfg: %s}\n    - {quantizer_name: '*[kv]_bmm_quantizer', cfg: {num_bits: e4m3, use_constant_amax: true}}\n" % (NV % "dynamic"),
    "mo_search": MO % "{method: mse, fp8_scale_sweep: true}" + "    - {quantizer_name: '*weight_quantizer', parent_class: nn.Linear, cfg: %s}\n" % (NV % "static"),
    "mo_gptq": MO % "{method: gptq, perc_damp: 0.1, layerwise: {enable: true}}" + "    - {quantizer_name: '*weight_quantizer', cfg: {num_bits: [4, 3], axis: 0}}\n",
    "mo_imports": "imports: {b: configs/ptq/units/base_disable_all, d: configs/ptq/units/default_disabled_quantizers, n: configs/numerics/nvfp4}\n"
                  "metadata: {recipe_type: ptq}\nquantize:\n  quant_cfg:\n    - $import: b\n    - {quantizer_name: '*weight_quantizer', cfg: {$import: [n, n], axis: }}\n    - $import: d\n",
    "mo_preset": "imports: {p: configs/ptq/presets/model/nvfp4_four_over_six}\nmetadata: {recipe_type: ptq}\nquantize: {$import: p}\n",
    "mo_two": "imports: {n: configs/numerics/fp8}\n---\nquant_cfg:\n  - {quantizer_name: '*', enable: false}\n  - {quantizer_name: '*', cfg: {$import: n}}\n",
    "mo_old": "metadata: {recipe_type: ptq}\nptq_cfg:\n  quant_cfg:\n    '*weight_quantizer': {num_bits: e4m3, axis: }\n    default: {enable: false}\n    nn.LeakyReLU: {'*': {enable: false}}\n",
    "mo_alias": MO % "max" + "    - {quantizer_name: '*a*', cfg: &a {num_bits: 4, block_sizes: {-1: 128}}}\n    - {quantizer_name: '*b*', cfg: *a}\n    - {quantizer_name: '*c*', cfg: [*a, *a]}\n",
    "mo_alias_inside": MO % "max" + "    - &a [*a]\n",
    "mo_alias_bomb": MO % "max" + "    - &a [x, x]\n" + "".join(f"    - &{chr(98 + i)} [" + ", ".join([f"*{chr(97 + i)}"] * 8) + "]\n" for i in range(12)),
    "mo_unknown_import": "imports: {x: configs/numerics/fp9}\nquantize: {quant_cfg: []}\n",
    "mo_climbing_import": "imports: {x: ../../etc/passwd}\nquantize: {quant_cfg: []}\n",
    "mo_bits": MO % "max" + "    - {quantizer_name: '*', cfg: {num_bits: e99m99}}\n",
    "mo_algorithm": MO % "[max, {method: awq_lite, alpha_step: 0.1}]" + "    - {quantizer_name: '*', cfg: {num_bits: 8}}\n",
    "mo_range": MO % "{method: mse, start_multiplier: .inf}" + "    - {quantizer_name: '*', cfg: {num_bits: 8}}\n",
    "lc_scheme": LC % "QuantizationModifier: {scheme: NVFP4, targets: Linear, ignore: [lm_head, 're:.*gate$']}",
    "lc_groups": LC % "GPTQModifier: {actorder: static, config_groups: {g: {targets: ['re:.*q_proj', Linear], weights: {num_bits: 4, type: int, group_size: 128, symmetric: false}}}}",
    "lc_awq": LC % "AWQModifier: {}\n    QuantizationModifier: {scheme: {W4A16: [Linear], FP8: [lm_head]}, kv_cache_scheme: {num_bits: 8, type: float, strategy: tensor}}",
    "lc_smooth": "SmoothQuantModifier: {smoothing_strength: 0.5}\nQuantizationModifier: {scheme: FP8_DYNAMIC}\n",
    "lc_unknown": LC % "SparseGPTModifier: {sparsity: 0.5}",
    "lc_targets": LC % "QuantizationModifier: {scheme: FP8, targets: [[]]}",
}
for path in glob.glob(RECIPES + "/*.yaml"):
    if os.path.basename(path) in ("copy.yaml", "nvfp4-data-free.yaml"):
        out["built_in_" + os.path.basename(path)[:-5]] = open(path).read()
os.makedirs(os.path.join(ROOT, "recipe"), exist_ok=True)
for name, text in out.items():
    with open(os.path.join(ROOT, "recipe", name), "w") as f:
        f.write(text)
