#!/usr/bin/env python3
"""The forward pass against the goldens of the reference implementation (transformers, fp32): all logits, hidden states,
router choices, final states, greedy ids. Tolerances are the fixtures' own (fixtures/README.md): logits 1e-3 max, 1e-4 mean;
states 5e-4 + 1e-4 * value; router choices and greedy ids exactly. Without the shared fixtures: one prompt of the example
and tiny random models of every family, one with INT4 experts, from tests/vectors/engine."""
import json, os, struct, subprocess, sys, tempfile
from array import array

INGOT = os.environ.get("INGOT", "build/ingot")
SHARED = os.environ.get("INGOT_SHARED", "../shared")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FIXTURES = ["llama_rope3_tied", "llama_fp32_sharded", "nemotron", "deci", "qwen3", "qwen3_moe", "mistral_sw", "mistral_small3",
            "ministral3", "gpt_oss", "gpt_oss_mxfp4", "qwen3_next", "qwen3_5", "deepseek_v3", "deepseek_v3_fp8", "kimi_k2", "mistral_large3",
            "nemotron_h_dense", "nemotron_h_moe", "nemotron_h_latent_mtp", "nemotron_h_groups", "nemotron_h_dtlimit", "nano-hybrid", "nano-experts"]


def load(path):
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        head = json.loads(f.read(n))
        out = {}
        for k, t in head.items():
            if k == "__metadata__":
                continue
            f.seek(8 + n + t["data_offsets"][0])
            a = array({"F32": "f", "I32": "i"}[t["dtype"]])
            a.frombytes(f.read(t["data_offsets"][1] - t["data_offsets"][0]))
            out[k] = (t["shape"], a)
        return out


bad = 0


def check(name, ok, detail):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + ": " + detail)


def close(name, got, want, limit, mean_limit=None, relative=0.0):
    worst = total = 0.0
    over = got[0] != want[0]
    for a, b in zip(got[1], want[1]):
        d = abs(a - b)
        if not d <= limit + relative * abs(b):
            over = True
        worst = max(worst, d)
        total += d
    mean = total / max(1, len(want[1]))
    check(name, not over and (mean_limit is None or mean <= mean_limit), f"max {worst:.2e} mean {mean:.2e} {got[0]}")


def run(*args):
    p = subprocess.run([INGOT, *args], capture_output=True, text=True)
    if p.returncode:
        print(f"FAIL {' '.join(args)}: {p.stderr.strip()}")
        sys.exit(1)
    return p.stdout


cases = [("example", ROOT + "/examples/nano-hybrid/model", ROOT + "/tests/vectors/engine/nano-hybrid.safetensors")]
TINY = ROOT + "/tests/vectors/engine/"
cases += [(f"tiny {n}", TINY + n, f"{TINY}{n}/golden/golden.safetensors") for n in sorted(os.listdir(TINY)) if os.path.isdir(TINY + n)]
if os.path.isdir(SHARED + "/fixtures"):
    cases += [(n, f"{SHARED}/fixtures/{n}", f"{SHARED}/fixtures/{n}/golden/golden.safetensors") for n in FIXTURES]
else:
    print("skip the shared fixtures are not here")
with tempfile.TemporaryDirectory() as tmp:
    for name, d, golden in cases:
        gold = load(golden)
        n = sum(k.endswith(".input_ids") for k in gold)
        ids = [list(gold[f"p{i}.input_ids"][1]) for i in range(n)]
        with open(tmp + "/ids.json", "w") as f:
            json.dump(ids, f)
        run("logits", d, "--ids", tmp + "/ids.json", "-o", tmp + "/out.safetensors", "--hidden", "--states", "--router", *(["--mtp"] if "p0.mtp_logits" in gold else []), "-q")
        out = load(tmp + "/out.safetensors")
        for i in range(n):
            close(f"{name} p{i} logits", out[f"{i}.logits"], gold[f"p{i}.logits"], 1e-3, 1e-4)
        for i in range(n if "p0.mtp_logits" in gold else 0):
            close(f"{name} p{i} mtp_logits", out[f"{i}.mtp_logits"], gold[f"p{i}.mtp_logits"], 1e-3, 1e-4)
        for k in sorted(gold):
            p, rest = k[1:].split(".", 1)
            if rest.startswith(("recurrent_state", "conv_state")):
                close(f"{name} {k}", out[f"{p}.{rest}"], gold[k], 5e-4, None, 1e-4)
            elif rest.startswith("hidden"):
                close(f"{name} {k}", out[f"{p}.{rest}"], gold[k], 1e-3)
            elif rest.startswith("router") and rest.endswith("experts"):
                check(f"{name} {k}", list(out[f"{p}.{rest}"][1]) == list(gold[k][1]), "choices")
            elif rest.startswith("router"):
                close(f"{name} {k}", out[f"{p}.{rest}"], gold[k], 1e-4)
            elif rest == "greedy_ids":
                got = json.loads(run("generate", d, "--ids", ",".join(map(str, ids[int(p)])), "-n", "16", "--greedy", "--ignore-eos", "--json", "-q").splitlines()[-1])
                check(f"{name} {k}", got["ids"] == list(gold[k][1]), str(got["ids"][:4]))
                for drafts in ("1", "3") if f"p{p}.mtp_logits" in gold else ():
                    got = json.loads(run("generate", d, "--ids", ",".join(map(str, ids[int(p)])), "-n", "16", "--speculative", "mtp", "--drafts", drafts, "--ignore-eos", "--json", "-q").splitlines()[-1])
                    check(f"{name} {k}, {drafts} drafted", got["ids"] == list(gold[k][1]) and got["speculative"]["drafted"] > 0, str(got["speculative"]))
sys.exit(bad > 0)
