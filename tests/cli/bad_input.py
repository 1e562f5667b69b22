#!/usr/bin/env python3
"""Bad input: one sentence that names the thing, the documented exit status, nothing half-written. Every case is a change to
the example's checkpoint, a recipe or an option; each is tried on every command that meets it."""
import json, os, re, shutil, struct, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INGOT = os.environ.get("INGOT", ROOT + "/build/ingot")
MODEL = ROOT + "/examples/nano-hybrid/model"
WORK = tempfile.mkdtemp()
MAP = json.load(open(MODEL + "/model.safetensors.index.json"))["weight_map"]
bad = 0


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + ("" if ok else ": " + detail))


def shard_of(name):
    return MAP[name]


def read_shard(path):
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        return json.loads(f.read(n)), f.read()


def write_shard(path, head, data):
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    os.unlink(path)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def edit_header(folder, tensor, change):
    path = folder + "/" + shard_of(tensor)
    head, data = read_shard(path)
    change(head)
    write_shard(path, head, data)


def edit_bytes(folder, tensor, at, new):
    path = folder + "/" + shard_of(tensor)
    head, data = read_shard(path)
    start = head[tensor]["data_offsets"][0] + at
    write_shard(path, head, data[:start] + new + data[start + len(new):])


def edit_json(folder, name, change):
    d = json.load(open(folder + "/" + name))
    change(d)
    os.unlink(folder + "/" + name)
    json.dump(d, open(folder + "/" + name, "w"))


def variant(change):
    """A copy of the example (hard links where possible: files are replaced, never changed), changed."""
    folder = tempfile.mkdtemp(dir=WORK)
    for name in os.listdir(MODEL):
        shutil.copy(MODEL + "/" + name, folder + "/" + name)
    change(folder)
    return folder


def truncate(folder, name, by):
    with open(folder + "/" + name, "r+b") as f:
        f.truncate(os.path.getsize(folder + "/" + name) - by)


def drop_tensor(folder, tensor):
    """Out of header, data and index: a consistent file set that lacks it."""
    path = folder + "/" + shard_of(tensor)
    head, data = read_shard(path)
    a, b = head.pop(tensor)["data_offsets"]
    for t in head.values():
        if "data_offsets" in t and t["data_offsets"][0] >= b:
            t["data_offsets"] = [x - (b - a) for x in t["data_offsets"]]
    write_shard(path, head, data[:a] + data[b:])
    edit_json(folder, "model.safetensors.index.json", lambda d: d["weight_map"].pop(tensor))


def add_tensor(folder, name, dtype="BF16", shape=(8, 8), size=128):
    path = folder + "/" + shard_of(EXPERT)
    head, data = read_shard(path)
    head[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + size]}
    write_shard(path, head, data + bytes(size))
    edit_json(folder, "model.safetensors.index.json", lambda d: d["weight_map"].update({name: shard_of(EXPERT)}))


EXPERT = next(k for k in sorted(MAP) if ".experts.3.up_proj" in k)
MAMBA = next(k for k in sorted(MAP) if "mixer.in_proj" in k)
A_LOG = next(k for k in sorted(MAP) if k.endswith("A_log"))
NORM = next(k for k in sorted(MAP) if k.endswith(".norm.weight"))
SHARD = shard_of(EXPERT)


def set_header_length(folder, value):
    path = folder + "/" + SHARD
    raw = open(path, "rb").read()
    os.unlink(path)
    open(path, "wb").write(struct.pack("<Q", value) + raw[8:])


def overlap(head):
    names = sorted((k for k in head if k != "__metadata__"), key=lambda k: head[k]["data_offsets"])
    a = head[names[3]]["data_offsets"]
    head[names[3]]["data_offsets"] = [a[0] - 16, a[1] - 16]


def config(**change):
    return lambda f: edit_json(f, "config.json", lambda d: d.update(change))


# name, change of the folder, status, words; "strict": only reading the values shows it
FOLDERS = [
    ("shard cut short", lambda f: truncate(f, SHARD, 1000), 3, SHARD),
    ("shard cut inside its header", lambda f: os.truncate(f + "/" + SHARD, 500), 3, SHARD),
    ("shard with nothing in it", lambda f: os.truncate(f + "/" + SHARD, 0), 3, SHARD),
    ("bytes behind the last tensor", lambda f: open(f + "/" + SHARD, "ab").write(b"x" * 64), 3, SHARD),
    ("header longer than the file", lambda f: set_header_length(f, 1 << 40), 3, SHARD + ".*header"),
    ("header length with every bit", lambda f: set_header_length(f, (1 << 64) - 1), 3, SHARD + ".*header"),
    ("header of no length", lambda f: set_header_length(f, 0), 3, SHARD),
    ("shape larger than its bytes", lambda f: edit_header(f, EXPERT, lambda h: h[EXPERT]["shape"].__setitem__(0, 4096)), 3, re.escape(EXPERT)),
    ("shape whose product wraps to its bytes", lambda f: edit_header(f, EXPERT, lambda h: h[EXPERT].update(shape=[4194305, 4194305, 211106198978564])), 3, re.escape(EXPERT)),
    ("shape below zero", lambda f: edit_header(f, EXPERT, lambda h: h[EXPERT]["shape"].__setitem__(0, -1)), 3, re.escape(EXPERT)),
    ("type that lies about its size", lambda f: edit_header(f, EXPERT, lambda h: h[EXPERT].update(dtype="F32")), 3, re.escape(EXPERT)),
    ("unknown type", lambda f: edit_header(f, EXPERT, lambda h: h[EXPERT].update(dtype="Q4_K")), 3, re.escape(EXPERT) + ".*Q4_K"),
    ("offsets that overlap", lambda f: edit_header(f, EXPERT, overlap), 3, SHARD),
    ("offsets backwards", lambda f: edit_header(f, EXPERT, lambda h: h[EXPERT]["data_offsets"].reverse()), 3, re.escape(EXPERT)),
    ("missing shard", lambda f: os.unlink(f + "/" + SHARD), 3, SHARD),
    ("shard that is a folder", lambda f: (os.unlink(f + "/" + SHARD), os.mkdir(f + "/" + SHARD)), 3, SHARD),
    ("shard that is a pipe", lambda f: (os.unlink(f + "/" + SHARD), os.mkfifo(f + "/" + SHARD)), 3, SHARD),
    ("missing tensor", lambda f: drop_tensor(f, EXPERT), 3, re.escape(EXPERT) + ".*missing"),
    ("missing recurrent parameter", lambda f: drop_tensor(f, A_LOG), 3, re.escape(A_LOG)),
    ("tensor that the index names and no shard has", lambda f: edit_json(f, "model.safetensors.index.json", lambda d: d["weight_map"].update(ghost=SHARD)), 3, "ghost"),
    ("unknown tensor", lambda f: add_tensor(f, "backbone.layers.0.mixer.surprise.weight"), 3, "backbone.layers.0.mixer.surprise.weight"),
    ("expert beyond the last", lambda f: add_tensor(f, EXPERT.replace("experts.3.", "experts.900.")), 3, "experts.900."),
    ("tensor of another shape", lambda f: edit_header(f, EXPERT, lambda h: h[EXPERT].update(shape=h[EXPERT]["shape"][::-1])), 3, re.escape(EXPERT)),
    ("tensor of an integer type", lambda f: edit_header(f, EXPERT, lambda h: h[EXPERT].update(dtype="I16")), 3, re.escape(EXPERT) + ".*I16"),
    ("config.json missing", lambda f: os.unlink(f + "/config.json"), 3, "config.json"),
    ("config.json cut short", lambda f: truncate(f, "config.json", 30), 3, "config.json"),
    ("config.json with a key twice", lambda f: (lambda t: (os.unlink(f + "/config.json"), open(f + "/config.json", "w").write(t.replace("{", '{"hidden_size": 1,', 1))))(open(f + "/config.json").read()), 3, "config.json.*hidden_size"),
    ("another architecture", config(architectures=["BertModel"], model_type="bert"), 4, "bert|BertModel"),
    ("hidden size of zero", config(hidden_size=0), 3, "hidden_size"),
    ("hidden size that the tensors do not have", config(hidden_size=320), 3, "hidden_size|expected"),
    ("hidden size as text", config(hidden_size="large"), 3, "hidden_size"),
    ("infinite epsilon", config(layer_norm_epsilon=float("inf"), norm_eps=float("inf"), rms_norm_eps=float("inf")), 3, "eps"),
    ("more experts per token than experts", config(num_experts_per_tok=100000), 3, "num_experts_per_tok"),
    ("layer pattern with an unknown letter", config(hybrid_override_pattern="MEM?", layers_block_type=None), 3, "pattern|layers"),
    ("no such folder", lambda f: shutil.rmtree(f), 3, "does not exist"),
    ("no weights in the folder", lambda f: [os.unlink(f + "/" + n) for n in os.listdir(f) if "safetensors" in n], 3, "safetensors"),
]
VALUES = [
    ("NaN weight", lambda f: edit_bytes(f, EXPERT, 100, b"\xc0\x7f"), 3, re.escape(EXPERT)),
    ("infinite weight", lambda f: edit_bytes(f, MAMBA, 64, b"\x80\xff"), 3, re.escape(MAMBA)),
    ("NaN in a tensor that is only carried", lambda f: edit_bytes(f, A_LOG, 0, b"\xc0\x7f\xc0\x7f"), 3, re.escape(A_LOG)),
    ("NaN in a norm", lambda f: edit_bytes(f, NORM, 2, b"\xc0\x7f"), 3, re.escape(NORM)),
]


def leftovers(before):
    return sorted(set(os.listdir(WORK)) - before)


def run(title, status, words, args, sentence=True):
    before = set(os.listdir(WORK))
    p = subprocess.run([INGOT] + args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    lines = p.stderr.strip().split("\n")
    if status == 2 and len(lines) == 2 and lines[1].startswith("usage:"):
        lines = lines[:1]
    problem = ""
    if p.returncode != status:
        problem = f"status {p.returncode}, expected {status}: {p.stderr[:300]}"
    elif sentence and len(lines) != 1:
        problem = f"{len(lines)} lines: {p.stderr[:300]}"
    elif not re.search(words, lines[-1]):
        problem = f"expected '{words}' in: {lines[-1]}"
    elif leftovers(before):
        problem = f"leaves {leftovers(before)}"
    check(title, not problem, problem)
    return p


ids = WORK + "/ids.json"
json.dump([list(range(10, 60))], open(ids, "w"))
out = ["-o", WORK + "/out", "-q"]

for name, change, status, words in FOLDERS:
    f = variant(change)
    run("inspect: " + name, status, words, ["inspect", f, "-q"])
    run("quantize: " + name, status, words, ["quantize", f, "-r", "nvfp4-data-free"] + out)
    p = run("--json: " + name, status, words, ["plan", f, "-r", "copy", "--json"])
    e = json.loads(p.stdout.strip().split("\n")[-1]).get("error", {}) if p.stdout.strip() else {}
    check("its JSON: " + name, bool(re.search(words, e.get("message", ""))) and e.get("status") == status, p.stdout[:300])
    shutil.rmtree(f, ignore_errors=True)
for name, change, status, words in VALUES:
    f = variant(change)
    run("inspect --strict: " + name, status, words, ["inspect", f, "--strict", "-q"])
    run("quantize: " + name, status, words, ["quantize", f, "-r", "nvfp4-super", "--ids", ids] + out)
    run("copy: " + name, status, words, ["quantize", f, "-r", "copy"] + out)
    run("logits: " + name, status, words, ["logits", f, "--ids", ids, "-o", WORK + "/out.safetensors", "-q"])
    shutil.rmtree(f)

RULE = "name: x\nrules:\n  - {%s}\n"
RECIPES = [
    ("not YAML", "name: [", 3, "recipe.yaml"),
    ("empty", "", 3, "recipe.yaml"),
    ("no rules", "name: x\n", 3, "recipe.yaml.*rules"),
    ("no name", "rules:\n  - {role: routed_experts, type: nvfp4, inputs: none}\n", 3, "recipe.yaml.*name"),
    ("unknown key", "name: x\ncolour: red\nrules:\n  - {role: routed_experts, weights: nvfp4}\n", 3, "recipe.yaml.*colour"),
    ("unknown key of a line", RULE % "role: routed_experts, weights: nvfp4, colour: red", 3, "line 3.*colour"),
    ("unknown role", RULE % "role: wings, weights: nvfp4", 3, "line 3.*wings"),
    ("unknown type", RULE % "role: routed_experts, weights: int3", 3, "line 3.*int3"),
    ("a line that matches nothing", RULE % "role: routed_experts, weights: nvfp4" + "  - {module: '*nothing_like_this*', weights: fp8}\n", 3, "rule 2.*nothing_like_this"),
    ("quantizes nothing", RULE % "module: '*nothing_like_this*', weights: fp8, optional: true", 3, "quantizes nothing"),
    ("quantizes the recurrent state", RULE % "module: '*A_log*', weights: fp8", 3, "A_log"),
    ("an anchor", "name: &a x\nsummary: *a\n", 3, "recipe.yaml.*anchor"),
]
for name, text, status, words in RECIPES:
    folder = tempfile.mkdtemp()
    path = folder + "/recipe.yaml"
    open(path, "w").write(text)
    for command in ("plan", "quantize"):
        run(f"{command}: recipe, {name}", status, words, [command, MODEL, "-r", path] + (out if command == "quantize" else ["-q"]))
    shutil.rmtree(folder)
run("no such recipe", 2, "no-such-recipe", ["plan", MODEL, "-r", "no-such-recipe"])

json.dump([[1, 2, 99999]], open(WORK + "/ids-outside.json", "w"))
json.dump([[5, 6]], open(WORK + "/ids-few.json", "w"))
json.dump([], open(WORK + "/ids-none.json", "w"))
open(WORK + "/ids-text.json", "w").write("hello")
quantize = ["quantize", MODEL, "-r", "nvfp4-super"] + out
for text, words in (("[[1],[]]", "text 2: .*an empty one"), ("[[1,-1]]", "text 1: item 2: .*-1"), ("[[1.5]]", "text 1: item 1: .*1.5"), ("[1,2]", "text 1: .*found 1")):
    open(WORK + "/ids-odd.json", "w").write(text)
    run(f"token ids {text}", 3, words, quantize + ["--ids", WORK + "/ids-odd.json"])
run("token id outside the vocabulary", 3, "99999", quantize + ["--ids", WORK + "/ids-outside.json"])
run("no token ids", 3, "ids-none.json|no texts", quantize + ["--ids", WORK + "/ids-none.json"])
run("token ids that are not JSON", 3, "ids-text.json", quantize + ["--ids", WORK + "/ids-text.json"])
run("no data for a recipe that needs them", 2, "data", quantize)
run("statistics that are not there", 3, "none.safetensors.*does not exist", quantize + ["-s", WORK + "/none.safetensors"])
open(WORK + "/strict.yaml", "w").write(RULE % "role: routed_experts, weights: nvfp4, inputs: nvfp4")
run("an expert that saw no token", 3, r"mixer\.experts\.\d+.*saw no calibration token", ["quantize", MODEL, "-r", WORK + "/strict.yaml", "--ids", WORK + "/ids-few.json"] + out)
run("unknown option", 2, "--colour", ["inspect", MODEL, "--colour"])
run("unknown command", 2, "shrink", ["shrink", MODEL])
run("option without its value", 2, "--recipe", ["plan", MODEL, "--recipe"])
# Codes and scales of quantized weights that stand for no number.
recipe = WORK + "/mixed.yaml"
open(recipe, "w").write("name: mixed\nsummary: for a test\nrules:\n  - {role: routed_experts, weights: nvfp4, inputs: none}\n  - {role: ssm_in, weights: fp8, inputs: fp8}\n")
p = subprocess.run([INGOT, "quantize", MODEL, "-r", recipe, "--ids", ids, "-o", WORK + "/mixed", "-q"], capture_output=True, text=True)
if p.returncode:
    check("quantize for bad codes", False, p.stderr)
else:
    source, MODEL = MODEL, WORK + "/mixed"
    index = MODEL + "/model.safetensors.index.json"
    names = {n for n in os.listdir(MODEL) if n.endswith(".safetensors")}
    MAP = json.load(open(index))["weight_map"] if os.path.exists(index) else {t: n for n in names for t in read_shard(MODEL + "/" + n)[0]}
    for tensor, byte in ((EXPERT.replace(".weight", ".weight_scale"), b"\x7f"), (EXPERT.replace(".weight", ".weight_scale"), b"\xff"), (MAMBA, b"\x7f")):
        f = variant(lambda f: edit_bytes(f, tensor, 21, byte))
        for compute in ("fp32", "bf16"):
            words = re.escape(tensor.replace("_scale", "")) + ".*not finite"
            run(f"logits {compute}: {tensor} with {byte}", 3, words, ["logits", f, "--ids", ids, "-o", WORK + "/out.safetensors", "-q", "--compute", compute])
            run(f"generate {compute}: {tensor} with {byte}", 3, words, ["generate", f, "--ids", "5,6", "-n", "2", "-q", "--compute", compute])
        shutil.rmtree(f)
    MODEL = source
run("--compute of no such kind", 2, "--compute.*fp32 or bf16.*int8", ["logits", MODEL, "--ids", ids, "-o", WORK + "/out.safetensors", "--compute", "int8"])

run("no operand", 2, "operand", ["inspect"])
run("threads: none", 2, "--threads", ["inspect", MODEL, "-t", "0"])
os.mkdir(WORK + "/there")
open(WORK + "/there/mine", "w").write("mine")
run("output exists", 2, "there.*exists", ["quantize", MODEL, "-r", "copy", "-o", WORK + "/there", "-q"])
check("what was there is there", open(WORK + "/there/mine").read() == "mine")
shutil.copytree(MODEL, WORK + "/own/model")
for target in ("own/model", "own/model/", "own"):
    run(f"output that is or holds the source: {target}", 2, "would replace.*being read", ["quantize", WORK + "/own/model", "-r", "copy", "-o", WORK + "/" + target, "--force", "-q"])
    run(f"layout that is or holds the source: {target}", 2, "would replace.*being read", ["pack", WORK + "/own/model", "-o", f"oci:{WORK}/{target}:t", "--force", "-q"])
check("the source is what it was", sorted(os.listdir(WORK + "/own/model")) == sorted(os.listdir(MODEL)))
run("output below a file", 5, "Not a directory|mine", ["quantize", MODEL, "-r", "copy", "-o", WORK + "/there/mine/out", "-q"])
run("output folder that cannot be written", 5, "/proc", ["quantize", MODEL, "-r", "copy", "-o", "/proc/ingot-out", "-q"])
shutil.rmtree(WORK)
sys.exit(bad > 0)
