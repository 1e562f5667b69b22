"""For the tests of packages made to harm (tests/cli/hostile*.py): a good, signed package, changed at one place and made right again around it, and
what `ingot verify --key` must say of it: refused with one sentence of the right class, in less than two seconds of the CPU and half a GiB, and
nothing is written."""
import hashlib, json, os, resource, re, shutil, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INGOT = os.environ.get("INGOT", ROOT + "/build/ingot")
MODEL = ROOT + "/examples/nano-hybrid/model"
WORK = tempfile.mkdtemp()
bad = 0
os.environ["HOME"] = WORK
SLOW = float(os.environ.get("INGOT_TEST_SLOW", 5))  # times two seconds: the machine is shared
MEMORY = 512 << 20


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + ("" if ok else ": " + str(detail)[:500]), flush=True)


def ingot(*args):
    p = subprocess.run([INGOT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    if p.returncode:
        sys.exit(f"FAIL ingot {' '.join(args)}: status {p.returncode}: {p.stderr}")


def sha(data):
    return hashlib.sha256(data).hexdigest()


class Package:
    def __init__(self, source="good"):
        self.dir = tempfile.mkdtemp(dir=WORK) + "/p"
        shutil.copytree(f"{WORK}/{source}", self.dir)
        self.index = json.load(open(self.dir + "/index.json"))
        self.entry = next(m for m in self.index["manifests"] if (m.get("annotations") or {}).get("org.opencontainers.image.ref.name") == "t")
        self.manifest = json.loads(self.blob(self.entry["digest"]))

    def path(self, digest):
        return f"{self.dir}/blobs/sha256/{digest.split(':')[-1]}"

    def blob(self, digest):
        return open(self.path(digest), "rb").read()

    def put(self, data):
        d = "sha256:" + sha(data)
        open(self.path(d), "wb").write(data)
        return d, len(data)

    def remake(self, text=None):
        """The manifest as it is now (or these bytes) in the image's place, signed again by the right key."""
        old = self.entry["digest"]
        data = text if text is not None else json.dumps(self.manifest, separators=(",", ":")).encode()
        self.entry["digest"], self.entry["size"] = self.put(data)
        for m in [m for m in self.index["manifests"] if "artifactType" in m]:
            self.index["manifests"].remove(m)
        os.unlink(self.path(old)) if old != self.entry["digest"] else None
        self.save()
        subprocess.run([INGOT, "sign", f"oci:{self.dir}:t", "-k", WORK + "/k.key", "-q"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
        self.index = json.load(open(self.dir + "/index.json"))

    def layer(self, i, data):
        self.manifest["layers"][i]["digest"], self.manifest["layers"][i]["size"] = self.put(data)
        config = json.loads(self.blob(self.manifest["config"]["digest"]))
        config["rootfs"]["diff_ids"][i] = self.manifest["layers"][i]["digest"]
        self.manifest["config"]["digest"], self.manifest["config"]["size"] = self.put(json.dumps(config, separators=(",", ":")).encode())
        self.remake()

    def save(self, text=None):
        open(self.dir + "/index.json", "w").write(json.dumps(self.index) if text is None else text)


def limits():
    if "/san/" in INGOT:  # the sanitizer's shadow takes terabytes of addresses
        return
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))


def refused(name, p, classes="layout", words=""):
    files = sorted(os.listdir(WORK))
    try:
        r = subprocess.run(["/usr/bin/env", "python3", "-c", "import resource,subprocess,sys\nr=subprocess.run(sys.argv[1:],stdin=subprocess.DEVNULL)\nu=resource.getrusage(resource.RUSAGE_CHILDREN)\nprint(u.ru_maxrss*1024,u.ru_utime+u.ru_stime)\nsys.exit(r.returncode)",
                            INGOT, "verify", f"oci:{p.dir}:t", "--key", WORK + "/k.pub", "-q", "-t", "2", "--report", p.dir + ".json"],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120, preexec_fn=limits)
    except subprocess.TimeoutExpired:
        return check(name + ": refused", False, "hangs")
    line = r.stderr.strip()
    rss, took = (int(r.stdout.split()[-2]), float(r.stdout.split()[-1])) if r.stdout.strip() else (0, 0)  # of the CPU: others may be busy
    ok = r.returncode == 1 and "\n" not in line and re.match(rf"ingot verify: ({classes}): ", line) and re.search(words, line) and all(c.isprintable() for c in line)
    check(name + ": refused", bool(ok), f"status {r.returncode}: {line[:400]}")
    check(name + ": soon, in little memory, and nothing written", took < 2 * SLOW and rss < MEMORY and sorted(os.listdir(WORK)) == files, f"{took:.1f} s of the CPU, {rss >> 20} MiB")
    shutil.rmtree(os.path.dirname(p.dir))


ingot("quantize", MODEL, "-r", "nvfp4-data-free", "-o", WORK + "/q", "-q")
ingot("pack", WORK + "/q", "-o", f"oci:{WORK}/good:t", "-q")
ingot("keygen", "-o", WORK + "/k", "-q")
ingot("sign", f"oci:{WORK}/good:t", "-k", WORK + "/k.key", "-q")
open(WORK + "/secret", "w").write("secret")


def done():
    shutil.rmtree(WORK)
    sys.exit(bad > 0)
