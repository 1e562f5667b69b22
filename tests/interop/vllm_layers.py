"""What vLLM's own checkpoint configuration makes of every linear of quantized folders, without a GPU: the type that the stored tensors
show against the one that vLLM resolves, also for the fused modules it asks about. As a module: layers(folder) -> (modules, [disagreements]).
Needs vllm (0.32; only its Python runs) and torch. ModelOpt's layout: the same rules as the shared folder's vllm_detect.py."""
import json, os, sys
from vllm_headers import headers
os.environ.update(VLLM_LOGGING_LEVEL="ERROR", VLLM_TARGET_DEVICE="cpu", HF_HUB_OFFLINE="1")
from vllm.model_executor.layers.quantization import get_quantization_config
from vllm.model_executor.layers.quantization.auto_gptq import AutoGPTQConfig
from vllm.model_executor.layers.quantization.utils.gptq_utils import get_dynamic_override
from vllm.model_executor.layers.quantization.utils.quant_utils import is_layer_skipped

FUSED = {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}
SUFFIXES = (".weight", ".weight_packed", ".qweight")


class Refused(Exception):
    pass


class ColumnParallelLinear:
    pass


class RoutedExperts:
    pass


class ParallelLMHead:
    pass


def stored(t, module):
    """The type that the tensors show, in words of this file."""
    if module + ".qweight" in t:
        g_idx = module + ".g_idx" in t
        rows, cols = t[module + ".qweight"]["shape"]
        in_features = rows * 8 if g_idx else rows
        return ("gptq" if g_idx else "awq", in_features // t[module + ".scales"]["shape"][0])
    scale = t.get(module + ".weight_scale")
    if module + ".weight_packed" in t:
        if t[module + ".weight_packed"]["dtype"] == "I32":
            group = t[module + ".weight_packed"]["shape"][1] * 8 // scale["shape"][1]
            return ("int4", group, module + ".weight_zero_point" in t)
        if module + ".weight_global_scale" in t:
            return ("nvfp4", module + ".input_global_scale" in t)
        return ("mxfp4",)
    w = t[module + ".weight"]
    if w["dtype"] == "U8":
        return ("nvfp4", module + ".input_scale" in t) if module + ".weight_scale_2" in t else ("mxfp4",)
    if w["dtype"] != "F8_E4M3":
        return None
    if scale["dtype"] == "U8":
        return ("mxfp8",)
    rows = w["shape"][0]
    n = 1
    for d in scale["shape"]:
        n *= d
    kind = "tensor" if n == 1 and len(scale["shape"]) < 2 else "channel" if scale["shape"] in ([rows], [rows, 1]) else "block"
    return ("fp8", kind)


def container(module):
    return module.split(".experts.")[0] + ".experts" if ".experts." in module else None


def askers(module, names):
    """(name that vLLM asks with, class) for a module: itself, and what it is fused into when all parts are there."""
    if container(module):
        yield container(module) + ".0." + module.rsplit(".", 1)[1], RoutedExperts()
        return
    yield module, ParallelLMHead() if module == "lm_head" else ColumnParallelLinear()
    head, _, leaf = module.rpartition(".")
    for fused, parts in FUSED.items():
        if leaf in parts and all(f"{head}.{p}" in names for p in parts):
            yield f"{head}.{fused}", ColumnParallelLinear()


def of_compressed(quant):
    cfg = get_quantization_config("compressed-tensors").from_config(json.loads(json.dumps(quant)))
    cfg.packed_modules_mapping = FUSED

    def ask(name, layer):
        if isinstance(layer, RoutedExperts):
            cfg._add_fused_moe_to_target_scheme_map()
        s = cfg.get_scheme_dict(layer, name)
        if not s or not s.get("weights"):
            return None
        w, i = s["weights"], s.get("input_activations")
        if cfg._is_nvfp4_format(w):
            if i is not None and not cfg._is_nvfp4_format(i):
                raise Refused("inputs of NVFP4")
            return ("nvfp4", i is not None)
        if cfg._is_mxfp4(w):
            return ("mxfp4",)
        if cfg._is_mxfp8(w):
            return ("mxfp8",)
        if cfg._is_wNa16_group_channel(w, i) and s["format"] == "pack-quantized" and w.num_bits == 4:
            return ("int4", w.group_size, not w.symmetric)
        if s["format"] == "float-quantized" and cfg._is_fp8_w8a8(w, i):
            return ("fp8", str(getattr(w.strategy, "value", w.strategy)))
        raise Refused(f"no scheme for {name}: {w} {i}")
    return ask


def of_awq(quant):
    cfg = get_quantization_config("auto_awq").from_config(quant)

    def ask(name, layer):
        if isinstance(layer, ParallelLMHead) and not cfg.lm_head_quantized:
            return None
        name = container(name) or name
        skipped = is_layer_skipped(name, cfg.modules_to_not_convert, FUSED, match_mode="substring")
        return None if skipped else ("awq", cfg.group_size)
    return ask


def of_gptq(quant):
    sym = quant["sym"]
    cfg = AutoGPTQConfig.from_config({**quant, "sym": True})      # vLLM's kernels take only symmetric weights; the names are the same

    def ask(name, layer):
        if isinstance(layer, ParallelLMHead) and not cfg.lm_head_quantized:
            return None
        name = container(name) or name
        return None if get_dynamic_override(cfg, layer_name=name) == False else ("gptq", cfg.group_size)  # noqa: E712
    ask.symmetric = sym
    return ask


def of_modelopt(quant):
    for candidate in ("modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed"):
        got = get_quantization_config(candidate).override_quantization_method(quant, None)
        if got:
            break
    else:
        raise Refused(f"vllm does not take {quant.get('quant_algo') or quant.get('quant_method')}")
    cfg = get_quantization_config(got).from_config(json.loads(json.dumps(quant)))
    cfg.packed_modules_mapping = FUSED
    words = {"NVFP4": ("nvfp4", True), "W4A16_NVFP4": ("nvfp4", False), "FP8": ("fp8", "tensor"), "MXFP8": ("mxfp8",),
             "FP8_PER_CHANNEL_PER_TOKEN": ("fp8", "channel"), "FP8_PB_WO": ("fp8", "block")}

    def ask(name, layer):
        name = container(name) or name
        if cfg.is_layer_excluded(name):
            return None
        algo = cfg._resolve_quant_algo(name) if hasattr(cfg, "_resolve_quant_algo") else quant.get("quant_algo")
        return None if algo is None else words.get(str(algo).upper(), (str(algo),))
    return ask


READERS = {"compressed-tensors": of_compressed, "awq": of_awq, "gptq": of_gptq}


def layers(folder):
    config = json.load(open(folder + "/config.json"))
    quant = config.get("quantization_config") or (config.get("text_config") or {}).get("quantization_config")
    tensors = headers(folder)
    ask = READERS.get(quant["quant_method"], of_modelopt)(quant)
    modules = {k[: -len(s)] for k in tensors for s in SUFFIXES if k.endswith(s)}
    bad, count = [], 0
    for module in sorted(modules):
        leaf = module.rsplit(".", 1)[-1]
        # Norms, tables and convolutions are no linears there; routers are built without a quantization configuration.
        if "norm" in leaf or leaf in ("conv1d", "gate", "shared_expert_gate") or "embed" in leaf or "wte" in leaf:
            continue
        if module.startswith(("vision", "visual", "mtp")):
            continue
        have = stored(tensors, module)
        for name, layer in askers(module, modules):
            count += 1
            try:
                seen = ask(name, layer)
            except ValueError as e:
                seen = str(e)
            if seen != have and not (have is None and module == "lm_head" and quant["quant_method"] == "modelopt"):
                bad.append(f"{name}: stored {have}, vLLM reads {seen}")
    return count, bad


if __name__ == "__main__":
    failed = 0
    for folder in sys.argv[1:]:
        n, bad = layers(folder)
        failed += bool(bad)
        print("\n".join(bad[:10] + [f"{'FAIL' if bad else 'ok  '} {folder}: vllm {n} modules, {len(bad)} disagree"]))
    sys.exit(failed > 0)
