"""For the tests of `verify --all` and `--sample`: a work folder, packages in it, and lies that a package tells of itself."""
import hashlib, json, os, shutil, struct, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INGOT = os.environ.get("INGOT", ROOT + "/build/ingot")
MODEL = ROOT + "/examples/nano-hybrid/model"
TEXTS = ROOT + "/examples/nano-hybrid/calibration.jsonl"
WORK = tempfile.mkdtemp()
os.environ["TMPDIR"] = WORK
os.chdir(WORK)
open("policy.yaml", "w").write("parity: {texts: [One two three.], max_tokens: 4}\n")
bad = 0


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + ("" if ok else ": " + str(detail)[:700]), flush=True)


def done():
    os.chdir("/")
    shutil.rmtree(WORK)
    sys.exit(bad > 0)


def run(*args):
    return subprocess.run([INGOT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)


def ingot(*args):
    p = run(*args, "-q")
    if p.returncode:
        sys.exit(f"FAIL ingot {' '.join(args)}: status {p.returncode}: {p.stderr}")


def pack(folder):
    ingot("pack", folder, "-o", f"oci:{folder}-p:t")
    ingot("sign", f"oci:{folder}-p:t", "-k", "k.key")


class Verified:
    """What verify said: status, its rows by name, what it drew."""

    def __init__(self, folder, *args, against=MODEL):
        p = run("verify", f"oci:{folder}-p:t", "-k", "k.pub", "-a", against, "--policy", "policy.yaml", "-q", "--json", *args)
        self.status, self.stderr = p.returncode, p.stderr
        self.doc = json.loads(p.stdout) if p.stdout.strip() else {}
        self.rows = {c["name"]: c for c in self.doc.get("checks", [])}
        self.again = self.doc.get("encoded_again", {})

    def of(self, name="encoded again"):
        return self.rows.get(name, {}).get("verdict")

    def __str__(self):
        return f"status {self.status}, {[c for c in self.doc.get('checks', []) if c['verdict'] != 'pass']}, {self.stderr}"


def tensors(folder):
    return json.load(open(folder + "/ingot.json"))["tensors"]


def lie(source, folder, name):
    """A copy with one bit of a written tensor flipped, and ingot.json's digest of it put right; packed and signed."""
    shutil.copytree(source, folder)
    path = folder + "/model.safetensors"
    data = bytearray(open(path, "rb").read())
    n = struct.unpack("<Q", data[:8])[0]
    a, b = (8 + n + x for x in json.loads(data[8:8 + n])[name]["data_offsets"])
    data[(a + b) // 2] ^= 1
    open(path, "wb").write(data)
    doc = json.load(open(folder + "/ingot.json"))
    doc["tensors"][name]["sha256"] = hashlib.sha256(data[a:b]).hexdigest()
    json.dump(doc, open(folder + "/ingot.json", "w"))
    pack(folder)


ingot("keygen", "-o", "k")
