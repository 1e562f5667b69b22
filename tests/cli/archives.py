#!/usr/bin/env python3
"""Packages in one tar file (oci-archive:FILE:TAG): taken apart here with Python's tarfile and held against the same package as a folder;
read by every command that reads a package; archives that others wrote; what is cut, twice, misplaced or foreign is refused."""
import hashlib, io, json, os, random, re, shutil, subprocess, sys, tarfile, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish, ingot
W = tempfile.mkdtemp()
BASE = W + "/model"  # quantized from tests/vectors/lora/base: small enough to compute
BLOB = "blobs/sha256/"


def refused(name, status, words, *args):
    p = ingot(*args)
    lines = [l for l in p.stderr.splitlines() if not l.startswith("usage:")]
    check(name, p.returncode == status and re.search(words, p.stderr) and len(lines) == 1, f"status {p.returncode}: {p.stderr}")


def sha(data):
    return hashlib.sha256(data).hexdigest()


def members(path):
    with tarfile.open(path, "r:") as t:
        return [(m, t.extractfile(m).read() if m.isreg() else b"") for m in t.getmembers()]


with open(W + "/r.yaml", "w") as f:
    f.write("name: r\nrules:\n  - {role: attention, weights: nvfp4, inputs: none}\n")
p = ingot("quantize", ROOT + "/tests/vectors/lora/base", "--recipe", W + "/r.yaml", "-o", BASE, "-q")
check("a model to pack", p.returncode == 0, p.stderr)
os.remove(W + "/r.yaml")
A, L = f"{W}/a.tar", f"{W}/l"
archive, layout = f"oci-archive:{A}:v1", f"oci:{L}:v1"
p, q = ingot("pack", BASE, "-o", archive, "--json", "-q"), ingot("pack", BASE, "-o", layout, "--json", "-q")
check("the same image in a file and in a folder", p.returncode == q.returncode == 0 and json.loads(p.stdout)["image"] == json.loads(q.stdout)["image"], p.stderr + q.stderr)
image = json.loads(p.stdout)["image"]
seen = members(A)
names = [m.name for m, _ in seen]
check("members: folders, blobs, index.json, oci-layout", names[:2] == ["blobs", "blobs/sha256"] and names[-2:] == ["index.json", "oci-layout"] and all(n.startswith(BLOB) for n in names[2:-2]) and len(set(names)) == len(names), names)
check("blobs are named by their digests", all(n == BLOB + sha(d) for n, d in zip(names[2:-2], [d for _, d in seen[2:-2]])), names)
check("no time, owner or name of this machine", all((m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) == (0, 0, 0, "", "", 0o755 if m.isdir() else 0o644) for m, _ in seen), [m.get_info() for m, _ in seen])
check("every file's data begins on a page", all(m.offset_data % 4096 == 0 for m, _ in seen if m.isreg()), [m.offset_data for m, _ in seen])
folder = {os.path.relpath(d + "/" + f, L): open(d + "/" + f, "rb").read() for d, _, fs in os.walk(L) for f in fs}
check("the same files as the folder", folder == {m.name: d for m, d in seen if m.isreg()}, set(folder) ^ set(names))
raw = open(A, "rb").read()
end = seen[-1][0].offset_data + 512
check("two blocks of zeros end it", raw[end:] == bytes(1024) and len(raw) == end + 1024, (len(raw), end))
check("nothing else is left in the folder", sorted(os.listdir(W)) == ["a.tar", "l", "model"], os.listdir(W))
p = subprocess.run([INGOT, "pack", BASE, "-o", f"oci-archive:{W}/deep/b.tar:v1", "-q", "-t", "1"], stdout=subprocess.DEVNULL, env={**os.environ, "TZ": "Asia/Tokyo"})
check("the same bytes elsewhere, with one thread", p.returncode == 0 and open(W + "/deep/b.tar", "rb").read() == raw)

# ---- reading ----
for command in (["inspect", "--json"], ["profiles", "--json"]):
    p, q = ingot(*command, archive), ingot(*command, layout)
    check(f"{command[0]}: the same as of the folder", p.returncode == q.returncode == 0 and p.stdout.replace(archive, "X").replace(A, "X") == q.stdout.replace(layout, "X").replace(L, "X"), p.stderr + p.stdout[:300])
with open(W + "/ids", "w") as f:
    f.write("[[1, 2, 3]]\n")
p, q = ingot("logits", archive, "--ids", W + "/ids", "-o", W + "/la", "-q"), ingot("logits", layout, "--ids", W + "/ids", "-o", W + "/ll", "-q")
check("logits: the same as of the folder", p.returncode == q.returncode == 0 and os.path.exists(W + "/la"), p.stderr + q.stderr)
p = ingot("diff", archive, layout)
check("diff: the archive and the folder are equal", p.returncode == 0, p.stdout + p.stderr)
p = ingot("mount-map", archive, "--json")
found = 0
for line in p.stdout.splitlines():
    f = json.loads(line)
    name = f["path"].split("/", 1)[1]
    with open(BASE + "/" + name, "rb") as g:
        data = g.read()
    found += raw[f["offset"]:f["offset"] + f["bytes"]] == data and f["offset"] % 4096 == 0
    for t in f["tensors"]:
        found += t["offset"] % 64 >= 0 and f["offset"] < t["offset"] and t["offset"] + t["bytes"] <= f["offset"] + f["bytes"] and raw[t["offset"]:t["offset"] + t["bytes"]] in data
files = sum(len(fs) for _, _, fs in os.walk(BASE))
tensors = len([1 for line in p.stdout.splitlines() for _ in json.loads(line)["tensors"]])
check("mount-map: the bytes of every file and tensor, where it says", tensors > 0 and found == files + tensors, (found, files, tensors, p.stderr))
check("a bare file name is its one image", ingot("mount-map", A, "--json").stdout == p.stdout)
p = ingot("verify", archive, "--json", "-q")
check("verify: whole, and without a key undecided", p.returncode == 9 and "mismatch" not in p.stdout, (p.returncode, p.stdout[-400:]))
p = ingot("thin", archive, "-o", W + "/thin", "-q")
check("thin: a folder without the weights", p.returncode == 0 and json.load(open(W + "/thin/index.json"))["annotations"]["ingot.thin"] == "true", p.stderr)
p = ingot("pack", BASE, "-o", f"oci:{W}/based:v1", "--base", archive, "-q")
check("an archive as a base", p.returncode == 0, p.stderr)
refused("what the base has already is not put into an archive twice", 4, "a layer of the base too", "pack", BASE, "-o", f"oci-archive:{W}/based.tar:v1", "--base", layout, "-q")
check("and nothing is left of it", not [f for f in os.listdir(W) if "based.tar" in f], os.listdir(W))
os.makedirs(W + "/other")
for n in "ab":
    open(f"{W}/other/{n}", "w").write("engine " + n)
ingot("pack", W + "/other", "--bundle-only", "-o", f"oci:{W}/engine:v1", "-q")
p = ingot("pack", BASE, "-o", f"oci-archive:{W}/based.tar:v1", "--base", f"oci:{W}/engine:v1", "--modelpack", "-q")
check("a base and ModelPack in an archive", p.returncode == 0 and ingot("verify", f"oci-archive:{W}/based.tar:v1", "-q").returncode == 9, p.stderr)

# ---- signatures ----
subprocess.run(["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", W + "/k.pem"], stderr=subprocess.DEVNULL)
subprocess.run(["openssl", "ec", "-in", W + "/k.pem", "-pubout", "-out", W + "/k.pub"], stderr=subprocess.DEVNULL)
refused("sign: an archive is not added to", 2, "is an archive, to which nothing is added: make a thin layout", "sign", archive, "-k", W + "/k.pem")
refused("merge: neither", 2, "is an archive, to which nothing is added", "merge", archive, "--from", W + "/thin")
refused("pull: into a folder", 2, "is an archive", "pull", "127.0.0.1:1/x", "-o", f"oci-archive:{W}/pulled.tar:v1")
p = ingot("sign", layout, "-k", W + "/k.pem", "-q")
with tarfile.open(W + "/signed.tar", "w", format=tarfile.GNU_FORMAT) as t:
    t.add(L, arcname=".")
p = ingot("verify", f"oci-archive:{W}/signed.tar:v1", "-k", W + "/k.pub", "-q")
check("a signed folder that tar packed (./ and GNU's headers) verifies", p.returncode == 0, p.stdout + p.stderr)
with tarfile.open(W + "/pax.tar", "w", format=tarfile.PAX_FORMAT) as t:
    for d, _, fs in sorted(os.walk(L)):
        for f in fs:
            m = t.gettarinfo(d + "/" + f, os.path.relpath(d + "/" + f, L))
            m.pax_headers = {"mtime": "1.25", "size": str(m.size)}
            t.addfile(m, open(d + "/" + f, "rb"))
p = ingot("verify", f"oci-archive:{W}/pax.tar:v1", "-k", W + "/k.pub", "-q")
check("and one with pax headers", p.returncode == 0, p.stdout + p.stderr)

# ---- outputs ----
refused("an output that exists", 2, "exists already", "pack", BASE, "-o", archive, "-q")
refused("an output that is a folder", 2, "is not a regular file", "pack", BASE, "-o", f"oci-archive:{L}:v1", "--force", "-q")
check("--force writes it anew", ingot("pack", BASE, "-o", archive, "--force", "-q").returncode == 0 and open(A, "rb").read() == raw)
refused("a folder is no archive", 3, ".", "inspect", f"oci-archive:{L}:v1")
refused("an archive is no folder", 3, ".", "inspect", f"oci:{A}:v1")

# ---- bad archives ----
X = W + "/x.tar"


def bad_archive(name, words, data, status=3):
    with open(X, "wb") as f:
        f.write(data)
    refused(name, status, words, "inspect", f"oci-archive:{X}:v1")


def build(change=lambda l: l, fmt=tarfile.USTAR_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=fmt) as t:
        for n, d, kw in change([(m.name, d, {}) for m, d in seen if m.isreg()]):
            i = tarfile.TarInfo(n)
            i.size = len(d)
            for k, v in kw.items():
                setattr(i, k, v)
            t.addfile(i, io.BytesIO(d))
    return out.getvalue()


open(X, "wb").write(build())
check("as plain tar it is read", ingot("inspect", f"oci-archive:{X}:v1").returncode == 0)
open(X, "wb").write(build(lambda l: l[::-1]))
check("in any order", ingot("inspect", f"oci-archive:{X}:v1").returncode == 0)
rnd = random.Random(7)
cuts = sorted({0, 1, 511, 512, 1024, len(raw) - 1, len(raw) - 512, len(raw) - 1023, len(raw) - 1024} | {rnd.randrange(len(raw)) for _ in range(40)})
failed = []
for n in cuts:
    with open(X, "wb") as f:
        f.write(raw[:n])
    p = ingot("inspect", f"oci-archive:{X}:v1")
    if p.returncode != 3 or len(p.stderr.strip().splitlines()) != 1:
        failed.append((n, p.returncode, p.stderr))
check(f"cut at {len(cuts)} places: refused", not failed, failed)
bad_archive("a blob twice", "twice", build(lambda l: l + [l[0]]))
bad_archive("index.json twice", "holds 'index.json' twice", build(lambda l: l + [m for m in l if m[0] == "index.json"]))
bad_archive("without index.json", "'index.json' is missing", build(lambda l: [m for m in l if m[0] != "index.json"]))
bad_archive("without oci-layout", "'oci-layout' is missing", build(lambda l: [m for m in l if m[0] != "oci-layout"]))
bad_archive("a blob is missing", "is missing", build(lambda l: l[1:]))
for n in ("../evil", "/etc/evil", "blobs/sha256/../../evil", "blobs/sha512/" + "0" * 64, BLOB + "A" * 64, "manifest.json", "blobs/sha256/x"):
    bad_archive(f"a member {n[:24]}", "does not belong", build(lambda l: l + [(n, b"x", {})]))
for what, kind in (("symbolic link", tarfile.SYMTYPE), ("hard link", tarfile.LNKTYPE), ("device", tarfile.CHRTYPE), ("fifo", tarfile.FIFOTYPE)):
    bad_archive("a " + what, "neither a regular file nor a directory", build(lambda l: [(BLOB + "0" * 64, b"", {"type": kind, "linkname": "/etc/passwd"})] + l))
plain = build()
bad_archive("something behind the end", "behind the end", plain + b"x" * 512)
bad_archive("too much behind the end", "too much behind", plain + bytes(2 << 20))
bad_archive("compressed", "gunzip", __import__("gzip").compress(plain), 4)
bad_archive("a wrong checksum", "sound header", b"B" + plain[1:])
first = (seen[2][0].size + 511) // 512 * 512


def header(data, at=0, size=None, **fields):
    """A header with another size and a sum that is right again."""
    h = bytearray(data[at:at + 512])
    h[124:136] = size
    h[148:156] = b" " * 8
    h[148:156] = b"%06o\0 " % sum(h)
    return data[:at] + bytes(h) + data[at + 512:]


bad_archive("a size beyond the file", "cut off", header(plain, size=b"77777777777\0"))
bad_archive("a size beyond any file", "cut off|sound header", header(plain, size=b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7))
bad_archive("a size beyond 64 bits", "sound header", header(plain, size=b"\x80" + b"\xff" * 11))
bad_archive("a size that is no number", "sound header", header(plain, size=b"12x45678901\0"))
bad_archive("a blob of another size than the manifest says", "expected \\d+ bytes, found", build(lambda l: [(n, d + b"x" if i == 0 else d, k) for i, (n, d, k) in enumerate(l)]))
pad = next(m for m, _ in seen if m.size % 512)
bad_archive("something behind a member's data", "behind its data", raw[:pad.offset_data + pad.size] + b"x" + raw[pad.offset_data + pad.size + 1:])
pax = lambda **h: build(lambda l: [(l[0][0], l[0][1], {"pax_headers": h})] + l[1:], tarfile.PAX_FORMAT)
bad_archive("two sizes", "two sizes", pax(size="9"))
one = pax(comment="x")  # the first member's header of attributes, their block, the member's own header
bad_archive("two pax headers in a row", "second pax header", one[:1024] + one)
record = b"%d size=%d\n" % (len(str(seen[2][0].size)) + 9, seen[2][0].size)
twice = header(one, size=b"%011o\0" % (2 * len(record)))
bad_archive("two pax sizes", "two pax sizes", twice[:512] + (2 * record).ljust(512, b"\0") + twice[1024:])
bad_archive("a pax size that is no number", "no number", pax(size="9e9"))
bad_archive("a pax path outside", "does not belong", pax(path="../../evil"))
bad_archive("sparse", "sparse", pax(**{"GNU.sparse.major": "1"}))
bad_archive("pax records without end", "too many pax records", pax(comment="x" * 20000))
blob = seen[3]
changed = bytearray(raw)
changed[blob[0].offset_data + blob[0].size // 2] ^= 1
open(X, "wb").write(changed)
p = ingot("verify", f"oci-archive:{X}:v1", "-q")
check("verify: one bit of a layer", p.returncode == 1 and "expected sha256:" in p.stdout, p.stdout[-300:])
extra = build(lambda l: l + [(BLOB + sha(b"stray"), b"stray", {})])
open(X, "wb").write(extra)
p = ingot("verify", f"oci-archive:{X}:v1", "-q")
check("verify: a blob that nothing refers to", p.returncode == 1 and "nothing refers to" in p.stdout, p.stdout[-300:])
os.remove(X)
os.mkfifo(X)
refused("a fifo is not waited for", 3, "regular file", "inspect", f"oci-archive:{X}:v1")

# ---- skopeo, where it is installed ----
if shutil.which("skopeo"):
    p = subprocess.run(["skopeo", "--insecure-policy", "copy", "--preserve-digests", archive, f"oci:{W}/sk:v1"], capture_output=True, text=True)
    check("skopeo reads it", p.returncode == 0 and "sha256:" + sha(open(f"{W}/sk/{BLOB}{image[7:]}", "rb").read()) == image, p.stderr)
    p = subprocess.run(["skopeo", "--insecure-policy", "copy", "--preserve-digests", layout, f"oci-archive:{W}/sk.tar:v1"], capture_output=True, text=True)
    q = ingot("inspect", f"oci-archive:{W}/sk.tar:v1")
    check("skopeo's own archive is read", p.returncode == q.returncode == 0, p.stderr + q.stderr)
else:
    print("skip skopeo: is not installed")
shutil.rmtree(W)
finish()
