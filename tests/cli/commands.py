#!/usr/bin/env python3
"""Every command on the example: what it promises with --json, --quiet, --threads and --help, held against files read by other
means. (What comes out of the forward pass and of the encoders: tests/golden.)"""
import glob, hashlib, json, os, re, shutil, signal, stat, struct, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
EXAMPLE = ROOT + "/examples/nano-hybrid"
MODEL = EXAMPLE + "/model"
WORK = tempfile.mkdtemp()
SIZES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "U8": 1, "I8": 1, "BOOL": 1}


def ingot(*args, status=0, env=None):
    p = subprocess.run([INGOT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
    if status is not None and p.returncode != status:
        check(" ".join(args), False, f"status {p.returncode}, expected {status}: {p.stderr}")
    return p


def ask(*args, status=0):
    """The JSON lines of a quiet run, which must be all there is."""
    p = ingot(*args, "--json", "--quiet", status=status)
    check("--quiet " + args[0], p.stderr == "" or status, p.stderr)
    return [json.loads(line) for line in p.stdout.splitlines()]


def headers(folder):
    out = {}
    for path in sorted(glob.glob(folder + "/*.safetensors")) if os.path.isdir(folder) else [folder]:
        with open(path, "rb") as f:
            n = struct.unpack("<Q", f.read(8))[0]
            for k, t in json.loads(f.read(n)).items():
                if k != "__metadata__":
                    out[k] = (t["dtype"], t["shape"], path, 8 + n + t["data_offsets"][0], t["data_offsets"][1] - t["data_offsets"][0])
    return out


def tensor_bytes(row):
    with open(row[2], "rb") as f:
        f.seek(row[3])
        return f.read(row[4])


def tree(folder):
    files = sorted(os.path.relpath(d + "/" + f, folder) for d, _, fs in os.walk(folder) for f in fs)
    return {f: hashlib.sha256(open(folder + "/" + f, "rb").read()).hexdigest() for f in files}


COMMANDS = "inspect plan convert calibrate search quantize profile pack profiles mount-map thin merge sign attest verify diff push pull fetch build keygen list logits eval generate render tokenize detokenize".split()
listed = re.findall(r"^  ([a-z-]+) +\S", ingot("--help").stdout, re.M)
check("--help lists the commands", listed == COMMANDS, listed)
for c in COMMANDS:
    h = ingot(c, "--help")
    check(f"{c} --help", h.stdout.startswith(f"usage: ingot {c} ") and all(o in h.stdout for o in ("--json", "--quiet", "--threads", "--help")) and h.stderr == "", h.stdout)
check("--version", re.fullmatch(r"ingot \d+\.\d+\.\d+\n", ingot("--version").stdout))

# ---- list ----
(lists,) = ask("list")
check("list: recipes by their published names", {"nvfp4_default-kv_fp8", "fp8_default-kv_fp8", "nvfp4_mlp_only-kv_fp8", "nvfp4_experts_only-kv_fp8", "nvfp4_weight_only-kv_fp16",
      "super-nvfp4-max-calib", "nvfp4-data-free", "copy"} <= {r["name"] for r in lists["recipes"]})
for word, rows in lists.items():
    names = [r["name"] for r in rows]
    check(f"list {word}", names and len(set(names)) == len(names) and ask("list", word) == [{word: rows}], names)

# ---- inspect ----
source = headers(MODEL)
(seen,) = ask("inspect", MODEL)
elems = sum(t[4] // SIZES[t[0]] for t in source.values())
check("inspect counts what is there", (seen["tensors"], seen["parameters"], seen["bytes"]) == (len(source), elems, sum(t[4] for t in source.values())), seen)
check("inspect: every tensor has a role", sum(r["tensors"] for r in seen["roles"]) == len(source) and sum(r["bytes"] for r in seen["roles"]) == seen["bytes"])
config = json.load(open(MODEL + "/config.json"))
check("inspect: layers", seen["layers"] == config["num_hidden_layers"] == sum(seen["layer_kinds"].values()), seen["layer_kinds"])
check("inspect --strict says the same", ask("inspect", MODEL, "--strict")[0]["tensors"] == len(source))
check("inspect: nothing to remark", seen["remarks"] == [])
shutil.copytree(MODEL, WORK + "/odd")
subprocess.run(["chmod", "-R", "u+w", WORK + "/odd"])
index = json.load(open(WORK + "/odd/model.safetensors.index.json"))
json.dump({**index, "metadata": {"total_size": 5}}, open(WORK + "/odd/model.safetensors.index.json", "w"))
open(WORK + "/odd/pytorch_model.bin", "w").write("x")
remarks = ask("inspect", WORK + "/odd")[0]["remarks"]
check("inspect remarks on a wrong total and on other weights", len(remarks) == 2 and "total_size is 5" in remarks[0] and "pytorch_model.bin" in remarks[1], remarks)

# ---- plan, quantize ----
for recipe in ("nvfp4-data-free", "nvfp4_weight_only-kv_fp16", "copy"):
    (plan,) = ask("plan", MODEL, "-r", recipe)
    check(f"plan {recipe}: the same twice", ask("plan", MODEL, "-r", recipe) == [plan])
    out = WORK + "/" + recipe
    (done,) = ask("quantize", MODEL, "-r", recipe, "-o", out)
    written = headers(out)
    promised = {o["name"]: (o["dtype"], o["shape"]) for i in plan["items"] for o in i["outputs"]}
    check(f"plan {recipe}: what it says is what quantize writes", promised == {k: (t[0], t[1]) for k, t in written.items()}, set(promised) ^ set(written))
    check(f"plan {recipe}: every source tensor has a line and a reason", sorted(i["tensor"] for i in plan["items"]) == sorted(source) and all(i["reason"] for i in plan["items"]))
    weights = sum(t[4] // SIZES[t[0]] for t in source.values())
    bits = 8 * sum(t[4] for t in written.values()) / weights
    check(f"plan {recipe}: effective bits", abs(done["effective_bits"] - bits) < 1e-9, (done["effective_bits"], bits))
    manifest = json.load(open(out + "/ingot.json"))
    check(f"{recipe}: ingot.json names the plan", manifest["plan_sha256"] == done["plan_sha256"] == plan["sha256"], plan.keys())
    check(f"{recipe}: ingot.json has every digest", {k: v["sha256"] for k, v in manifest["tensors"].items()} == {k: hashlib.sha256(tensor_bytes(t)).hexdigest() for k, t in written.items()})
    check(f"{recipe}: and those of the source", all(v["source_sha256"] == hashlib.sha256(tensor_bytes(source[k])).hexdigest() for k, v in manifest["tensors"].items() if k in source))
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"):
        check(f"{recipe}: {name} is carried", open(out + "/" + name, "rb").read() == open(MODEL + "/" + name, "rb").read())
    for threads in ("1", "3"):
        ask("quantize", MODEL, "-r", recipe, "-o", out + threads, "-t", threads)
        check(f"{recipe}: the same bytes with {threads} threads", tree(out) == tree(out + threads))
check("copy changes no tensor", {k: tensor_bytes(t) for k, t in headers(WORK + "/copy").items()} == {k: tensor_bytes(t) for k, t in source.items()})
check("--force replaces", ask("quantize", MODEL, "-r", "copy", "-o", WORK + "/copy1", "--force")[0]["copied"] == len(source))
check("a slash behind the output's name, in a folder that is not there", ask("quantize", MODEL, "-r", "copy", "-o", WORK + "/new/slash/")[0]["copied"] == len(source)
      and tree(WORK + "/new/slash") == tree(WORK + "/copy"))
ask("quantize", MODEL, "-r", "copy", "-o", WORK + "/sharded", "--shard-size", "2MB")
index = json.load(open(WORK + "/sharded/model.safetensors.index.json"))
shards = glob.glob(WORK + "/sharded/*.safetensors")
check("--shard-size", len(shards) > 8 and sorted(index["weight_map"]) == sorted(source) and set(index["weight_map"].values()) == {os.path.basename(s) for s in shards})
check("shards hold the same tensors", {k: tensor_bytes(t) for k, t in headers(WORK + "/sharded").items()} == {k: tensor_bytes(t) for k, t in source.items()})

# ---- backends ----
(rows,) = ask("list", "backends")
has = {r["name"]: not r["what"].startswith("not available: ") for r in rows["backends"]}
check("list backends", has.get("cpu") is True and "cuda" in has, rows)
base = ["quantize", MODEL, "-r", "nvfp4-data-free", "-o", WORK + "/backend", "--force"]
for word in ("auto", "cpu", "cpu:0"):
    (done,) = ask(*base, "--backend", word)
    check(f"--backend {word}: the same bytes, and what made them", tree(WORK + "/backend") == tree(WORK + "/nvfp4-data-free") and done["devices"] >= 1 and (done["backend"] == "cpu" or word == "auto"), done)
    check(f"--backend {word}: no word of it in the output", not any(done["backend"].encode() == w for f in glob.glob(WORK + "/backend/*.json") for w in re.findall(rb'"([^"]*)"', open(f, "rb").read())))
for word, status, words in (("gpu", 2, "there is no backend 'gpu'"), ("", 2, "there is no backend"), ("cpu:1", 7, "no device 1"), ("cpu:x", 2, "the number of a device")):
    p = ingot(*base, "-q", "--backend", word, status=status)
    check(f"--backend '{word}' is refused", words in p.stderr and len(p.stderr.splitlines()) <= 2, p.stderr)
if not has["cuda"]:
    p = ingot(*base, "-q", "--backend", "cuda", status=7)
    check("--backend cuda without one", re.fullmatch("ingot quantize: backend 'cuda' is not available: .*[^.]\n", p.stderr), p.stderr)
FORWARD = {"calibrate": [MODEL, "-r", "nvfp4-super", "--ids", "none", "-o", "none"], "verify": ["oci:none:t"], "logits": [MODEL, "--ids", "none", "-o", "none"],
           "generate": [MODEL, "--ids", "1"], "build": ["none"]}
for c, args in FORWARD.items():
    p = ingot(c, *args, "-q", "--backend", "cuda", status=4)
    check(f"{c} --backend cuda: not yet", "has no kernels for yet" in p.stderr and len(p.stderr.splitlines()) == 1, p.stderr)
    check(f"{c}: an unknown backend", "there is no backend 'x'" in ingot(c, *args, "-q", "--backend", "x", status=2).stderr)

# ---- calibrate ----
data = ["--data", EXAMPLE + "/calibration.jsonl", "--max-texts", "12", "--max-tokens", "100"]
(cal,) = ask("calibrate", MODEL, "-r", "nvfp4-super", *data, "-o", WORK + "/s.safetensors")
stats = headers(WORK + "/s.safetensors")
counts = {k: struct.unpack(f"<{t[1][0]}q", tensor_bytes(t)) for k, t in stats.items() if k.endswith(".tokens")}
check("calibrate: texts and tokens", cal["texts"] == 12 and 12 * 50 < cal["tokens"] <= 1200, cal)
check("calibrate: every token went to its experts", counts and all(sum(c) == cal["tokens"] * config["num_experts_per_tok"] for c in counts.values()), counts)
check("calibrate lists the experts without tokens", len(cal["unseen_experts"]) == sum(c.count(0) for c in counts.values()), cal["unseen_experts"])
ask("calibrate", MODEL, "-r", "nvfp4-super", *data, "-o", WORK + "/s1.safetensors", "-t", "1")
check("calibrate: the same bytes with 1 thread", open(WORK + "/s.safetensors", "rb").read() == open(WORK + "/s1.safetensors", "rb").read())
ask("quantize", MODEL, "-r", "nvfp4-super", "-s", WORK + "/s.safetensors", "-o", WORK + "/from-stats")
ask("quantize", MODEL, "-r", "nvfp4-super", *data, "-o", WORK + "/from-data")
check("quantize: statistics or data, the same bytes", tree(WORK + "/from-stats") == tree(WORK + "/from-data"))
BOS = json.load(open(MODEL + "/generation_config.json"))["bos_token_id"]
json.dump([[BOS, *r["ids"]][:100] for r in ask("tokenize", MODEL, "-f", EXAMPLE + "/calibration.jsonl")[:12]], open(WORK + "/ids.json", "w"))
ask("quantize", MODEL, "-r", "nvfp4-super", "--ids", WORK + "/ids.json", "-o", WORK + "/from-ids")
check("quantize: texts or their token ids, the same weights", {k: tensor_bytes(t) for k, t in headers(WORK + "/from-ids").items()} == {k: tensor_bytes(t) for k, t in headers(WORK + "/from-data").items()})

# ---- tokenize, logits, generate ----
texts = [json.loads(line)["text"] for line in open(EXAMPLE + "/evaluation.jsonl")][:20]
rows = ask("tokenize", MODEL, "-f", EXAMPLE + "/evaluation.jsonl")
check("tokenize: a line per text", len(rows) == len(open(EXAMPLE + "/evaluation.jsonl").read().splitlines()))
for i in (0, 7, 19):
    (one,) = ask("tokenize", MODEL, "--text", texts[i])
    (back,) = ask("detokenize", MODEL, "--ids", ",".join(map(str, one["ids"])), "--no-special")
    check(f"text {i} comes back", one == rows[i] and back["text"] == texts[i], back)
for name in ("spm_bpe", "spm_unigram_user", "tekken", "kimi"):
    folder = ROOT + "/tests/vectors/tokenizer/" + name
    want = next(r for r in json.load(open(folder + "/golden.json")) if r["text"] == "don\u2019t \u2018quote\u2019")
    (one,) = ask("tokenize", folder, "--text", want["text"])
    (plain,) = ask("tokenize", folder, "--text", want["text"], "--no-special")
    (back,) = ask("detokenize", folder, "--ids", ",".join(map(str, one["ids"])), "--no-special")
    check(f"{name}: read without a tokenizer.json", (one["ids"], plain["ids"], back["text"]) == (want["ids"], want["ids_no_special"], want["decoded_skip_special"]), (one, back, want))
ids = rows[3]["ids"][:40]
json.dump([ids, rows[4]["ids"][:9]], open(WORK + "/two.json", "w"))
ask("logits", MODEL, "--ids", WORK + "/two.json", "-o", WORK + "/l.safetensors", "--states", "--router", "--hidden")
out = headers(WORK + "/l.safetensors")
V = config["vocab_size"]
check("logits: shapes", out["0.logits"][:2] == ("F32", [40, V]) and out["1.logits"][:2] == ("F32", [9, V]), out["0.logits"])
check("logits: states, choices and inputs of layers", all(any(re.fullmatch(p, k) for k in out) for p in (r"0\.recurrent_state\.\d+", r"1\.conv_state\.\d+", r"0\.router\.\d+\.experts", r"0\.hidden\.0", r"1\.hidden\.final_norm")), sorted(out)[:40])
(gen,) = ask("generate", MODEL, "--ids", ",".join(map(str, ids)), "-n", "12", "--greedy", "--ignore-eos")
check("generate: as many as asked for", len(gen["ids"]) == 12 and gen["text"] == ask("detokenize", MODEL, "--ids", ",".join(map(str, gen["ids"])))[0]["text"], gen)
json.dump([ids + gen["ids"]], open(WORK + "/forced.json", "w"))
ask("logits", MODEL, "--ids", WORK + "/forced.json", "-o", WORK + "/f.safetensors")
raw = tensor_bytes(headers(WORK + "/f.safetensors")["0.logits"])
best = []
for t in range(len(ids) - 1, len(ids) + 11):
    row = struct.unpack(f"<{V}f", raw[4 * V * t:4 * V * (t + 1)])
    best.append(row.index(max(row)))
check("generate takes the likeliest of the logits of the whole text", best == gen["ids"], (best, gen["ids"]))
(p,) = ask("generate", MODEL, "--prompt", "package", "-n", "3")
check("generate from a prompt", len(p["ids"]) <= 3 and isinstance(p["text"], str), p)

# ---- chat templates ----
PLAIN = "<|im_start|>system\nSei nett.<|im_end|><|im_start|>user\nHi \u4e16<|im_end|>"
json.dump({"messages": [{"role": "system", "content": "Sei nett."}, {"role": "user", "content": "Hi \u4e16"}]}, open(WORK + "/m.json", "w"))
check("render: a conversation from a file", ask("render", MODEL, "-m", WORK + "/m.json")[0] == {"text": PLAIN + "<|im_start|>assistant\n<think></think>"})
check("render: from options", ask("render", MODEL, "--system", "Sei nett.", "-p", "Hi \u4e16", "--chat-args", '{"enable_thinking": true}')[0] == {"text": PLAIN + "<|im_start|>assistant\n<think>"})
p = ingot("render", MODEL, "-m", WORK + "/m.json", "--no-generation-prompt")
check("render: the bytes and nothing else", p.stdout == PLAIN and p.stderr == "", p)
text = PLAIN + "<|im_start|>assistant\n<think></think>"
(rendered,) = ask("tokenize", MODEL, "--text", text, "--no-special")
(chat,) = ask("generate", MODEL, "--chat", "-m", WORK + "/m.json", "-n", "5", "--ignore-eos")
(same,) = ask("generate", MODEL, "--ids", ",".join(map(str, rendered["ids"])), "-n", "5", "--ignore-eos")
check("generate --chat goes on from the rendered text", chat["ids"] == same["ids"] and chat["text"] == same["text"] and len(chat["ids"]) == 5, (chat, same))
os.makedirs(WORK + "/chat")
open(WORK + "/chat/chat_template.jinja", "w").write("{% if tools %}{{ tools[0].name }}{% endif %}\n{{ strftime_now('%Y-%m-%d %H:%M') }}{{ messages[0].no.way }}")
json.dump([{"name": "f"}], open(WORK + "/tools.json", "w"))
p = ingot("render", WORK + "/chat", "-p", "x", status=3)
check("render: a mistake has its file and line", "chat_template.jinja: line 2: a mapping has no 'no'" in p.stderr, p.stderr)
open(WORK + "/chat/chat_template.jinja", "w").write("{{ tools[0].name if tools }} {{ strftime_now('%Y-%m-%d %H:%M') }}")
check("render: tools and a date", ask("render", WORK + "/chat", "-p", "x", "--tools", WORK + "/tools.json", "--date", "2026-03-14T15:09:26")[0]["text"] == "f 2026-03-14 15:09")
for status, words, args in ((2, "give --messages, --prompt or both", []), (2, "--date: expected", ["-p", "x", "--date", "soon"]), (2, "--chat-args: expected an object", ["-p", "x", "--chat-args", "[1]"]),
                            (2, "--chat-args", ["-p", "x", "--chat-args", "{"]), (3, "no chat template 'x'", ["-p", "x", "--template", "x"]), (3, "tools: expected a list of objects", ["-m", WORK + "/tools.json", "--tools", WORK + "/m.json"])):
    p = ingot("render", WORK + "/chat", *args, status=status)
    check(f"render {' '.join(args)[:40]}: refused", words in p.stderr, p.stderr)
check("generate: the options of a conversation need --chat", "need --chat" in ingot("generate", MODEL, "-p", "x", "--system", "y", status=2).stderr)
check("generate --chat needs something to answer", "with --chat give" in ingot("generate", MODEL, "--chat", status=2).stderr)

# ---- what only few recipes ask for: the head's input, an FP8 cache without scales ----
def scalar(row):
    return struct.unpack("<f", tensor_bytes(row))[0]


RULES = "name: t\nkv_cache: %s\nrules:\n  - {role: lm_head, weights: fp8, inputs: fp8}\n"
for kv in ("fp8", "fp8_cast"):
    open(f"{WORK}/{kv}.yaml", "w").write(RULES % kv)
    ask("quantize", MODEL, "-r", f"{WORK}/{kv}.yaml", "--ids", WORK + "/two.json", "-o", f"{WORK}/head-{kv}")
largest = max(abs(v) for i in (0, 1) for v in memoryview(tensor_bytes(out[f"{i}.hidden.final_norm"])).cast("f"))
scale = scalar(headers(WORK + "/head-fp8")["lm_head.input_scale"])
check("calibrate: the input of the head", abs(scale * 448 / largest - 1) < 1e-6, (scale * 448, largest))
with open(WORK + "/head-fp8/model.safetensors", "r+b") as f:     # scales of 1, written down
    for name, row in headers(WORK + "/head-fp8").items():
        if name.endswith((".k_scale", ".v_scale")):
            f.seek(row[3])
            f.write(struct.pack("<f", 1.0))
for kv in ("fp8", "fp8_cast"):
    ask("logits", f"{WORK}/head-{kv}", "--ids", WORK + "/two.json", "-o", f"{WORK}/{kv}.safetensors")
check("an FP8 cache without scales is one with scales of 1", [tensor_bytes(t) for t in headers(WORK + "/fp8.safetensors").values()]
      == [tensor_bytes(t) for t in headers(WORK + "/fp8_cast.safetensors").values()])

# ---- keygen, pack, sign, verify, profile ----
(k,) = ask("keygen", "-o", WORK + "/key")
check("keygen: only the owner reads the private key", stat.S_IMODE(os.stat(k["private"]).st_mode) == 0o600)
before = open(k["private"]).read()
check("keygen overwrites nothing", ingot("keygen", "-o", WORK + "/key", status=None).returncode != 0 and open(k["private"]).read() == before)
locked = {"INGOT_KEY_PASSPHRASE": "open sesame"}
ingot("keygen", "-o", WORK + "/locked", "-q", env=locked)
check("keygen: encrypted with a passphrase", "ENCRYPTED" in open(WORK + "/locked.key").read())
(prof,) = ask("profile", WORK + "/from-data", "-e", "vllm@0.17.1", "-g", "b200:1", "-o", WORK + "/profiles")
saved = json.load(open(f"{WORK}/profiles/{prof['name']}/profile.json"))
check("profile: the state stays fp32", "mamba_ssm_cache_dtype: float32" in open(f"{WORK}/profiles/{prof['name']}/vllm.yaml").read().replace('"', "").replace("-", "_") and saved["name"] == prof["name"])
(pk,) = ask("pack", WORK + "/from-data", "-p", WORK + "/profiles", "-o", f"oci:{WORK}/p:t")
(pk2,) = ask("pack", WORK + "/from-data", "-p", WORK + "/profiles", "-o", f"oci:{WORK}/p2:t", "-t", "1")
check("pack: the same digest twice", pk["image"] == pk2["image"] and tree(WORK + "/p") == tree(WORK + "/p2"))
check("a package reads as the folder it was made of", ask("inspect", f"oci:{WORK}/p:t") == ask("inspect", WORK + "/from-data"))
image = f"oci:{WORK}/p:t"
check("sign: a wrong passphrase", ingot("sign", image, "-k", WORK + "/locked.key", status=None, env={"INGOT_KEY_PASSPHRASE": "wrong"}).returncode == 2)
ingot("sign", image, "-k", WORK + "/locked.key", "-q", env=locked)
(s,) = ask("sign", image, "-k", WORK + "/key.key")
check("sign: the image stays what it was", s["image"] == pk["image"] and not s["was_signed"] and ask("sign", image, "-k", WORK + "/key.key")[0]["was_signed"])
open(WORK + "/some.jsonl", "w").write("".join(open(EXAMPLE + "/evaluation.jsonl").read().splitlines(True)[:12]))
(v,) = ask("verify", image, "-k", WORK + "/key.pub", "-a", MODEL, "-d", WORK + "/some.jsonl", "--digest", pk["image"], "--report", WORK + "/report.json")
check("verify: yes", v["verdict"] == "pass" and all(c["verdict"] == "pass" for c in v["checks"]) and v == json.load(open(WORK + "/report.json")), v)
check("verify: parity figures", 0 < v["parity"]["kl_mean"] < 0.01 and len(v["parity"]["layer_sqnr_db"]) == seen["layers"], v["parity"].keys())
check("verify: undecided without a key", ask("verify", image, status=9)[0]["verdict"] == "undecided")
for asked in (["-d", EXAMPLE + "/evaluation.jsonl"], ["--policy", EXAMPLE + "/policy.yaml"]):
    (v,) = ask("verify", image, "-k", WORK + "/key.pub", *asked, status=9)
    check(f"verify {asked[0]} without an original: undecided", (v["verdict"], v["error"].get("check")) == ("undecided", "parity"), v.get("error"))
open(WORK + "/tight.yaml", "w").write("parity:\n  kl_mean_at_most: 0.0000001\n  texts: ['package main;']\n")
for what, change in {"is not the original's": lambda d: open(d + "/tokenizer.json", "a").write("\n"),
                     "is missing": lambda d: open(d + "/special_tokens_map.json", "w").write("{}"),
                     "is not in the original": lambda d: os.unlink(d + "/chat_template.jinja")}.items():
    shutil.rmtree(WORK + "/other", ignore_errors=True)
    shutil.copytree(MODEL, WORK + "/other")
    subprocess.run(["chmod", "-R", "u+w", WORK + "/other"])
    change(WORK + "/other")
    p = ingot("verify", image, "-k", WORK + "/key.pub", "-a", WORK + "/other", "-q", status=1)
    check(f"verify: a file beside the weights {what}", re.match("ingot verify: digest: carried files: file '.*" + what, p.stderr), p.stderr)
p = ingot("verify", image, "-k", WORK + "/key.pub", "-a", MODEL, "--policy", WORK + "/tight.yaml", "-q", status=1)
check("verify: a limit of the policy", re.match("ingot verify: parity: .*KL", p.stderr), p.stderr)

# ---- build ----
shutil.copytree(EXAMPLE, WORK + "/release")
for name in ("calibration", "evaluation"):   # fewer texts: stages are run many times here (`make demo` runs them all)
    some = open(f"{EXAMPLE}/{name}.jsonl").read().splitlines(True)[:12]
    os.chmod(f"{WORK}/release/{name}.jsonl", 0o644)
    open(f"{WORK}/release/{name}.jsonl", "w").write("".join(some))
build = ["build", WORK + "/release", "-o", WORK + "/b"]
first = ask(*build)
check("build: every stage", [x["stage"] for x in first[:-1]] == "inspect plan calibrate quantize profile pack sign verify attest".split() and not any(x["skipped"] for x in first[:-1]))
check("build leaves what it promises", all(os.path.exists(f"{WORK}/b/{n}") for n in ("quantized", "package", "report.json", "release.key", "release.pub", "plan.json", "profiles")))
SKIPPABLE = {"calibrate", "quantize", "pack", "sign", "attest"}


def skipped():
    return {x["stage"] for x in ask(*build)[:-1] if x["skipped"]}


check("build again: nothing is made twice", skipped() == SKIPPABLE)
with open(WORK + "/b/quantized/model.safetensors", "r+b") as f:
    f.seek(5000)
    f.write(b"\x55")
check("build: a touched result is made again, the package of it is still right", skipped() == {"calibrate", "pack", "sign", "attest"})
check("build: and is right then", skipped() == SKIPPABLE and ask(*build)[-1]["image"] == first[-1]["image"])
blob = max(glob.glob(WORK + "/b/package/blobs/sha256/*"), key=os.path.getsize)
os.unlink(blob)
check("build: a broken package is made again", skipped() == {"calibrate", "quantize"} and skipped() == SKIPPABLE)
shard = sorted(glob.glob(WORK + "/release/model/*.safetensors"))[0]
os.utime(shard)
check("build: a source that was written to is read again", skipped() == {"pack", "sign", "attest"}, skipped())
text = open(WORK + "/release/release.yaml").read()
open(WORK + "/release/release.yaml", "w").write(text.replace("nvfp4-super", "nvfp4-data-free").replace('vllm@0.17.1', 'vllm@0.22.0'))
again = ask(*build, status=None)
check("build: another recipe", not {x["stage"] for x in again if x.get("skipped")} & {"quantize", "pack"}, again)

# ---- signals, pipes, terminals ----
many = WORK + "/many.jsonl"
open(many, "w").write(open(EXAMPLE + "/calibration.jsonl").read() * 6)
p = subprocess.Popen([INGOT, "calibrate", MODEL, "-r", "nvfp4-super", "-d", many, "-o", WORK + "/int.safetensors"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
time.sleep(1)
p.send_signal(signal.SIGINT)
_, err = p.communicate()
check("an interrupt is heard", p.returncode == 8 and not os.path.exists(WORK + "/int.safetensors"), (p.returncode, err))
check("progress without a terminal is plain lines", "\r" not in err and "\x1b" not in err, err)
p = subprocess.run(f"{INGOT} list kernels >/dev/full", shell=True, stderr=subprocess.PIPE, text=True)
check("a full disk behind standard output", p.returncode == 5 and "standard output" in p.stderr, p)
check("nothing is left in the folder", not [n for n in os.listdir(WORK) if "ingot-partial" in n or "ingot-tmp" in n], os.listdir(WORK))
shutil.rmtree(WORK)
finish()
