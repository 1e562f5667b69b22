#!/usr/bin/env python3
"""`ingot sign` in every form, read back by this file and checked by openssl: the index and every image, several keys, the legacy
manifest and its rotation, certificates, notation, and the OpenSSF signature of a folder. What real clients say: tests/interop."""
import base64, hashlib, json, os, re, shutil, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
WORK = tempfile.mkdtemp()
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
REF = "ingot.example.com:5000/acme/m:v1"
os.environ.pop("INGOT_KEY_PASSPHRASE", None)
os.chdir(WORK)


def ingot(*args):
    return subprocess.run([INGOT, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)


def good(*args):
    p = ingot(*args)
    if p.returncode:
        check(" ".join(args), False, p.stderr)
    return p


def refused(name, status, words, *args):
    p = ingot(*args)
    check(f"{name}: refused with {status}", p.returncode == status and words in p.stderr, f"{p.returncode} {p.stderr}")


def sh(cmd):
    subprocess.run(cmd, shell=True, check=True, capture_output=True)


blob = lambda d, layout="p": open(f"{layout}/blobs/sha256/{(d['digest'] if isinstance(d, dict) else d)[7:]}", "rb").read()
index = lambda layout="p": json.load(open(layout + "/index.json"))["manifests"]
names = lambda layout: sorted(os.listdir(layout + "/blobs/sha256"))
tag = lambda m: (m.get("annotations") or {}).get("org.opencontainers.image.ref.name")


def verifies(pub, message, sig):
    open("msg", "wb").write(message)
    open("sig", "wb").write(sig)
    return subprocess.run(["openssl", "dgst", "-sha256", "-verify", pub, "-signature", "sig", "msg"], capture_output=True).returncode == 0


def bundles(layout="p"):
    """(subject's digest, predicate type, pre-authentication encoding, signature, verification material) of every bundle."""
    out = []
    for m in index(layout):
        if m.get("artifactType") != BUNDLE:
            continue
        manifest = json.loads(blob(m, layout))
        b = json.loads(blob(manifest["layers"][0], layout))
        payload = base64.b64decode(b["dsseEnvelope"]["payload"])
        st = json.loads(payload)
        assert st["subject"][0]["digest"]["sha256"] == manifest["subject"]["digest"][7:]
        out.append((manifest["subject"]["digest"], st["predicateType"], b"DSSEv1 28 application/vnd.in-toto+json %d " % len(payload) + payload,
                    base64.b64decode(b["dsseEnvelope"]["signatures"][0]["sig"]), b["verificationMaterial"]))
    return out


if not shutil.which("openssl"):
    print("skip sign: openssl is not installed")
    sys.exit(0)

os.makedirs("m")
open("m/config.json", "w").write('{"model_type":"nemotron_h"}\n')
open("m/model.safetensors", "wb").write(b"\2\0\0\0\0\0\0\0{}")
for k in "abc":
    good("keygen", "-o", k, "-q")
good("pack", "m", "-o", "oci:plain:v1", "-q")
shutil.copytree("plain", "p")
IMAGE = index()[0]["digest"]

# ---- several keys, several forms ----
before = names("p")
out = json.loads(good("sign", "oci:p:v1", "-k", "a.key", "--docker-reference", REF, "--json", "-q").stdout)
check("sign: bundle and legacy are two signatures", (out["added"], out["there"], out["was_signed"], out["image"], out["manifests"]) == (2, 0, False, IMAGE, 1), out)
check("sign: no blob of the image changed", all(n in names("p") for n in before) and index()[0] == index("plain")[0])
(b,) = bundles()
check("bundle: openssl verifies", b[0] == IMAGE and b[1] == "https://sigstore.dev/cosign/sign/v1" and verifies("a.pub", b[2], b[3]) and not verifies("b.pub", b[2], b[3]))


def legacy(layout="p"):
    (entry,) = [m for m in index(layout) if (tag(m) or "").endswith(".sig")]
    assert tag(entry) == f"sha256-{IMAGE[7:]}.sig" and entry["annotations"]["kind"] == "dev.cosignproject.cosign/sigs"
    m = json.loads(blob(entry, layout))
    return m, [(json.loads(blob(l, layout)), blob(l, layout), base64.b64decode(l["annotations"]["dev.cosignproject.cosign/signature"])) for l in m["layers"]]


m, layers = legacy()
want = {"critical": {"identity": {"docker-reference": REF}, "image": {"docker-manifest-digest": IMAGE}, "type": "cosign container image signature"}, "optional": None}
check("legacy: the payload is what containers-policy wants", len(layers) == 1 and layers[0][0] == want)
check("legacy: openssl verifies", verifies("a.pub", layers[0][1], layers[0][2]))
config = json.loads(blob(m["config"]))
check("legacy: config as cosign writes it", m["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json" and config["rootfs"]["diff_ids"] == [l["digest"] for l in m["layers"]])

state = {f: open(f"p/{f}" if f == "index.json" else f"p/blobs/sha256/{f}", "rb").read() for f in ["index.json", *names("p")]}
out = json.loads(good("sign", "oci:p:v1", "-k", "a.key", "--docker-reference", REF, "--json", "-q").stdout)
check("the same key again: said, and not a byte changes", out["was_signed"] and (out["added"], out["there"]) == (0, 2) and
      {f: open(f"p/{f}" if f == "index.json" else f"p/blobs/sha256/{f}", "rb").read() for f in ["index.json", *names("p")]} == state, out)
good("sign", "oci:p:v1", "-k", "b.key", "--docker-reference", REF, "-q")
m, layers = legacy()
check("rotation: a layer is added, the first stays", len(layers) == 2 and verifies("a.pub", *layers[0][1:]) and verifies("b.pub", *layers[1][1:]))
check("rotation: what the old manifest named is gone", len(names("p")) == len(state) - 1 + 2 + 0 + 0 + 0, (len(names("p")), len(state)))
check("rotation: two bundles", len(bundles()) == 2 and verifies("b.pub", *bundles()[1][2:4]))
out = json.loads(good("sign", "oci:p:v1", "-k", "a.key", "--format", "legacy", "--docker-reference", REF.replace("v1", "v2"), "--json", "-q").stdout)
check("legacy alone, for another name", out["added"] == 1 and len(legacy()[1]) == 3 and len(bundles()) == 2)
for key in "ab":
    p = ingot("verify", "oci:p:v1", "--key", key + ".pub", "-q")
    check(f"our verify, key {key}", f"sha256:{IMAGE[7:]} is signed by key" in p.stdout and not re.search(r"^fail +(signature|no-signature|digest)", p.stdout, re.M), p.stdout)
check("our verify, key c", re.search(r"^fail +signature", ingot("verify", "oci:p:v1", "--key", "c.pub", "-q").stdout, re.M))

# ---- refused ----
refused("a form that is none", 2, "'pgp' is no form", "sign", "oci:p:v1", "-k", "a.key", "--format", "bundle,pgp")
refused("legacy without a name", 2, "--docker-reference is missing", "sign", "oci:p:v1", "-k", "a.key", "--format", "legacy")
for ref in ("acme/m", "acme/m@sha256:00", "h/Acme/m:v1", "acme//m:v1", "/m:v1", "acme/m:", "acme/m:a b", "acme/m:v1\n", "a" * 600 + ":v1", "h:5000/m", "x/-m:v1"):
    refused(f"docker reference {ref[:20]!r}", 2, "docker reference", "sign", "oci:p:v1", "-k", "a.key", "--docker-reference", ref)
refused("oms with another form", 2, "oms signs a folder", "sign", "m", "-k", "a.key", "--format", "oms,bundle")
shutil.copytree("p", "spoiled")
(entry,) = [x for x in index("spoiled") if (tag(x) or "").endswith(".sig")]
path = "spoiled/blobs/sha256/" + entry["digest"][7:]
open(path, "ab").write(b" ")
refused("a legacy manifest that is not what it was", 3, ".sig", "sign", "oci:spoiled:v1", "-k", "c.key", "--docker-reference", REF)
check("... and nothing was written", len(bundles("p")) == 2 and len([x for x in index("spoiled") if x.get("artifactType")]) == 2)

# ---- a thin layout: no weights ----
shutil.copytree("plain", "thin")
weights = max((json.loads(blob(index()[0])))["layers"], key=lambda l: l["annotations"]["org.opencontainers.image.title"].endswith(".safetensors"))
os.remove("thin/blobs/sha256/" + weights["digest"][7:])
good("sign", "oci:thin:v1", "-k", "a.key", "-q")
check("a layout without its weights is signed", verifies("a.pub", *bundles("thin")[0][2:4]) and bundles("thin")[0][0] == IMAGE)

# ---- a package with profiles: the index and every image ----
gives = ingot("profile", ROOT + "/examples/nano-hybrid/model", "--engine", "vllm@0.22.0", "--gpu", "b200:1", "-o", "prof", "-q")
if gives.returncode == 0 and ingot("pack", ROOT + "/examples/nano-hybrid/model", "--profiles", "prof", "-o", "oci:multi:v1", "-q").returncode == 0:
    subjects = {m["digest"] for m in index("multi") if (m.get("annotations") or {}).get("kind", "").startswith("dev.cosignproject.cosign/image") or (tag(m) or "").startswith("v1-")}
    good("sign", "oci:multi:v1", "-k", "a.key", "--docker-reference", REF, "-q")
    check("the index and every image are signed", {b[0] for b in bundles("multi")} == subjects and len(subjects) >= 1 and all(verifies("a.pub", *b[2:4]) for b in bundles("multi")), subjects)
    check("... in the legacy form too", {tag(m) for m in index("multi") if (tag(m) or "").endswith(".sig")} == {"sha256-" + d[7:] + ".sig" for d in subjects})
else:
    print("skip sign, a package with profiles: " + gives.stderr.strip()[:200])

# ---- a base that must be signed ----
good("pack", "m", "-o", "oci:base:v1", "-q")
BASE = index("base")[0]["digest"]
base = ["pack", "m", "--base", f"oci:base:v1@{BASE}", "-q", "--base-key", "a.pub", "-o"]
refused("an unsigned base", 1, "no-signature", *base, "oci:on1:v1")
good("sign", "oci:base:v1", "-k", "b.key", "-q")
refused("a base signed by another key", 1, "signature: none of the 1 signatures", *base, "oci:on1:v1")
good("attest", "oci:base:v1", "-k", "a.key", "--type", "licences", "-q")
refused("a base with another statement by the key", 1, "signature: none of", *base, "oci:on1:v1")
good("sign", "oci:base:v1", "-k", "a.key", "--format", "legacy", "--docker-reference", REF, "-q")
check("a base with a legacy signature by the key", ingot(*base, "oci:on1:v1").returncode == 0 and os.path.exists("on1/index.json"))
refused("a base of another digest", 3, "sha256:", "pack", "m", "--base", "oci:base:v1@sha256:" + "0" * 64, "-o", "oci:on2:v1")
refused("--base-key alone", 2, "needs --base", "pack", "m", "--base-key", "a.pub", "-o", "oci:on2:v1")

# ---- certificates ----
open("ca.cnf", "w").write("[req]\ndistinguished_name=n\n[n]\n[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
                          "[leaf]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n[tls]\nbasicConstraints=critical,CA:FALSE\n"
                          "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n")
sh("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 30 -subj /C=US/ST=WA/O=Acme/CN=root -config ca.cnf -extensions ca")
for name, ext, days in (("leaf", "leaf", 10), ("tls", "tls", 10), ("old", "leaf", -1)):
    sh(f"openssl req -new -key {'c'}.key -out {name}.csr -subj /C=US/ST=WA/O=Acme/CN={name} -config ca.cnf")
    when = f"-days {days}" if days > 0 else "-days 1"
    sh(f"openssl x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial {when} -extfile ca.cnf -extensions {ext} -out {name}.pem")
sh("cat leaf.pem ca.pem > chain.pem")
shutil.copytree("plain", "x")
out = json.loads(good("sign", "oci:x:v1", "-k", "c.key", "--certificate-chain", "chain.pem", "--format", "bundle,x509,notation", "--json", "-q").stdout)
check("with a chain: bundle, bundle with certificates, notation", out["added"] == 3 and len(bundles("x")) == 2, out)
der = lambda f: base64.b64decode("".join(l for l in open(f).read().splitlines() if not l.startswith("-")))
material = bundles("x")[1][4]
check("x509: the chain, leaf first", [base64.b64decode(c["rawBytes"]) for c in material["x509CertificateChain"]["certificates"]] == [der("leaf.pem"), der("ca.pem")])
check("x509: signed by the leaf's key", verifies("c.pub", *bundles("x")[1][2:4]))
manifest = next(json.loads(blob(m, "x")) for m in index("x") if m.get("artifactType") == "application/vnd.cncf.notary.signature")
jws = json.loads(blob(manifest["layers"][0], "x"))
un64 = lambda t: base64.urlsafe_b64decode(t + "=" * (-len(t) % 4))
check("notation: what is signed", json.loads(un64(jws["payload"]))["targetArtifact"] == {k: index("x")[0][k] for k in ("mediaType", "digest", "size")} and manifest["subject"]["digest"] == IMAGE)
raw = un64(jws["signature"])
number = lambda b: b"\2" + bytes([len(b)]) + b
strip = lambda b: (lambda s: (b"\0" if not s or s[0] & 128 else b"") + s)(b.lstrip(b"\0"))
body = number(strip(raw[:32])) + number(strip(raw[32:]))
check("notation: openssl verifies r and s", len(raw) == 64 and verifies("c.pub", f"{jws['protected']}.{jws['payload']}".encode(), b"\x30" + bytes([len(body)]) + body))
head = json.loads(un64(jws["protected"]))
check("notation: the header", head["alg"] == "ES256" and head["crit"] == ["io.cncf.notary.signingScheme"] and [base64.b64decode(c) for c in jws["header"]["x5c"]] == [der("leaf.pem"), der("ca.pem")])
check("certificates: once", json.loads(good("sign", "oci:x:v1", "-k", "c.key", "--certificate-chain", "chain.pem", "--format", "bundle,x509,notation", "--json", "-q").stdout)["was_signed"])
refused("a chain of another key", 2, "not of the key that signs", "sign", "oci:x:v1", "-k", "a.key", "--certificate-chain", "chain.pem")
refused("a certificate for TLS", 2, "not for signing code", "sign", "oci:x:v1", "-k", "c.key", "--certificate-chain", "tls.pem")
refused("an authority's certificate", 2, "authority", "sign", "oci:x:v1", "-k", "ca.key", "--certificate-chain", "ca.pem")
refused("a file without certificates", 3, "no certificate", "sign", "oci:x:v1", "-k", "c.key", "--certificate-chain", "c.pub")
refused("notation without a chain", 2, "--certificate-chain is missing", "sign", "oci:x:v1", "-k", "c.key", "--format", "notation")

# ---- a folder: OpenSSF model signing ----
os.makedirs("m/a")
os.makedirs("m/a-b")
os.makedirs("m/.git")
for f, text in (("a/z", "1"), ("a-b/c", "2"), (".hidden", "3"), (".git/x", "4"), (".gitignore", "5"), ("empty", "")):
    open("m/" + f, "w").write(text)
good("sign", "m", "-k", "a.key", "--format", "oms", "-q")
sig = json.load(open("m/model.sig"))
st = json.loads(base64.b64decode(sig["dsseEnvelope"]["payload"]))
want = ["a/z", "a-b/c", ".hidden", "config.json", "empty", "model.safetensors"]
files = sorted(want, key=lambda p: p.split("/"))
sha = lambda p: hashlib.sha256(open("m/" + p, "rb").read())
check("oms: every file with its digest, git's own left out", [(r["name"], r["digest"]) for r in st["predicate"]["resources"]] == [(f, sha(f).hexdigest()) for f in files], st["predicate"]["resources"])
check("oms: the root", st["subject"] == [{"name": "m", "digest": {"sha256": hashlib.sha256(b"".join(sha(f).digest() for f in files)).hexdigest()}}])
check("oms: how it was hashed", st["predicate"]["serialization"] == {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": [".git", ".gitattributes", ".github", ".gitignore"]})
check("oms: the hint is of the PEM text", sig["verificationMaterial"]["publicKey"]["hint"] == hashlib.sha256(open("a.pub", "rb").read()).hexdigest())
payload = base64.b64decode(sig["dsseEnvelope"]["payload"])
check("oms: openssl verifies", verifies("a.pub", b"DSSEv1 28 application/vnd.in-toto+json %d " % len(payload) + payload, base64.b64decode(sig["dsseEnvelope"]["signatures"][0]["sig"])))
refused("oms: a signature that exists", 2, "exists already", "sign", "m", "-k", "b.key", "--format", "oms")
good("sign", "m", "-k", "b.key", "--format", "oms", "--force", "-q")
check("oms: --force replaces it", json.load(open("m/model.sig"))["verificationMaterial"]["publicKey"]["hint"] == hashlib.sha256(open("b.pub", "rb").read()).hexdigest())
good("sign", "m", "-k", "c.key", "--format", "oms", "--certificate-chain", "chain.pem", "--signature", "out.sig", "-q")
check("oms: certificates, beside the folder", "x509CertificateChain" in json.load(open("out.sig"))["verificationMaterial"])
for name, status, words, *args in (
        ("by its key", 0, "pass      signature", "-k", "b.pub"), ("files are counted", 0, "6 files as they were signed, and no other", "-k", "b.pub"),
        ("ignored paths are shown", 0, ".git: the signature says nothing", "-k", "b.pub"), ("another key", 1, "signature: 'm/model.sig' is not signed", "-k", "a.pub"),
        ("by certificates", 0, "pass      signature", "--signature", "out.sig", "--roots", "ca.pem"), ("no key", 9, "no key and no certificate"),
        ("by certificates, today", 0, "pass      signature", "--signature", "out.sig", "--roots", "ca.pem", "--time", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))),
        ("by certificates, long ago", 1, "certificate", "--signature", "out.sig", "--roots", "ca.pem", "--time", "2001-01-01"),
        ("by certificates, when they have ended", 1, "certificate", "--signature", "out.sig", "--roots", "ca.pem", "--time", "2399-01-01T00:00:00Z"),
        ("a time that is none", 2, "option --time", "-k", "b.pub", "--time", "soon"),
        ("with a policy", 2, "goes with --key", "-k", "b.pub", "--policy", "x")):
    v = ingot("verify", "m", "--oms", "-q", *args)
    check(f"verify --oms, {name}", v.returncode == status and words in v.stdout + v.stderr, f"{v.returncode} {v.stdout} {v.stderr}")
v = json.loads(ingot("verify", "m", "--oms", "-k", "a.pub", "--json", "-q").stdout)
check("verify --oms: the class in JSON", v["verdict"] == "fail" and v["checks"][0]["check"] == "signature" and v["error"]["check"] == "signature", v)
refused("--signature without --oms", 2, "needs --oms", "verify", "oci:x:v1", "--signature", "model.sig")
os.symlink("config.json", "m/link")
refused("oms: a symbolic link", 3, "symbolic link", "sign", "m", "-k", "b.key", "--format", "oms", "--force")

os.chdir("/")
shutil.rmtree(WORK, ignore_errors=True)
finish()
