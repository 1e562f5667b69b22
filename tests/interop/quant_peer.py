"""Quantized folders in the libraries that load them: vLLM resolves for every linear of every recipe, family and layout the type that is stored, and
notices a configuration of another folder; compressed-tensors (through transformers) computes the logits of our engine from weights alone.
usage: quant_peer.py WORK [vllm|ct]; INGOT names the program. Needs vllm, compressed-tensors, transformers, torch (tests/interop/quant_tools.sh)."""
import glob, json, os, shutil, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
WORK, PART = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "both"
INGOT = os.environ.get("INGOT", ROOT + "/build/ingot")
SHARED = os.environ.get("INGOT_SHARED", "")
IDS = [[1, 5, 9, 20, 33, 7, 8, 10, 29, 3, 17, 31, 30, 12, 6, 25, 27, 31, 2, 14]]
TEXTS = [IDS[0][i:] + IDS[0][:i] for i in range(5)]
bad = 0


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok   " if ok else "FAIL ") + name + ("" if ok else f": {str(detail)[:700]}"), flush=True)


def run(*args):
    p = subprocess.run([INGOT, *args], capture_output=True, text=True)
    return p.returncode, p.stderr


def quantize(source, recipe, layout, out):
    shutil.rmtree(out, ignore_errors=True)
    return run("quantize", source, "-r", recipe, "--ids", WORK + "/ids.json", "--layout", layout, "-o", out, "-q")


def own(name, body):
    path = f"{WORK}/{name}.yaml"
    open(path, "w").write(f"name: {name}\nunseen_experts: layer_max\n{body}")
    return path


os.makedirs(WORK, exist_ok=True)
json.dump(IDS, open(WORK + "/ids.json", "w"))
json.dump(TEXTS, open(WORK + "/texts.json", "w"))
FAMILIES = {os.path.basename(d): d for d in sorted(glob.glob(ROOT + "/tests/vectors/engine/*")) if os.path.exists(d + "/config.json")}
FAMILIES["nano-hybrid"] = ROOT + "/examples/nano-hybrid/model"
if SHARED:
    FAMILIES.update({os.path.basename(os.path.dirname(c)): os.path.dirname(c) for c in sorted(glob.glob(SHARED + "/fixtures/*/config.json"))})
LINEARS = "[mlp, routed_experts, shared_experts, attention]"
TYPES = {"int4": "int4, group: 32", "int4-zero": "int4, group: 32, zero: true", "fp8-channel": "fp8_channel, inputs: fp8_token", "mxfp8": "mxfp8, inputs: mxfp8",
         "mxfp4": "mxfp4", "nvfp4": "nvfp4, inputs: nvfp4", "w4a16": "nvfp4", "fp8": "fp8, inputs: fp8", "fp8-block": "fp8_block, inputs: fp8_group"}
RECIPES = {n: own(n, f"rules:\n  - {{role: {LINEARS}, weights: {t}{'' if 'inputs' in t else ', inputs: none'}}}\n") for n, t in TYPES.items()}
RECIPES["mixed"] = own("mixed", "kv_cache: fp8_cast\nrules:\n  - {role: [mlp, routed_experts], weights: nvfp4, inputs: nvfp4, optional: true}\n"
                       "  - {role: [attention, shared_experts], weights: fp8, inputs: fp8, optional: true}\n  - {role: lm_head, weights: nvfp4, inputs: none, optional: true}\n")
for path in sorted(glob.glob(ROOT + "/recipes/*.yaml")):
    name = os.path.basename(path)[:-5]
    if name != "copy":
        RECIPES[name] = name
LAYOUTS = ["modelopt", "compressed-tensors", "awq", "gptq"]


# What vLLM's ModelOpt configurations do not take, by the words of its own list.
NOT_TAKEN = ("vllm does not take", "not supported", "Unsupported", "is not")


def of_linears(config):
    """What a configuration says of linears: a type of cache alone shows in no tensor that vLLM's layers are made of, and scales of caches may be missing."""
    return {k: v for k, v in config["quantization_config"].items() if not k.startswith("kv_cache")}


def vllm_part():
    import vllm_layers
    seen, counts = {}, {}
    for family, source in FAMILIES.items():
        for recipe, word in RECIPES.items():
            for layout in LAYOUTS:
                if layout in ("awq", "gptq") and not recipe.startswith("int4"):
                    continue
                out = f"{WORK}/q"
                status, text = quantize(source, word, layout, out)
                if status != 0:
                    counts[(layout, "refused here")] = counts.get((layout, "refused here"), 0) + 1
                    if status not in (3, 4):
                        check(f"{family} {recipe} {layout}", False, text)
                    continue
                try:
                    n, disagree = vllm_layers.layers(out)
                except Exception as e:      # noqa: BLE001: what it refuses is not compared, and counted
                    reason = f"{type(e).__name__} {e}"
                    if layout == "modelopt":
                        counts[(layout, "vLLM takes no such type")] = counts.get((layout, "vLLM takes no such type"), 0) + 1
                    else:
                        check(f"vLLM reads {family} {recipe} {layout}", False, reason)
                    continue
                counts[(layout, "agree")] = counts.get((layout, "agree"), 0) + 1
                check(f"vLLM reads {family} {recipe} {layout}: {n} names", n > 0 and not disagree, disagree[:3])
                seen.setdefault((family, layout), []).append((recipe, out))
                # Its twin: the configuration of another recipe of the same family and layout must be noticed.
                other = f"{WORK}/other-{family}-{layout}.json"
                if os.path.exists(other) and (layout, recipe) != ("gptq", "int4-zero"):      # `sym` alone: shows in the values only
                    mine = open(out + "/config.json").read()
                    if of_linears(json.load(open(other))) != of_linears(json.loads(mine)):
                        shutil.copy(other, out + "/config.json")
                        try:
                            _, disagree = vllm_layers.layers(out)
                        except Exception as e:      # noqa: BLE001
                            disagree = [str(e)]
                        code, _ = run("inspect", out, "-q")
                        # vLLM has GPT-OSS's experts under names of its own, and nothing else of it is quantized by some recipes.
                        check(f"vLLM and inspect notice another's configuration, {family} {recipe} {layout}", (disagree or family.startswith("gpt_oss")) and code == 3, (disagree[:1], code))
                        open(out + "/config.json", "w").write(mine)
                shutil.copy(out + "/config.json", other)
    print("     " + ", ".join(f"{layout} {what} {n}" for (layout, what), n in sorted(counts.items())))
    check("vLLM agreed on folders of every layout", all(counts.get((layout, "agree"), 0) > 0 for layout in LAYOUTS), counts)


def ct_part():
    import numpy as np
    import torch
    from safetensors.numpy import load_file
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import AutoConfig, AutoModelForCausalLM, CompressedTensorsConfig
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme
    from safetensors.torch import load_file as load_torch

    def load_names(folder):
        from vllm_headers import headers
        return headers(folder)

    # NVFP4, weight by weight: the library's decoding against e2m1 * (e4m3 * weight_scale_2) of ModelOpt's folder, both rounded to bf16.
    source, wrong, n = FAMILIES["nano-hybrid"], 0, 0
    a, b = f"{WORK}/m", f"{WORK}/c"
    quantize(source, RECIPES["w4a16"], "modelopt", a), quantize(source, RECIPES["w4a16"], "compressed-tensors", b)
    group = json.load(open(b + "/config.json"))["quantization_config"]["config_groups"]["group_0"]
    nvfp4 = BaseCompressor.get_value_from_registry("nvfp4-pack-quantized")
    theirs_all, ours_all = {}, {}
    for path in glob.glob(b + "/*.safetensors"):
        theirs_all.update(load_torch(path))
    for path in glob.glob(a + "/*.safetensors"):
        ours_all.update(load_torch(path))
    table = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
    for key in [k for k in theirs_all if k.endswith(".weight_packed")][:40]:
        module = key[: -len(".weight_packed")]
        state = {k[len(module) + 1:]: v for k, v in theirs_all.items() if k.startswith(module + ".")}
        decoded = nvfp4.decompress(state, QuantizationScheme(**group))["weight"]
        raw = ours_all[module + ".weight"]
        codes = torch.stack([raw & 15, raw >> 4], -1).reshape(raw.shape[0], -1)
        scale = ours_all[module + ".weight_scale"].float() * ours_all[module + ".weight_scale_2"]
        mine = (table[codes.long()] * scale.repeat_interleave(16, 1)).to(torch.bfloat16)
        wrong += int((decoded.to(torch.bfloat16) != mine).sum())
        n += mine.numel()
    check(f"compressed-tensors decodes {n} NVFP4 weights to ours", n > 0 and wrong == 0, f"{wrong} differ")
    # The same of INT4 with zero points, whose experts transformers does not load.
    quantize(source, RECIPES["int4-zero"], "compressed-tensors", b)
    group = json.load(open(b + "/config.json"))["quantization_config"]["config_groups"]["group_0"]
    packed, wrong, n, t = BaseCompressor.get_value_from_registry("pack-quantized"), 0, 0, {}
    for path in glob.glob(b + "/*.safetensors"):
        t.update(load_torch(path))
    nibbles = lambda w, dim: (w.unsqueeze(-1) >> torch.arange(0, 32, 4, dtype=torch.int32)) & 15
    for key in [k for k in t if k.endswith(".weight_zero_point")][:20]:
        module = key[: -len(".weight_zero_point")]
        state = {k[len(module) + 1:]: v for k, v in t.items() if k.startswith(module + ".")}
        decoded = packed.decompress(dict(state), QuantizationScheme(**group))["weight"]
        rows, cols = state["weight_shape"].tolist()
        codes = nibbles(state["weight_packed"], 1).reshape(rows, cols)
        zeros = nibbles(state["weight_zero_point"], 0).permute(0, 2, 1).reshape(-1, cols // 32)[:rows]
        mine = (codes - zeros.repeat_interleave(32, 1)) * state["weight_scale"].repeat_interleave(32, 1)
        wrong += int((decoded != mine).sum())
        n += mine.numel()
    check(f"compressed-tensors decodes {n} INT4 weights with zero points to ours", n > 0 and wrong == 0, f"{wrong} differ")
    families = {n: d for n, d in FAMILIES.items() if json.load(open(d + "/config.json")).get("model_type") in ("llama", "qwen3", "mistral", "nemotron", "nemotron_h", "qwen3_moe")}
    def load(folder, **more):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **more).eval()
        for module in model.modules():                        # weights as decoded, activations as they are
            module.quantization_enabled = False
            if hasattr(module, "time_step_limit"):            # 5.23 clamps dt by what is meant for initialisation (in prefill alone), not by this
                limit = json.load(open(folder + "/config.json"), parse_constant=float).get("time_step_limit") or (0.0, float("inf"))
                module.time_step_limit = tuple(float(x["__float__"]) if isinstance(x, dict) else x for x in limit)
        return model

    def logits(model, ids=IDS[0]):
        with torch.no_grad():
            return model(input_ids=torch.tensor([ids])).logits[0].float().numpy()

    def tensors_of(folder):
        out = {}
        for path in glob.glob(folder + "/*.safetensors"):
            out.update(load_torch(path))
        return out

    def rounds_alike(exact, bf16):
        """Division by a global scale may miss the exact tensor scale by one unit of fp32, which shows where a value is half way between two of bf16: then
        both are as near."""
        nearest = (exact - exact.to(torch.bfloat16).float()).abs()
        return bool(((exact - bf16.float()).abs() <= nearest * 1.00001).all())

    def experts_differ():
        """NVFP4 experts of WORK/c, each decoded by the library, that are not those of WORK/h."""
        stored, plain = tensors_of(f"{WORK}/c"), tensors_of(f"{WORK}/h")
        groups = json.load(open(f"{WORK}/c/config.json"))["quantization_config"]["config_groups"].values()
        scheme = QuantizationScheme(**next(g for g in groups if g["weights"]["num_bits"] == 4))
        differ, n = [], 0
        for module in [k[: -len(".weight_packed")] for k in stored if ".experts." in k and k.endswith(".weight_packed")]:
            state = {k[len(module) + 1:]: v for k, v in stored.items() if k.startswith(module + ".")}
            n += 1
            if not rounds_alike(plain[module + ".weight"], nvfp4.decompress(state, scheme)["weight"].to(torch.bfloat16)):
                differ.append(module)
        return n, differ

    def unrounded(name, model, fp4_experts):
        """transformers 5.23 decodes experts and NVFP4 into bf16, whatever type is asked for, which can choose other experts further on, or cannot be
        computed beside fp32. Holds each such tensor against our values of the same folder (equal once rounded), and gives the model of the values that are
        not rounded. NVFP4 experts it decodes without their weight_global_scale: there the library is asked itself."""
        rounded = {n: p for n, p in model.named_parameters() if p.dtype == torch.bfloat16 and not n.endswith("_scale")}
        if not rounded:
            return model
        shutil.rmtree(f"{WORK}/h", ignore_errors=True)
        status, text = run("convert", f"{WORK}/c", "--to", "hf", "--type", "f32", "-o", f"{WORK}/h", "-q")
        check(f"{name}: decoded by convert", status == 0, text)
        plain = load(f"{WORK}/h")
        exact = dict(plain.named_parameters())
        if fp4_experts:
            rounded = {n: p for n, p in rounded.items() if ".experts." not in n}
            n, differ = experts_differ()
            check(f"{name}: {n} experts are ours, rounded to bf16", n > 0 and not differ, differ[:3])
        differ = [n for n, p in rounded.items() if not rounds_alike(exact[n], p)]
        check(f"{name}: {len(rounded)} decoded tensors are ours, rounded to bf16", not differ, differ)
        rest = [n for n, p in model.named_parameters() if n in exact and n not in rounded and ".experts." not in n and not torch.equal(exact[n], p.float())]
        check(f"{name}: all other tensors are equal", not rest, rest)
        return plain

    def rounded_inputs(model, exact):
        """The model as the library computes it, inputs quantized, with the weights before rounding to bf16. Experts, which transformers keeps in one
        tensor, get none of it."""
        values = dict(exact.named_parameters())
        for n, p in model.named_parameters():
            p.data = values[n].data if n in values else p.data.float()
        for module in model.modules():
            module.quantization_enabled = True
        return model

    def ours(folder, *how):
        status, text = run("logits", folder, "--ids", WORK + "/ids.json", "-o", WORK + "/l.safetensors", "-q", *how)
        return load_file(WORK + "/l.safetensors")["0.logits"] if status == 0 else None

    def apart(a, b):
        return float("inf") if a is None else float(np.abs(a - b).max() / b.std())

    compared = 0
    for family, source in families.items():
        try:
            base = apart(ours(source, "--plain-inputs"), logits(load(source)))
        except Exception as e:      # noqa: BLE001
            base = float("inf")
        if base > 1e-2:
            print(f"skip {family}: transformers computes another model ({base:.1e})")
            continue
        for recipe in ("w4a16", "nvfp4", "fp8", "fp8-channel", "fp8-block", "int4", "int4-zero", "mxfp4", "mxfp8", "mixed"):
            out, fp4 = f"{WORK}/c", recipe in ("w4a16", "nvfp4", "mixed")
            name = f"compressed-tensors computes the same, {family} {recipe}"
            if quantize(source, RECIPES[recipe], "compressed-tensors", out)[0] != 0:
                continue
            experts = any(".experts." in t for t in load_names(out))
            try:
                model = load(out, quantization_config=CompressedTensorsConfig(run_compressed=False))
                exact = unrounded(name, model, fp4 and experts)
                d = apart(ours(out, "--plain-inputs"), logits(exact))
            except Exception as e:      # noqa: BLE001
                print(f"skip {name}: transformers does not load it: {type(e).__name__} {str(e)[:160]}")
                continue
            compared += 1
            check(f"{name} ({d:.1e} of the spread)", d < 1e-4 + 1.1 * base, d)
            if recipe in ("nvfp4", "fp8", "fp8-channel", "fp8-block", "mxfp8", "mixed") and not experts:
                # On a border between two codes the last bit of a sum decides, so that one text in some hundred is another: the median of five.
                try:
                    run("logits", out, "--ids", WORK + "/texts.json", "-o", WORK + "/l.safetensors", "-q")
                    mine, model = load_file(WORK + "/l.safetensors"), rounded_inputs(model, exact)
                    d = sorted(apart(mine[f"{i}.logits"], logits(model, ids)) for i, ids in enumerate(TEXTS))[2]
                except RuntimeError as e:
                    print(f"skip {name}, inputs quantized: the library cannot: {str(e)[:120]}")
                    continue
                check(f"{name}, inputs quantized ({d:.1e} of the spread)", d < 1e-3 + 1.1 * base, d)
    check("compressed-tensors computed some", compared > 5, compared)


if PART in ("vllm", "both"):
    vllm_part()
if PART in ("ct", "both"):
    ct_part()
sys.exit(bad > 0)
