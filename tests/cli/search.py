#!/usr/bin/env python3
"""`ingot search` on the example: the recipe it writes is what it says, the same whatever the threads, from saved scores as from
texts; targets, budgets and bad words. (What it is worth: tests/golden/auto_mixed.py; the solver and the groups: tests/unit.)"""
import json, math, os, re, shutil, struct, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
EXAMPLE = ROOT + "/examples/nano-hybrid"
MODEL = EXAMPLE + "/model"
WORK = tempfile.mkdtemp()
DATA = ("-d", EXAMPLE + "/calibration.jsonl", "--max-texts", "3", "--max-tokens", "40")


def ingot(*args, status=0):
    p = subprocess.run([INGOT, *args, "-q"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    check(f"ingot {' '.join(a for a in args[:1])}: status {status}", p.returncode == status, f"{p.returncode}: {p.stderr}")
    return p


def search(out, *args):
    return json.loads(ingot("search", MODEL, "-o", f"{WORK}/{out}.yaml", *args, "--json").stdout)


def read(name):
    return open(WORK + "/" + name).read()


def plan(recipe):
    return json.loads(ingot("plan", MODEL, "-r", recipe, "--json").stdout)


# ---- what it says is what a plan of the recipe makes
found = search("a", *DATA, "--bits", "8.5", "--save-sensitivity", WORK + "/s.json")
sizes = plan(WORK + "/a.yaml")
check("bytes and bits are the plan's", found["bytes"] == sizes["sizes"]["write_bytes"] and abs(found["effective_bits"] - sizes["sizes"]["effective_bits"]) < 1e-12)
check("within the budget", found["effective_bits"] <= 8.5 and found["bytes"] <= found["budget_bytes"], found["effective_bits"])
check("proven", found["proven"] is True and found["states"] > 0)
formats = {i["tensor"][:-len(".weight")]: i.get("format", "none") for i in sizes["items"] if i["tensor"].endswith(".weight")}
for g in found["groups"]:
    stem, _, names = g["group"].partition("{")
    pattern = re.escape(stem) + ("(" + "|".join(names.rstrip("}").split(",")) + ")" if names else "")
    mine = {f for m, f in formats.items() if re.fullmatch(pattern.replace(r"\*", ".*"), m)}
    check(f"{g['group']} is {g['type']}", mine == {g["type"]}, mine)
check("the sum is that of what was chosen", abs(sum(g["types"][g["type"]]["kl"] for g in found["groups"]) - found["kl_sum"]) < 1e-12)
left = {m for m, f in formats.items() if f != "none"} - {m for g in found["groups"] for m in formats if re.match(re.escape(g["group"].split("{")[0].rstrip("*")), m)}
check("nothing else is quantized", not left, left)
text = read("a.yaml")
check("the recipe shows every group with its scores", all(f'"{g["group"]}"' in text for g in found["groups"]) and "No other assignment" in text)

# ---- the same again: threads, saved scores, another place
for threads in ("1", "3"):
    search("t" + threads, *DATA, "--bits", "8.5", "--save-sensitivity", f"{WORK}/s{threads}.json", "-t", threads)
    check(f"{threads} threads: the same recipe and scores", read(f"t{threads}.yaml") == text and read(f"s{threads}.json") == read("s.json"))
search("b", "--sensitivity", WORK + "/s.json", "--bits", "8.5")
check("from saved scores: the same recipe", read("b.yaml") == text)
one = search("c", "--sensitivity", WORK + "/s.json", "--size", str(found["budget_bytes"]))
check("as bytes: the same choice", [g["type"] for g in one["groups"]] == [g["type"] for g in found["groups"]])
sums = [search("d", "--sensitivity", WORK + "/s.json", "--bits", b)["kl_sum"] for b in ("7.6", "8", "9", "10", "12")]
check("more bits never cost more", sums == sorted(sums, reverse=True), sums)
fewer = search("e", "--sensitivity", WORK + "/s.json", "--bits", "15", "--types", "fp8", "--roles", "mlp,shared_experts")
check("fewer types and roles from the same scores", {g["role"] for g in fewer["groups"]} == {"mlp", "shared_experts"} and {t for g in fewer["groups"] for t in g["types"]} == {"none", "fp8"}, fewer["groups"][:1])
ingot("quantize", MODEL, "-r", WORK + "/a.yaml", *DATA, "-o", WORK + "/q")


def tensors(folder):
    """Of a folder's safetensors files, from their headers."""
    for name in os.listdir(folder):
        if name.endswith(".safetensors"):
            with open(folder + "/" + name, "rb") as f:
                head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
            yield from (t for k, t in head.items() if k != "__metadata__")


def tensor_bytes(folder):
    return sum(t["data_offsets"][1] - t["data_offsets"][0] for t in tensors(folder))


check("quantize writes the promised bytes, scales included", tensor_bytes(WORK + "/q") == found["bytes"], (tensor_bytes(WORK + "/q"), found["bytes"]))
check("bits are those of the folder as written", abs(8 * tensor_bytes(WORK + "/q") / sum(math.prod(t["shape"]) for t in tensors(MODEL)) - found["effective_bits"]) < 1e-12, found["effective_bits"])
exact = search("x", "--sensitivity", WORK + "/s.json", "--size", str(found["bytes"]))
check("a budget met to the byte", exact["bytes"] == found["bytes"] and exact["kl_sum"] == found["kl_sum"] and [g["type"] for g in exact["groups"]] == [g["type"] for g in found["groups"]])
less = search("x", "--sensitivity", WORK + "/s.json", "--size", str(found["bytes"] - 1))
check("one byte less: another, which costs more", less["bytes"] < found["bytes"] and less["kl_sum"] > found["kl_sum"], less["kl_sum"])

# ---- the head, by name
head = search("h1", *DATA, "--bits", "8", "--roles", "+lm_head", "--save-sensitivity", WORK + "/sh.json")
check("+lm_head: beside the others", [g["group"] for g in head["groups"]] == [g["group"] for g in found["groups"]] + ["lm_head"])
check("the other scores are the same", [g["types"] for g in head["groups"][:-1]] == [g["types"] for g in found["groups"]])
last = head["groups"][-1]
check("the head's scores: nvfp4 above fp8 above nothing", last["types"]["nvfp4"]["kl"] > last["types"]["fp8"]["kl"] > 0 and last["layer"] == -1, last)
only = search("h2", *DATA, "--bits", "15.5", "--roles", "lm_head", "--method", "kl")
check("the head alone, and by the other method: the same scores", [g["types"] for g in only["groups"]] == [last["types"]], only["groups"])
ingot("quantize", MODEL, "-r", WORK + "/h2.yaml", *DATA, "-o", WORK + "/qh")
check("the head is written as it was chosen", tensor_bytes(WORK + "/qh") == only["bytes"] and only["groups"][0]["type"] == "nvfp4", only["groups"])
no_head = search("h3", "--sensitivity", WORK + "/sh.json", "--bits", "8.5", "--roles", "+lm_head", "-e", "vllm@0.17.1", "-g", "b200:1")
check("an engine that loads it only plain", all("only as plain numbers" in no_head["groups"][-1]["types"][t]["not"] for t in ("nvfp4", "fp8")) and no_head["groups"][-1]["type"] == "none")
check("people read a table", "bits per weight of at most" in ingot("search", MODEL, "-s", WORK + "/s.json", "--bits", "9", "-o", WORK + "/x.yaml").stdout)

# ---- the cache in the same budget
config = json.load(open(MODEL + "/config.json"))
numbers = 2 * config["num_key_value_heads"] * config["head_dim"] * config["hybrid_override_pattern"].count("*") * 4000
cache = search("k", *DATA, "--size", "11000000", "--cache-tokens", "4000", "--save-sensitivity", WORK + "/sk.json")
sizes = {t: c["bytes"] for t, c in cache["cache"]["types"].items()}
check("bytes of the cache: 2, 1 and 9/16 of a number", sizes == {"none": 2 * numbers, "fp8": numbers, "nvfp4": numbers * 9 // 16}, sizes)
kls = {t: c["kl"] for t, c in cache["cache"]["types"].items()}
check("its scores", 0 == kls["none"] < kls["fp8"] < kls["nvfp4"], kls)
check("tensors and cache are within the budget", cache["bytes"] + cache["cache"]["bytes"] <= 11000000 and cache["cache"]["type"] == "fp8" and "budget_bits" not in cache, cache["cache"])
check("the sum has the cache", abs(sum(g["types"][g["type"]]["kl"] for g in cache["groups"]) + kls[cache["cache"]["type"]] - cache["kl_sum"]) < 1e-12)
check("the recipe has it", "\nkv_cache: fp8\n" in read("k.yaml") and plan(WORK + "/k.yaml")["sizes"]["write_bytes"] == cache["bytes"])
ingot("quantize", MODEL, "-r", WORK + "/k.yaml", *DATA, "-o", WORK + "/qk")
check("quantize writes the promised bytes, the cache's scales included", tensor_bytes(WORK + "/qk") == cache["bytes"])
long = search("k2", "-s", WORK + "/sk.json", "--size", "11000000", "--cache-tokens", "16000")
check("the same scores for another length: a longer one takes fewer bits", long["cache"]["type"] == "nvfp4", long["cache"])
plain = search("k3", "-s", WORK + "/sk.json", "--size", "11000000", "--cache-tokens", "4000", "--kv-cache", "none")
check("a list of its types", plain["cache"]["type"] == "none" and plain["kl_sum"] > cache["kl_sum"] and plain["cache"]["types"]["fp8"] == {"not": "not asked for"}, plain["cache"])

# ---- targets
b200 = search("g", "--sensitivity", WORK + "/s.json", "--bits", "9", "-e", "vllm@0.17.1", "-g", "b200:3")
why = [(g["group"], g["types"]["nvfp4"].get("not", "")) for g in b200["groups"] if g["group"].endswith(("out_proj", "o_proj", "down_proj"))]
check("three GPUs cannot share 256 or 512 columns in blocks of 16, but 768", why and all(("for each of 3 GPUs" in w) == ("6.mixer.down_proj" not in g) for g, w in why), why)
e = ingot("search", MODEL, "-s", WORK + "/s.json", "--bits", "9", "-e", "vllm@0.17.1", "-g", "h200:1", "-o", WORK + "/x.yaml", status=3).stderr
check("scores of rounded inputs are not those of Marlin", "the target runs it with inputs as they are" in e, e)
h200 = search("h", *DATA, "--bits", "9", "-e", "vllm@0.17.1", "-g", "h200:1")
check("16-bit inputs move the model less", sum(g["types"]["nvfp4"]["kl"] for g in h200["groups"]) < sum(g["types"]["nvfp4"]["kl"] for g in found["groups"]))
a100 = search("i", *DATA, "--bits", "9", "-e", "vllm@0.17.1", "-g", "a100:1")
check("no FP8 and no mixture on an A100", {g["type"] for g in a100["groups"]} <= {"none", "nvfp4"} and all("not" in g["types"]["fp8"] for g in a100["groups"]))

# ---- refused
for args, status, words in (
        (("--bits", "2", "-s", WORK + "/s.json"), 3, "the smallest types make"),
        (("--bits", "40", "-s", WORK + "/s.json"), 3, "needs no quantization"),
        (("--bits", "x", "-s", WORK + "/s.json"), 2, "expected a number of bits"),
        (("-s", WORK + "/s.json"), 2, "one of --bits and --size"),
        (("--bits", "5", "--size", "1", "-s", WORK + "/s.json"), 2, "one of --bits and --size"),
        (("--bits", "5"), 2, "expected texts"),
        (("--bits", "5", *DATA, "-s", WORK + "/s.json"), 2, "takes the place of"),
        (("--bits", "5", *DATA, "--method", "guess"), 2, "expected kl or gain"),
        (("--bits", "5", *DATA, "-g", "b200:1"), 2, "belong together"),
        (("--bits", "5", *DATA, "--cache-tokens", "9"), 2, "--cache-tokens needs --size"),
        (("--size", "9000000", "-s", WORK + "/s.json", "--cache-tokens", "9"), 3, "group 'kv_cache' has no score"),
        (("--size", "9000000", *DATA, "--cache-tokens", "9", "--kv-cache", "int8"), 2, "no type of cache"),
        (("--size", "1000000", "-s", WORK + "/sk.json", "--cache-tokens", "9"), 3, "the smallest cache of 9 tokens"),
        (("--bits", "5", *DATA, "--types", "nvfp4,,fp8"), 2, "empty word"),
        (("--bits", "5", *DATA, "--types", "nvfp9"), 2, "'nvfp9' is no type of weights"),
        (("--bits", "5", *DATA, "--roles", "nobody"), 2, "role 'nobody'"),
        (("--bits", "5", *DATA, "--roles", "+lm_head,mlp"), 2, "either all words begin with + or none"),
        (("--bits", "9", "-s", WORK + "/s.json", "--roles", "+lm_head"), 3, "it has no group 'lm_head'"),
        (("--bits", "5", *DATA, "--backend", "cuda"), 2, ""),
        (("--bits", "9", "-s", WORK + "/s.json", "--types", "mxfp8"), 3, "type mxfp8 was not measured"),
        (("--bits", "9", "-s", WORK + "/a.yaml"), 3, "a.yaml"),
        (("--bits", "9", "-s", WORK + "/s.json", "--scales", "mse"), 3, "measured with scales: max"),
        (("--bits", "9", "-s", WORK + "/s.json", "-e", "vllm@0.17.1", "-g", "abacus:1"), 4, "GPU 'abacus'")):
    p = subprocess.run([INGOT, "search", MODEL, "-o", WORK + "/no.yaml", *args, "-q"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    known = p.returncode == status or ("cuda" in args and p.returncode in (2, 4, 7))
    check("refused: " + " ".join(args[:2] + args[-2:]).replace(WORK, ""), known and words in p.stderr and not os.path.exists(WORK + "/no.yaml"), f"{p.returncode}: {p.stderr}")
e = ingot("plan", MODEL, "-r", "auto", status=2).stderr
check("plan -r auto says how", "ingot search DIR" in e, e)
e = ingot("search", WORK + "/q", *DATA, "--bits", "6", "-o", WORK + "/no.yaml", status=4).stderr
check("a quantized checkpoint is not searched", "quantized already" in e, e)
shutil.rmtree(WORK)
finish()
