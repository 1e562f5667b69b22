#!/usr/bin/env python3
"""ModelOpt's AutoQuantize against `ingot search`: KL of both by `ingot verify`, at no more bytes than ModelOpt's choice takes.

usage: auto_quantize.py FOLDER WORK [BITS,BITS...]        (FOLDER: a model of the family nemotron_h with calibration.jsonl and
                                                           evaluation.jsonl; WORK: a folder for what is made; 4.75,6)
Needs torch, transformers, nvidia-modelopt (made with 2.15.0, 5.23.0, 0.47.0) and build/ingot, or INGOT. Both see the same tokens:
16 texts of at most 128. ModelOpt's scores are by gradients, its default, over {NVFP4, FP8, none}; BITS are, as it counts them, 4.5, 8
or 16 for each weight of a linear that is searched. Both choices become recipes, so that the same quantizer writes both (with max it
writes ModelOpt's bytes: tests/golden/modelopt.py). ModelOpt rounds NVFP4 activations on GPUs only: here the same in PyTorch."""
import fnmatch, json, os, re, shutil, subprocess, sys

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import modelopt.torch.quantization as mtq
from modelopt.torch.opt.searcher import LPS
from modelopt.torch.quantization import algorithms, tensor_quant
from transformers import AutoModelForCausalLM

INGOT = os.environ.get("INGOT", os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/build/ingot")
MODEL, WORK = sys.argv[1:3]
BITS = [float(b) for b in (sys.argv[3] if len(sys.argv) > 3 else "4.75,6").split(",")]
LEFT = ["*lm_head*", "*conv1d*", "*gate", "*router*", "*latent*"]  # what ingot does not search either
VALUES = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
MIDDLES = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0])


def nvfp4(x, block, amax, *_):
    """To NVFP4 and back: blocks under an E4M3 scale, nearest, ties to the even code."""
    step = (amax.float().amax() / (6 * 448)).clamp_min(1e-30)
    pad = -x.shape[-1] % block
    y = torch.nn.functional.pad(x.float(), (0, pad)).reshape(-1, block)
    scale = (y.abs().amax(1, keepdim=True) / 6 / step).clamp(0, 448).to(torch.float8_e4m3fn).float() * step
    z = torch.where(scale > 0, y / torch.where(scale > 0, scale, 1), torch.zeros(())).abs()
    low, high = torch.bucketize(z, MIDDLES), torch.bucketize(z, MIDDLES, right=True)
    y = VALUES[torch.where(high % 2 == 0, high, low)] * torch.sign(y) * scale
    return y.reshape(*x.shape[:-1], -1)[..., :x.shape[-1]].to(x.dtype)


def ingot(*args, status=(0,)):
    p = subprocess.run([INGOT, *args, "-q"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if p.returncode not in status:
        raise SystemExit(f"ingot {' '.join(args)}: status {p.returncode}: {p.stderr}")
    return p.stdout


def load():
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype="auto").eval()
    for m in model.modules():  # transformers 5.23 clamps dt at time_step_min; the published code does not
        if hasattr(m, "time_step_limit"):
            m.time_step_limit = tuple(float(x) for x in model.config.time_step_limit)
    return model


def count(model):
    """Weights of what is searched, and of the other linears, which ModelOpt counts with 16 bits."""
    mtq.replace_quant_module(model)
    n = [0, 0]
    for name, m in model.named_modules():
        if algorithms._AutoQuantizeBaseSearcher._is_auto_quantize_module(m):
            n[any(fnmatch.fnmatch(name, p) for p in LEFT)] += algorithms._get_module_weight_numel(m)
    return n


def auto_quantize(ids):
    """Groups of [modules, formats, scores, costs]."""
    searched, left = count(load())
    data = [torch.tensor([row]) for row in ids]
    _, state = mtq.auto_quantize(
        load(), constraints={"effective_bits": (BITS[0] * searched + 16 * left) / (searched + left)},
        quantization_formats=[mtq.NVFP4_DEFAULT_CFG, mtq.FP8_DEFAULT_CFG], data_loader=data, forward_step=lambda m, d: m(input_ids=d, labels=d),
        loss_func=lambda out, d: out.loss, disabled_layers=LEFT, num_calib_steps=len(data), num_score_steps=len(data), verbose=False)
    return [[list(g["module_names"]), [str(f) for f in g["formats"]], [float(x) for x in g["scores"]], [float(x) for x in g["costs"]]]
            for g in state["candidate_stats"].values() if len(g["formats"]) > 1]


def solve(groups, bits):
    """ModelOpt's own solver on its scores, for another budget than the one that was measured with."""
    solver = LPS(name="AutoQuantize", constraints={"bytes": (None, bits / 16 * sum(g[3][-1] for g in groups))},
                 constraints_to_candidate_costs={"bytes": [g[3] for g in groups]}, candidate_scores=[g[2] for g in groups],
                 objective_type="minimize", verbose=False)
    return solver()[0]


def recipe(groups, chosen, path):
    with open(path, "w") as f:
        f.write("name: theirs\nunseen_experts: layer_max\nkv_cache: none\nrules:\n")
        for (modules, formats, _, _), k in zip(groups, chosen):
            word = {"NVFP4": "nvfp4", "FP8": "fp8"}.get(formats[k].split("_")[0])
            for m in modules if word else []:
                m = re.sub(r"^model\.", "backbone.", m) + (".*" if m.endswith(".experts") else "")
                f.write(f'  - {{module: "{m}", weights: {word}, inputs: {word}}}\n')


def measure(path, ids, texts):
    out = WORK + "/measured"
    shutil.rmtree(out, ignore_errors=True)
    ingot("quantize", MODEL, "-r", path, "--ids", ids, "-o", out + "/q")
    ingot("pack", out + "/q", "-o", f"oci:{out}/p:t")
    return json.loads(ingot("verify", f"oci:{out}/p:t", "--against", MODEL, "--data", texts, "--json", status=(0, 1, 9)))["parity"]


def main():
    torch.manual_seed(0)
    tensor_quant.dynamic_block_quantize_op = nvfp4
    os.makedirs(WORK, exist_ok=True)
    lines = ingot("tokenize", MODEL, "--file", MODEL + "/calibration.jsonl", "--json").splitlines()[:16]
    bos = json.load(open(MODEL + "/config.json"))["bos_token_id"]
    ids, texts = WORK + "/ids.json", WORK + "/texts.jsonl"
    tokens = [[bos] + json.loads(line)["ids"][:127] for line in lines]
    with open(ids, "w") as f:
        json.dump(tokens, f)
    with open(texts, "w") as f:
        f.writelines(open(MODEL + "/evaluation.jsonl").readlines()[:48])
    groups = auto_quantize(tokens)
    for method in ("gain", "kl"):
        ingot("search", MODEL, "--ids", ids, "--size", "1000000000000", "--method", method, "--save-sensitivity", f"{WORK}/{method}.json", "-o",
              WORK + "/x.yaml", status=(0, 3))
    for bits in BITS:
        recipe(groups, solve(groups, bits), WORK + "/theirs.yaml")
        size = json.loads(ingot("plan", MODEL, "-r", WORK + "/theirs.yaml", "--json"))["sizes"]["write_bytes"]
        theirs = measure(WORK + "/theirs.yaml", ids, texts)["kl_mean"]
        print(f"{bits} bits, {size} bytes: AutoQuantize {theirs:.4g}", flush=True)
        for method in ("gain", "kl"):
            found = json.loads(ingot("search", MODEL, "-s", f"{WORK}/{method}.json", "--size", str(size), "-o", WORK + "/ours.yaml", "--json"))
            ours = measure(WORK + "/ours.yaml", ids, texts)["kl_mean"]
            print(f"    {method}: {found['bytes']} bytes, {ours:.4g}, {ours / theirs:.3f} of it", flush=True)


main()
