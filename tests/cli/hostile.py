#!/usr/bin/env python3
"""Packages made to harm: names that lead elsewhere, tar entries that two readers read differently, documents that are huge, deep or
say a thing twice, blobs that are pipes, links or bombs, endless signatures. `ingot verify --key` refuses each with one sentence
of the right class, in less than two seconds and half a GiB, and writes nothing. All digests but the signature's are right."""
import hashlib, json, os, resource, re, shutil, subprocess, sys, tempfile, time

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
    began = time.monotonic()
    try:
        r = subprocess.run(["/usr/bin/env", "python3", "-c", "import resource,subprocess,sys\nr=subprocess.run(sys.argv[1:],stdin=subprocess.DEVNULL)\nprint(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss*1024)\nsys.exit(r.returncode)",
                            INGOT, "verify", f"oci:{p.dir}:t", "--key", WORK + "/k.pub", "-q", "-t", "2", "--report", p.dir + ".json"],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30, preexec_fn=limits)
    except subprocess.TimeoutExpired:
        return check(name + ": refused", False, "hangs")
    took, line = time.monotonic() - began, r.stderr.strip()
    rss = int(r.stdout.strip().splitlines()[-1]) if r.stdout.strip() else 0
    ok = r.returncode == 1 and "\n" not in line and re.match(rf"ingot verify: ({classes}): ", line) and re.search(words, line) and all(c.isprintable() for c in line)
    check(name + ": refused", bool(ok), f"status {r.returncode}: {line[:400]}")
    check(name + ": soon, in little memory, and nothing written", took < 2 * SLOW and rss < MEMORY and sorted(os.listdir(WORK)) == files, f"{took:.1f} s, {rss >> 20} MiB")
    shutil.rmtree(os.path.dirname(p.dir))


ingot("quantize", MODEL, "-r", "nvfp4-data-free", "-o", WORK + "/q", "-q")
ingot("pack", WORK + "/q", "-o", f"oci:{WORK}/good:t", "-q")
ingot("keygen", "-o", WORK + "/k", "-q")
ingot("sign", f"oci:{WORK}/good:t", "-k", WORK + "/k.key", "-q")

# names that lead elsewhere
open(WORK + "/secret", "w").write("secret")
for what in ("../../../secret", "sha256:../../../../secret", "sha256:" + "/" * 64, "sha512:" + "0" * 128, "SHA256:" + "0" * 64, "sha256:" + "A" * 64, "sha256:" + "0" * 63, ""):
    p = Package()
    p.entry["digest"] = what
    p.save()
    refused(f"index: digest '{what[:24]}'", p)
    p = Package()
    p.manifest["layers"][0]["digest"] = what
    p.remake()
    refused(f"manifest: layer's digest '{what[:24]}'", p)
for what in ("../evil", "/etc/passwd", "models/../../evil", "models/./x", "models//x", "", "models/a\x1b[2J", "models/" + "x" * 300):
    p = Package()
    p.manifest["layers"][0]["annotations"]["org.opencontainers.image.title"] = what
    p.remake()
    refused(f"title {what[:24]!r}", p)

# tar entries
good = Package()
tar = good.blob(good.manifest["layers"][0]["digest"])


def header_at(data, name_part=b""):
    """Offset of the ustar header of the file itself: the last one with type '0'."""
    at, found = 0, None
    while at + 512 <= len(data) and data[at:at + 512].strip(b"\0"):
        size = int(data[at + 124:at + 135], 8)
        found = (at, size) if data[at + 156:at + 157] == b"0" else found
        at += 512 + (size + 511) // 512 * 512
    return found[0], found[1], at


def reseal(block):
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return block


at, size, end = header_at(tar)
for name, where, value in (("a symbolic link", 156, b"2"), ("a hard link", 156, b"1"), ("a device", 156, b"3"), ("a pipe", 156, b"6"), ("a folder where a file is said", 156, b"5"), ("GNU's long name", 156, b"L"),
                           ("mode set-uid", 100, b"0004755\0"), ("an owner", 108, b"0001750\0"), ("a date", 136, b"14000000000\0"), ("another size", 124, b"00000000001\0"), ("a traversal", 0, b"../../evil\0"), ("an absolute path", 0, b"/evil\0"),
                           ("a link's name", 157, b"/etc/passwd\0"), ("size in base 256", 124, b"\x80" + b"\0" * 10 + b"\1")):
    data = bytearray(tar)
    block = bytearray(data[at:at + 512])
    block[where:where + len(value)] = value
    data[at:at + 512] = reseal(block)
    p = Package()
    p.layer(0, bytes(data))
    refused(f"tar: {name}", p)
for name, data in (("its entry twice", tar[:end] + tar[at:end] + tar[end:]), ("an entry behind the end", tar + tar), ("bytes behind the end", tar + b"x" * 512), ("no end", tar[:end]), ("one zero block at the end", tar[:end] + b"\0" * 512), ("empty", b""),
                   ("gzip", __import__("gzip").compress(tar)), ("a wrong checksum", tar[:at + 148] + b"000000\0 " + tar[at + 156:])):
    p = Package()
    p.layer(0, data)
    refused(f"tar: {name}", p)
# two readers, two archives: a pax size that is not the header's
px = tar.find(b"comment=")
if px > 0:
    record = b"18 size=%09d\n" % (size + 512)
    start = px // 512 * 512
    n = int(tar[start:px].split()[0])
    rest = n - len(record)
    if rest > 20:
        comment = b"%d comment=" % rest
        pax = record + comment + b" " * (rest - len(comment) - 1) + b"\n"
        p = Package()
        p.layer(0, tar[:start] + pax + tar[start + n:])
        refused("tar: pax says another size than ustar", p)

# layers
p = Package()
p.manifest["layers"].append(dict(p.manifest["layers"][0]))
p.remake()
refused("a layer repeated", p)
p = Package()
del p.manifest["layers"][1]
p.remake()
refused("a layer removed, rightly signed", p)
p = Package()
p.manifest["layers"] = p.manifest["layers"][:1] * 9000
p.remake()
refused("nine thousand layers", p)

# one blob named eight thousand times is read once
p = Package()
biggest = max(p.manifest["layers"], key=lambda l: l["size"])
p.manifest["layers"] = [biggest] * 8000
config = json.loads(p.blob(p.manifest["config"]["digest"]))
config["rootfs"]["diff_ids"], config["history"] = [biggest["digest"]] * 8000, [config["history"][0]] * 8000
p.manifest["config"]["digest"], p.manifest["config"]["size"] = p.put(json.dumps(config, separators=(",", ":")).encode())
p.remake()
refused(f"a layer of {biggest['size'] >> 10} KiB eight thousand times", p, "layout|digest")

# documents
for name, text in (("deep", "[" * 100000), ("deep objects", '{"a":' * 5000 + "1" + "}" * 5000), ("huge", '{"schemaVersion":2,"x":"' + "y" * (6 << 20) + '"}'), ("an array", "[]"), ("empty", ""), ("a bomb of keys", "{" + ",".join(f'"{i}":0' for i in range(300000)) + "}"),
                   ("behind the end", json.dumps(good.index) + "{}"), ("with a BOM", "\ufeff" + json.dumps(good.index)), ("a key twice", json.dumps(good.index).replace('"manifests"', '"manifests":[],"manifests"', 1)),
                   ("a key twice, escaped", json.dumps(good.index).replace('"manifests"', '"\\u006danifests":[],"manifests"', 1)), ("a big number", json.dumps(good.index).replace('"size": ', '"size": 1e999,"size2": ', 1)), ("a size below zero", json.dumps(good.index).replace('"size": ', '"size": -', 1))):
    p = Package()
    p.save(text)
    refused(f"index.json: {name}", p)
    if name in ("an array", "empty", "deep", "deep objects", "huge", "a bomb of keys"):
        p = Package()
        p.remake(text.encode())
        refused(f"manifest: {name}", p)
p = Package()
both = {**p.manifest, "manifests": [{**p.entry}]}
p.remake(json.dumps(both).encode())
refused("one document that is a manifest and an index", p)
p = Package()
p.entry["mediaType"] = "application/vnd.oci.image.index.v1+json"
p.save()
refused("a manifest called an index", p)
p = Package()
p.index["manifests"].append({**p.entry})
p.save()
refused("one tag twice", p)
p = Package()
p.index["manifests"] += [{**p.index["manifests"][-1]}] * 3000
p.save()
refused("three thousand entries", p)
p = Package()
p.entry["urls"] = ["http://evil.example/x"]
p.save()
refused("an entry with addresses", p)

# blobs that are no files, and bombs
for kind in ("config", "layer", "manifest", "bundle"):
    for how in ("a pipe", "a link", "a device", "a folder", "a file that grows for ever"):
        p = Package()
        bundle = next(m for m in p.index["manifests"] if "artifactType" in m)
        d = {"config": p.manifest["config"]["digest"], "layer": p.manifest["layers"][0]["digest"], "manifest": p.entry["digest"], "bundle": json.loads(p.blob(bundle["digest"]))["layers"][0]["digest"]}[kind]
        f = p.path(d)
        os.unlink(f)
        if how == "a pipe": os.mkfifo(f)
        elif how == "a link": os.symlink(WORK + "/secret", f)
        elif how == "a device": os.symlink("/dev/zero", f)
        elif how == "a folder": os.mkdir(f)
        else:
            open(f, "w").close()
            os.truncate(f, 1 << 40)
        refused(f"{kind}: {how}", p, "layout|digest|signature")
for f in ("index.json", "oci-layout"):
    for how in ("pipe", "link", "sparse"):
        p = Package()
        os.unlink(f"{p.dir}/{f}")
        if how == "pipe": os.mkfifo(f"{p.dir}/{f}")
        elif how == "link": os.symlink("/dev/zero", f"{p.dir}/{f}")
        else:
            open(f"{p.dir}/{f}", "w").close()
            os.truncate(f"{p.dir}/{f}", 1 << 40)
        refused(f"{f}: {how}", p)

# endless signatures
p = Package()
bundle = next(m for m in p.index["manifests"] if "artifactType" in m)
referrer = json.loads(p.blob(bundle["digest"]))
for i in range(200):
    referrer["annotations"]["n"] = str(i)
    d, n = p.put(json.dumps(referrer).encode())
    p.index["manifests"].append({**bundle, "digest": d, "size": n})
p.save()
refused("two hundred signatures", p, "layout", "at most 128")
p = Package()
referrer = json.loads(p.blob(bundle["digest"]))
for i in range(8):
    data = json.loads(p.blob(referrer["layers"][0]["digest"]))
    data["x" * (i + 1)] = "y" * (12 << 20)
    layer = dict(referrer["layers"][0])
    layer["digest"], layer["size"] = p.put(json.dumps(data).encode())
    d, n = p.put(json.dumps({**referrer, "layers": [layer]}).encode())
    p.index["manifests"].append({**bundle, "digest": d, "size": n})
p.save()
refused("a hundred megabytes of bundles", p, "layout", "more than 67108864 bytes")
shutil.rmtree(WORK)
sys.exit(bad > 0)
