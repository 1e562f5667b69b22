#!/usr/bin/env python3
"""What `ingot verify` finds in the model of a package that is rightly packed and signed: lists and digests of ingot.json, scales, the
recurrent state; and with --against the plan, the sources and the files that travel. Each case changes one thing and makes everything
around it right again, so that one check alone can find it."""
import hashlib, json, os, re, shutil, struct, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
MODEL = ROOT + "/examples/nano-hybrid/model"
WORK = tempfile.mkdtemp()
os.environ["HOME"] = WORK


def ingot(*args):
    p = subprocess.run([INGOT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
    if p.returncode:
        sys.exit(f"FAIL ingot {' '.join(args)}: status {p.returncode}: {p.stderr}")


ingot("quantize", MODEL, "-r", "nvfp4-data-free", "-o", WORK + "/q", "-q")


class Folder:
    """A copy of the quantized checkpoint that can be changed and made consistent again."""

    def __init__(self, source="q"):
        self.dir = tempfile.mkdtemp(dir=WORK) + "/q"
        shutil.copytree(f"{WORK}/{source}", self.dir)
        self.said = json.load(open(self.dir + "/ingot.json"))
        with open(self.dir + "/model.safetensors", "rb") as f:
            n = struct.unpack("<Q", f.read(8))[0]
            self.head, self.data = json.loads(f.read(n)), f.read()

    def tensor(self, name):
        a, b = self.head[name]["data_offsets"]
        return self.data[a:b]

    def put(self, name, dtype, shape, data):
        """Another tensor in the place of one; the rest moves along."""
        order = sorted((t for t in self.head if t != "__metadata__"), key=lambda t: self.head[t]["data_offsets"])
        parts, at = [], 0
        for t in order:
            piece = data if t == name else self.tensor(t)
            parts.append((t, piece))
        for t, piece in parts:
            self.head[t]["data_offsets"] = [at, at + len(piece)]
            at += len(piece)
        self.head[name].update(dtype=dtype, shape=shape)
        self.data = b"".join(p for _, p in parts)
        self.said["tensors"][name]["sha256"] = hashlib.sha256(data).hexdigest()

    def remove(self, name):
        a, b = self.head.pop(name)["data_offsets"]
        self.data = self.data[:a] + self.data[b:]
        for t in self.head:
            if t != "__metadata__" and self.head[t]["data_offsets"][0] >= b:
                self.head[t]["data_offsets"] = [x - (b - a) for x in self.head[t]["data_offsets"]]
        del self.said["tensors"][name]

    def add(self, name, dtype, shape, data):
        self.head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(self.data), len(self.data) + len(data)]}
        self.data += data
        self.said["tensors"][name] = {"sha256": hashlib.sha256(data).hexdigest()}

    def write(self, file, text):
        open(f"{self.dir}/{file}", "w").write(text)
        self.said["files"][file] = hashlib.sha256(text.encode()).hexdigest()

    def save(self):
        head = json.dumps(self.head).encode()
        head += b" " * (-len(head) % 8)
        with open(self.dir + "/model.safetensors", "wb") as f:
            f.write(struct.pack("<Q", len(head)) + head + self.data)
        json.dump(self.said, open(self.dir + "/ingot.json", "w"))
        return self


def verify(folder, *args, thin=False):
    """Checks that did not pass, of the package of this folder."""
    folder.save()
    ref = f"oci:{folder.dir}.oci:t"
    ingot("pack", folder.dir, "-o", ref, "-q")
    if thin:
        ingot("thin", f"{folder.dir}.oci", "-o", f"{folder.dir}.thin", "-q")
        ref = f"oci:{folder.dir}.thin:t"
    p = subprocess.run([INGOT, "verify", ref, "-q", "--json", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
    shutil.rmtree(os.path.dirname(folder.dir))
    try:
        doc = json.loads(p.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return p.returncode, [("", "", p.stdout + p.stderr)]
    return p.returncode, [(c["name"], c["check"], c["detail"]) for c in doc["checks"] if c["verdict"] == "fail"]


def finds(what, name, check_class, words, folder, *args, **how):
    """The one check that fails is this one."""
    rc, failed = verify(folder, *args, **how)
    check(what, rc == 1 and [f[:2] for f in failed] == [(name, check_class)] and re.search(words, failed[0][2]), (rc, failed))


rc, failed = verify(Folder(), "--against", MODEL)
check("nothing is wrong with what was not changed", rc == 9 and not failed, (rc, failed))
names = sorted(Folder().said["tensors"])
f = Folder()
gone = names[3]
del f.said["tensors"][gone]
finds("a tensor that ingot.json does not list", "tensor list", "layout", f"'{gone}' is not in", f)
f = Folder()
f.said["tensors"]["ghost.weight"] = dict(f.said["tensors"][gone])
finds("a tensor that is listed and not there", "tensor list", "layout", "'ghost.weight' of ingot.json is not there", f)
f = Folder()
f.said["tensors"][gone]["sha256"] = f.said["tensors"][gone]["sha256"].upper()
finds("a digest in other letters is none", "tensor list", "layout", "is not in", f)
scale = next(n for n in names if n.endswith(".weight_scale_2"))
for value, word in ((0.0, "is 0"), (-1.0, "is -1"), (float("inf"), "is inf"), (float("nan"), "nan")):
    f = Folder()
    f.put(scale, "F32", [], struct.pack("<f", value))
    rc, failed = verify(f)
    check(f"a scale of {value}", rc == 1 and ("scales", "layout") in [x[:2] for x in failed] and any(word in x[2] for x in failed), (rc, failed))
f = Folder()
config = json.load(open(f.dir + "/config.json"))
config["mamba_ssm_cache_dtype"] = "bfloat16"
f.write("config.json", json.dumps(config))
finds("a recurrent state of bf16", "recurrent state", "layout", "mamba_ssm_cache_dtype is bfloat16", f)
f = Folder()
del config["mamba_ssm_cache_dtype"]
f.write("config.json", json.dumps(config))
finds("a recurrent state that is not said", "recurrent state", "layout", "is missing", f)

# against the original
f = Folder()
f.said["plan_sha256"] = "0" * 64
finds("another plan's digest", "plan", "layout", "another than ingot.json names", f, "--against", MODEL)
f = Folder()
del f.said["plan_sha256"]
finds("no plan's digest", "plan", "layout", "another than ingot.json names", f, "--against", MODEL)
f = Folder()
del f.said["recipe"]
finds("no recipe", "plan", "layout", "cannot be made again", f, "--against", MODEL)
norm = next(n for n in names if n.endswith("norm.weight") and Folder().head[n]["dtype"] == "BF16")
f = Folder()
raw = f.tensor(norm)
f.put(norm, "F32", f.head[norm]["shape"], b"".join(b"\0\0" + raw[i:i + 2] for i in range(0, len(raw), 2)))
rc, failed = verify(f, "--against", MODEL)
check("a tensor of another type than the plan's", rc == 1 and failed[0][:2] == ("tensors of the plan", "layout") and f"'{norm}' has another type or shape" in failed[0][2], (rc, failed))
# A scale of a cache is there or not, as a recipe says, and a head that is tied too: the model opens either way. A thin layout has the list alone.
os.mkdir(WORK + "/tied")
for name in os.listdir(MODEL):
    os.symlink(f"{MODEL}/{name}", f"{WORK}/tied/{name}")
config = json.load(open(MODEL + "/config.json"))
os.unlink(WORK + "/tied/config.json")
json.dump({**config, "tie_word_embeddings": True}, open(WORK + "/tied/config.json", "w"))
ingot("quantize", WORK + "/tied", "-r", "nvfp4-data-free", "-o", WORK + "/qt", "-q")
rc, failed = verify(Folder("qt"), "--against", WORK + "/tied")
check("a tied head that is there is planned", not failed and "lm_head.weight" in Folder("qt").said["tensors"], (rc, failed))
# An FP8 cache whose scales are 1 has them or not.
with open(WORK + "/cast.yaml", "w") as f:
    f.write("name: t\nkv_cache: fp8_cast\nrules:\n  - {role: routed_experts, weights: nvfp4, inputs: none}\n")
for out, source in (("cast", MODEL), ("cast-tied", WORK + "/tied")):
    ingot("quantize", source, "-r", WORK + "/cast.yaml", "-o", f"{WORK}/{out}", "-q")
many_names = len(Folder("cast").said["tensors"])
cache = [next(n for n in names if n.endswith(f".{x}_proj.weight"))[: -len("weight")] + x + "_scale" for x in "kv"]
for thin, missing, many in ((False, "of the plan is missing", "the checkpoint has"), (True, "of the plan is not in ingot.json", "ingot.json has")):
    where = ", thin" if thin else ""
    f = Folder("cast-tied")
    f.remove("lm_head.weight")
    for name in cache:
        f.add(name, "F32", [], struct.pack("<f", 1.0))
    rc, failed = verify(f, "--against", WORK + "/tied", thin=thin)
    check("a tensor of the plan that is not there, two others in its place" + where, rc == 1 and failed[0] == ("tensors of the plan", "layout", f"tensor 'lm_head.weight' {missing} (and 1 more)"), (rc, failed))
    f = Folder("cast")
    for name in cache:
        f.add(name, "F32", [], struct.pack("<f", 1.0))
    finds("a tensor that the plan does not write" + where, "tensors of the plan", "layout", f"the plan writes {many_names} tensors, {many} {many_names + 2}$", f, "--against", MODEL, thin=thin)
f = Folder()
raw = f.tensor(norm)
f.put(norm, "BF16", f.head[norm]["shape"], raw[:-2] + bytes([raw[-2] ^ 1]) + raw[-1:])
finds("a tensor that the plan copies, with another value", "source digests", "digest", f"'{norm}' is not the original's", f, "--against", MODEL)
f = Folder()
f.said["tensors"][norm]["source_sha256"] = "0" * 64
finds("another source's digest", "source digests", "digest", f"'{norm}' was not made from", f, "--against", MODEL)


def original(change):
    d = tempfile.mkdtemp(dir=WORK) + "/original"
    shutil.copytree(MODEL, d)
    change(d)
    return d


def flip(d):
    file = json.load(open(d + "/model.safetensors.index.json"))["weight_map"]["backbone.norm_f.weight"]
    with open(f"{d}/{file}", "r+b") as h:
        n = struct.unpack("<Q", h.read(8))[0]
        at = 8 + n + json.loads(h.read(n))["backbone.norm_f.weight"]["data_offsets"][0]
        h.seek(at)
        b = h.read(1)[0]
        h.seek(at)
        h.write(bytes([b ^ 1]))


finds("an original with another weight", "source digests", "digest", "'backbone.norm_f.weight' was not made from", Folder(), "--against", original(flip))
finds("an original with another tokenizer", "carried files", "digest", "'tokenizer.json' is not the original's", Folder(), "--against", original(lambda d: open(d + "/tokenizer.json", "a").write(" ")))
finds("an original with one file more", "carried files", "digest", "'chat_template.json' of the original is missing", Folder(), "--against", original(lambda d: open(d + "/chat_template.json", "w").write("{}")))
f = Folder()
f.write("added.jinja", "{{ x }}")
finds("a template that the original has not", "carried files", "digest", "'added.jinja' is not in the original", f, "--against", MODEL)
shutil.rmtree(WORK)
finish()
