#!/usr/bin/env python3
"""`ingot eval` against the logits that `ingot logits` writes (which golden/engine.py holds against the reference), worked out
here in double; and `ingot generate`: the text as it streams is the text of --json, whatever the draws."""
import json, math, os, struct, subprocess, sys, tempfile
from array import array

INGOT = os.environ.get("INGOT", "build/ingot")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODEL = ROOT + "/examples/nano-hybrid/model"
bad = 0


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + (": " + str(detail) if detail else ""))


def run(*args, status=0):
    p = subprocess.run([INGOT, *args], capture_output=True)
    if p.returncode != status:
        check(" ".join(args), False, p.stderr.decode().strip())
        sys.exit(1)
    return p.stdout if status == 0 else p.stderr.decode()


def rows(path):
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        for k, t in json.loads(f.read(n)).items():
            if k.endswith(".logits"):
                f.seek(8 + n + t["data_offsets"][0])
                a = array("f")
                a.frombytes(f.read(t["data_offsets"][1] - t["data_offsets"][0]))
                yield int(k.split(".")[0]), t["shape"][1], a


with tempfile.TemporaryDirectory() as tmp:
    ids = [[3, 17, 200, 5, 1999, 42, 7, 7, 7], [1, 2], [9], [1000 + i for i in range(20)]]
    json.dump(ids, open(tmp + "/ids.json", "w"))
    got = json.loads(run("eval", MODEL, "--ids", tmp + "/ids.json", "--json", "-q"))
    run("logits", MODEL, "--ids", tmp + "/ids.json", "-o", tmp + "/l.safetensors", "-q")
    nll, n, hits = 0.0, 0, 0
    for text, vocab, a in rows(tmp + "/l.safetensors"):
        for i, want in enumerate(ids[text][1:]):
            row = a[i * vocab:(i + 1) * vocab]
            top = max(row)
            nll += top + math.log(math.fsum(math.exp(x - top) for x in row)) - row[want]
            hits += row.index(top) == want
            n += 1
    check("eval: counts", (got["tokens"], got["predicted"], got["texts"]) == (32, n, 4), got)
    check("eval: perplexity", abs(got["perplexity"] / math.exp(nll / n) - 1) < 1e-9, f'{got["perplexity"]} {math.exp(nll / n)}')
    check("eval: top-1", abs(got["top1"] - hits / n) < 1e-12, got["top1"])
    json.dump([[4], [5]], open(tmp + "/one.json", "w"))
    check("eval: nothing to predict", "no token is predicted" in run("eval", MODEL, "--ids", tmp + "/one.json", "-q", status=3))
    seen = set()
    for seed in range(8):
        args = ["generate", MODEL, "--ids", "3,17,200", "-n", "40", "--temperature", "2.5", "--seed", str(seed), "--ignore-eos", "-q"]
        a = json.loads(run(*args, "--json"))["text"]
        b = run(*args).decode()
        check(f"generate: streamed text, seed {seed}", a + "\n" == b, repr(b[:40]))
        seen.add(a)
    check("generate: seeds differ", len(seen) == 8, len(seen))
    plain = run("generate", MODEL, "--ids", "3,17,200", "-n", "12", "-q")
    check("generate: top-k 1 is greedy", run("generate", MODEL, "--ids", "3,17,200", "-n", "12", "--top-k", "1", "-q") == plain)
    for option, value, word in [("--temperature", "-1", "temperature"), ("--top-p", "0", "top-p"), ("--min-p", "2", "min-p"),
                                ("--temperature", "x", "expected a number"), ("--repetition-penalty", "0", "repetition penalty")]:
        check(f"generate: {option} {value}", word in run("generate", MODEL, "--ids", "3", option, value, status=2))
    check("generate: --greedy draws nothing", "--greedy" in run("generate", MODEL, "--ids", "3", "--greedy", "--top-k", "3", status=2))
sys.exit(bad > 0)
