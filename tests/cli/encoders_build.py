#!/usr/bin/env python3
"""`ingot build` of retrieval encoders (tests/vectors/encoders, with a tokenizer of single letters that is made here): calibrated, quantized, packed,
signed, verified by cosine or scores, attested; a bound that is not met fails the build."""
import json, os, shutil, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INGOT = os.environ.get("INGOT", ROOT + "/build/ingot")
W = tempfile.mkdtemp()
TOKENS = ["<unk>", "<s>", "</s>", *"abcdefghijklmnopqrstuvwxyz ,."]
bad = 0
os.environ.pop("INGOT_KEY_PASSPHRASE", None)


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + ("" if ok else ": " + str(detail)[-600:]), flush=True)


def dump(doc, path):
    with open(path, "w") as f:
        json.dump(doc, f)


def build(folder, bound):
    with open(folder + "/policy.yaml", "w") as f:
        f.write(f"parity:\n  {bound}\n  texts: [a text of the policy, and one more]\n")
    return subprocess.run([INGOT, "build", folder, "-o", folder + "/out"], capture_output=True, text=True, stdin=subprocess.DEVNULL)


for name, figure, met, missed in (("llama_embed", "cosine_mean", "cosine_at_least: 0.5", "cosine_at_least: 0.9999999"),
                                  ("llama_rerank", "score_difference_mean", "score_difference_at_most: 100", "score_difference_at_most: 0.0000001")):
    d = f"{W}/{name}"
    shutil.copytree(f"{ROOT}/tests/vectors/encoders/{name}", d + "/model")
    special = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} for i, t in enumerate(TOKENS[:3])]
    dump({"version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
          "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                    "ignore_merges": False, "vocab": {t: i for i, t in enumerate(TOKENS)}, "merges": []}}, d + "/model/tokenizer.json")
    dump({"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}, d + "/model/tokenizer_config.json")
    with open(d + "/data.jsonl", "w") as f:
        f.writelines(json.dumps({"text": t}) + "\n" for t in ("a text of some words", "another one, longer than the first", "short", "the last text, of yet other words."))
    with open(d + "/release.yaml", "w") as f:
        f.write(f"name: {name}\nsource: model\nrecipe: nvfp4_default-kv_fp8\ncalibration: {{data: data.jsonl, max_tokens: 64}}\ntag: v1\npolicy: policy.yaml\n")
    p = build(d, met)
    check(f"{name}: built", p.returncode == 0 and "0 failed, 0 undecided" in p.stderr, p.stderr)
    if p.returncode:
        continue
    report = json.load(open(d + "/out/report.json"))
    parity = report["parity"]
    check(f"{name}: held against the original by {figure}", 0 < abs(parity[figure] - (figure == "cosine_mean")) < 2 and "kl_mean" not in parity, parity)
    check(f"{name}: quantized", json.load(open(d + "/out/quantized/config.json"))["quantization_config"]["quant_algo"] == "NVFP4")
    index = json.load(open(d + "/out/package/index.json"))["manifests"]
    check(f"{name}: one image, its signature and four statements", len(index) == 6 and sum("artifactType" in m for m in index) == 5, index)
    p = subprocess.run([INGOT, "verify", f"oci:{d}/out/package:v1", "-k", d + "/out/release.pub", "--against", d + "/model", "--policy", d + "/policy.yaml", "-q"], capture_output=True, text=True)
    check(f"{name}: verifies as the build's last words say", p.returncode == 0, p.stderr)
    p = build(d, missed)
    check(f"{name}: a bound that is not met is no", p.returncode == 1, (p.returncode, p.stderr))
shutil.rmtree(W, ignore_errors=True)
sys.exit(bad > 0)
