#!/usr/bin/env python3
"""A signed package, changed: `ingot verify --key` must exit 1 with a sentence that begins with the class of the check and
names what is wrong. Every file of the package has a byte flipped in several places; then the changes that an enemy with
good tools would make, with all digests but the signature put right again."""
import hashlib, json, os, random, re, shutil, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INGOT = os.environ.get("INGOT", ROOT + "/build/ingot")
MODEL = ROOT + "/examples/nano-hybrid/model"
WORK = tempfile.mkdtemp()
CLASSES = "signature|no-signature|digest|layout|policy|parity"
bad = 0


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + ("" if ok else ": " + detail))


def ingot(*args, status=0):
    p = subprocess.run([INGOT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    if status is not None and p.returncode != status:
        sys.exit(f"FAIL ingot {' '.join(args)}: status {p.returncode}: {p.stderr}")
    return p


def sha(data):
    return hashlib.sha256(data).hexdigest()


class Package:
    """A copy of the good package to play with."""

    def __init__(self, source):
        self.dir = tempfile.mkdtemp(dir=WORK) + "/p"
        shutil.copytree(source, self.dir)

    def path(self, digest):
        return f"{self.dir}/blobs/sha256/{digest.split(':')[-1]}"

    def load(self, digest):
        return json.load(open(self.path(digest)))

    def index(self):
        return json.load(open(self.dir + "/index.json"))

    def save_index(self, index):
        json.dump(index, open(self.dir + "/index.json", "w"))

    def image(self):
        return next(m for m in self.index()["manifests"] if (m.get("annotations") or {}).get("org.opencontainers.image.ref.name") == "t")

    def referrers(self):
        return [m for m in self.index()["manifests"] if "artifactType" in m]

    def put(self, data):
        d = "sha256:" + sha(data)
        open(self.path(d), "wb").write(data)
        return d, len(data)

    def remake(self, manifest):
        """Puts a changed manifest in the place of the image's, with index right; signatures still name the old one."""
        old = self.image()["digest"]
        digest, size = self.put(json.dumps(manifest, separators=(",", ":")).encode())
        index = self.index()
        for m in index["manifests"]:
            if m["digest"] == old:
                m["digest"], m["size"] = digest, size
        self.save_index(index)
        os.unlink(self.path(old))
        return digest

    def remove_signatures(self):
        index = self.index()
        for m in self.referrers():
            for layer in self.load(m["digest"])["layers"]:
                os.unlink(self.path(layer["digest"]))
            os.unlink(self.path(m["digest"]))
        empty = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        os.unlink(self.path(empty))
        index["manifests"] = [m for m in index["manifests"] if "artifactType" not in m]
        self.save_index(index)


def refused(name, p, words=None, key="own.pub", extra=()):
    r = subprocess.run([INGOT, "verify", f"oci:{p.dir}:t", "--key", f"{WORK}/{key}", "-q", *extra], stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, timeout=60)
    line = r.stderr.strip()
    ok = r.returncode == 1 and "\n" not in line and re.match(rf"ingot verify: ({CLASSES}): ", line) and (not words or re.search(words, line))
    check(name, bool(ok), f"status {r.returncode}, expected 1 with '{words}': {line[:400]}")
    shutil.rmtree(os.path.dirname(p.dir))


os.environ["HOME"] = WORK
ingot("quantize", MODEL, "-r", "nvfp4-data-free", "-o", WORK + "/q", "-q")
ingot("profile", WORK + "/q", "-e", "vllm@0.17.1", "-g", "b200:1", "-o", WORK + "/profiles", "-q", "--no-lint")
ingot("pack", WORK + "/q", "-o", f"oci:{WORK}/good:t", "-q")
ingot("pack", WORK + "/q", "-p", WORK + "/profiles", "-o", f"oci:{WORK}/indexed:t", "-q")
ingot("keygen", "-o", WORK + "/own", "-q")
ingot("keygen", "-o", WORK + "/other", "-q")
shutil.copytree(WORK + "/good", WORK + "/unsigned")
ingot("sign", f"oci:{WORK}/good:t", "-k", WORK + "/own.key", "-q")
ingot("sign", f"oci:{WORK}/indexed:t", "-k", WORK + "/own.key", "-q")
check("the good package is accepted", ingot("verify", f"oci:{WORK}/good:t", "-k", WORK + "/own.pub", "-q", status=None).returncode == 0)
check("without a key: undecided", ingot("verify", f"oci:{WORK}/good:t", "-q", status=None).returncode == 9)

rnd = random.Random(11)
files = sorted(os.path.relpath(d + "/" + f, WORK + "/good") for d, _, fs in os.walk(WORK + "/good") for f in fs)


def flip_each(source, names):
    for f in names:
        size = os.path.getsize(f"{source}/{f}")
        for at in sorted({0, size // 2, size - 1, rnd.randrange(size), rnd.randrange(size)}):
            p = Package(source)
            with open(f"{p.dir}/{f}", "r+b") as h:
                h.seek(at)
                b = h.read(1)[0]
                h.seek(at)
                h.write(bytes([b ^ (1 << rnd.randrange(8))]))
            refused(f"byte {at} of {f[-20:]} of {os.path.basename(source)} flipped", p)


flip_each(WORK + "/good", files)
# the documents of a package with an index; its layers are as those of the other
check("the package with an index is accepted", ingot("verify", f"oci:{WORK}/indexed:t", "-k", WORK + "/own.pub", "-q", status=None).returncode == 0)
indexed = [os.path.relpath(d + "/" + f, WORK + "/indexed") for d, _, fs in os.walk(WORK + "/indexed") for f in fs]
documents = sorted(f for f in indexed if open(f"{WORK}/indexed/{f}", "rb").read(1) == b"{" and f not in files)
check("an index, its manifest and config that the other has not, the fallback's, three bundles and referrers", len(documents) == 10, str(documents))
flip_each(WORK + "/indexed", documents + ["index.json"])
p = Package(WORK + "/indexed")
index = p.index()
index["manifests"] = [m for m in index["manifests"] if (m.get("annotations") or {}).get("org.opencontainers.image.ref.name") != "t-any"]
p.save_index(index)
refused("an image of the index has no entry", p, "layout: index")
for f in files:
    p = Package(WORK + "/good")
    os.truncate(f"{p.dir}/{f}", os.path.getsize(f"{p.dir}/{f}") // 2)
    refused(f"{f[-20:]} cut short", p)
    p = Package(WORK + "/good")
    os.unlink(f"{p.dir}/{f}")
    refused(f"{f[-20:]} missing", p, f[-12:])
    p = Package(WORK + "/good")
    open(f"{p.dir}/{f}", "ab").write(b" ")
    if f != "index.json" and f != "oci-layout":     # one more blank is the same JSON there
        refused(f"{f[-20:]} one byte longer", p)

p = Package(WORK + "/good")
m = p.load(p.image()["digest"])
a, b = [x["digest"] for x in m["layers"][:2]]
os.rename(p.path(a), p.path("x")), os.rename(p.path(b), p.path(a)), os.rename(p.path("x"), p.path(b))
refused("two layers' blobs swapped", p, "digest: .*layer 1")
p = Package(WORK + "/good")
m = p.load(p.image()["digest"])
m["layers"][0], m["layers"][1] = m["layers"][1], m["layers"][0]
p.remake(m)
refused("two layers swapped, all digests made right", p, "signature: ")
p = Package(WORK + "/good")
m = p.load(p.image()["digest"])
biggest = max(m["layers"], key=lambda x: x["size"])
data = bytearray(open(p.path(biggest["digest"]), "rb").read())
data[len(data) // 2] ^= 1
os.unlink(p.path(biggest["digest"]))
biggest["digest"], biggest["size"] = p.put(bytes(data))
p.remake(m)
refused("a weight changed, all digests made right", p)
p = Package(WORK + "/good")
p.remove_signatures()
refused("signature removed", p, "no-signature: ")
refused("never signed", Package(WORK + "/unsigned"), "no-signature: ")
refused("another key asked for", Package(WORK + "/good"), "signature: ", key="other.pub")
p = Package(WORK + "/unsigned")
ingot("sign", f"oci:{p.dir}:t", "-k", WORK + "/other.key", "-q")
refused("signed by somebody else", p, "signature: ")

# a signature of another package by the right key, attached here
ingot("quantize", MODEL, "-r", "copy", "-o", WORK + "/q2", "-q")
ingot("pack", WORK + "/q2", "-o", f"oci:{WORK}/second:t", "-q")
ingot("sign", f"oci:{WORK}/second:t", "-k", WORK + "/own.key", "-q")
second = Package(WORK + "/second")
p = Package(WORK + "/unsigned")
index = p.index()
for m in second.referrers():
    referrer = second.load(m["digest"])
    for x in referrer["layers"] + [referrer["config"]]:
        shutil.copy(second.path(x["digest"]), p.path(x["digest"]))
    referrer["subject"] = {k: p.image()[k] for k in ("mediaType", "digest", "size")}
    m["digest"], m["size"] = p.put(json.dumps(referrer).encode())
    index["manifests"].append(m)
p.save_index(index)
refused("another package's signature, its referrer pointed here", p, "signature: ")

p = Package(WORK + "/good")
open(p.dir + "/notes.txt", "w").write("x")
refused("a file too many", p, "layout: .*notes.txt")
p = Package(WORK + "/good")
open(p.path(sha(b"stray")), "w").write("stray")
refused("a blob that nobody names", p, "layout: ")
p = Package(WORK + "/good")
f = p.path(p.load(p.image()["digest"])["layers"][2]["digest"])
os.rename(f, WORK + "/elsewhere"), os.symlink(WORK + "/elsewhere", f)
refused("a blob that is a link", p)
p = Package(WORK + "/good")
f = p.path(p.load(p.image()["digest"])["layers"][2]["digest"])
os.unlink(f), os.mkfifo(f)
refused("a blob that is a pipe", p)
refused("another digest asked for", Package(WORK + "/good"), "digest: ", extra=["--digest", "sha256:" + "0" * 64])

# self-consistent packages of a changed checkpoint, rightly signed: what ingot.json says must be what is there
def repacked(change):
    folder = tempfile.mkdtemp(dir=WORK) + "/q"
    shutil.copytree(WORK + "/q", folder)
    change(folder)
    p = Package(WORK + "/good")
    shutil.rmtree(p.dir)
    ingot("pack", folder, "-o", f"oci:{p.dir}:t", "-q")
    ingot("sign", f"oci:{p.dir}:t", "-k", WORK + "/own.key", "-q")
    return p


def flip_weight(folder):
    with open(folder + "/model.safetensors", "r+b") as h:
        h.seek(os.path.getsize(folder + "/model.safetensors") // 2)
        b = h.read(1)[0]
        h.seek(-1, 1)
        h.write(bytes([b ^ 16]))


def edit(folder, name, old, new):
    text = open(folder + "/" + name).read()
    assert old in text, (name, old)
    open(folder + "/" + name, "w").write(text.replace(old, new, 1))


refused("signed, but a weight is not the one quantize wrote", repacked(flip_weight), "digest: .*tensor")
refused("signed, but the tokenizer is another", repacked(lambda f: open(f + "/tokenizer.json", "a").write(" ")), "digest: .*tokenizer.json")
refused("signed, but a file was added", repacked(lambda f: open(f + "/modeling_evil.py", "w").write("x")), "layout: .*modeling_evil.py")
refused("signed, but a file is gone", repacked(lambda f: os.unlink(f + "/generation_config.json")), "layout: .*generation_config.json")
refused("signed, but without ingot.json", repacked(lambda f: os.unlink(f + "/ingot.json")), "layout: .*ingot.json")
refused("signed, but the recurrent state may be bf16", repacked(lambda f: edit(f, "config.json", '"mamba_ssm_cache_dtype": "float32"', '"mamba_ssm_cache_dtype": "bfloat16"')), "mamba_ssm_cache_dtype|config.json")
shutil.rmtree(WORK)
sys.exit(bad > 0)
