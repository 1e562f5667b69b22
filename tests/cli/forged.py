#!/usr/bin/env python3
"""Signatures of the older forms, notation's JWS and cosign's simple signing, that are made by the right key and say the wrong thing: each
member that decides is changed alone and signed again, so that one check alone can refuse it. And a folder against its OpenSSF signature."""
import base64, hashlib, json, os, re, shutil, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, check, finish
if not shutil.which("openssl"):
    print("skip forged signatures: openssl is not installed")
    sys.exit()
WORK = tempfile.mkdtemp()
os.environ["HOME"] = WORK
os.chdir(WORK)
REF = "org.opencontainers.image.ref.name"


def run(*args):
    return subprocess.run([INGOT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)


def good(*args):
    p = run(*args)
    if p.returncode:
        sys.exit(f"FAIL ingot {' '.join(args)}: status {p.returncode}: {p.stderr}")


def sh(*args, data=None):
    return subprocess.run(args, input=data, check=True, capture_output=True).stdout


def sign(data):
    return sh("openssl", "dgst", "-sha256", "-sign", "s.key", data=data)


def raw(der):
    """r and s side by side, as JWS has them."""
    out, at = b"", 2
    for _ in range(2):
        n = der[at + 1]
        out += der[at + 2:at + 2 + n].lstrip(b"\0").rjust(32, b"\0")
        at += 2 + n
    return out


b64 = lambda b: base64.urlsafe_b64encode(b).rstrip(b"=").decode()
un64 = lambda t: base64.urlsafe_b64decode(t + "=" * (-len(t) % 4))
dump = lambda doc: json.dumps(doc, separators=(",", ":")).encode()
open("c.cnf", "w").write("[req]\ndistinguished_name=n\n[n]\n[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n"
                         "[leaf]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n")
sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/C=XX/ST=Y/O=Z/CN=root", "-config", "c.cnf", "-extensions", "ca")
sh("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "s.key")
os.chmod("s.key", 0o600)
sh("openssl", "pkey", "-in", "s.key", "-pubout", "-out", "s.pub")
sh("openssl", "req", "-new", "-key", "s.key", "-out", "s.csr", "-subj", "/C=XX/ST=Y/O=Z/CN=signer", "-config", "c.cnf")
sh("openssl", "x509", "-req", "-in", "s.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "10", "-extfile", "c.cnf", "-extensions", "leaf", "-out", "s.pem")
os.mkdir("m")
open("m/a", "w").write("one file")
good("pack", "m", "--bundle-only", "-o", "oci:plain:t", "-q")


class Layout:
    def __init__(self, source):
        self.dir = tempfile.mkdtemp(dir=WORK) + "/p"
        shutil.copytree(source, self.dir)
        self.index = json.load(open(self.dir + "/index.json"))
        self.image = next(m for m in self.index["manifests"] if (m.get("annotations") or {}).get(REF) == "t")
        self.entry = next(m for m in self.index["manifests"] if m is not self.image)
        self.manifest = json.loads(self.take(self.entry))

    def path(self, d):
        return f"{self.dir}/blobs/sha256/{d['digest'][7:]}"

    def take(self, d):
        return open(self.path(d), "rb").read()

    def put(self, d, data):
        os.unlink(self.path(d))
        d["digest"], d["size"] = "sha256:" + hashlib.sha256(data).hexdigest(), len(data)
        open(self.path(d), "wb").write(data)

    def done(self):
        self.put(self.entry, dump(self.manifest))
        json.dump(self.index, open(self.dir + "/index.json", "w"))
        return f"oci:{self.dir}:t"


def verdict(name, ref, words, *trust):
    """Refused, and in these words."""
    p = run("verify", ref, "-q", "--json", *trust)
    failed = [f"{c['check']}: {c['name']}: {c['detail']}" for c in json.loads(p.stdout.strip().splitlines()[-1])["checks"] if c["verdict"] == "fail"] if p.stdout.strip() else [p.stderr]
    check(name, p.returncode == 1 and any(re.search(words, f) for f in failed), (p.returncode, failed))


# ---- notation ----
shutil.copytree("plain", "jws")
good("sign", "oci:jws:t", "-k", "s.key", "--certificate-chain", "s.pem", "--format", "notation", "-q")
ROOTS = ("--roots", "ca.pem")
SCHEME, WHEN, EXPIRY = "io.cncf.notary.signingScheme", "io.cncf.notary.signingTime", "io.cncf.notary.expiry"


def jws(head=None, payload=None, outer=None, manifest=None):
    p = Layout("jws")
    layer = p.manifest["layers"][0]
    doc = json.loads(p.take(layer))
    h, body = json.loads(un64(doc["protected"])), json.loads(un64(doc["payload"]))
    if head: head(h)
    if payload: payload(body["targetArtifact"])
    doc["protected"], doc["payload"] = b64(dump(h)), b64(dump(body))
    doc["signature"] = b64(raw(sign(f"{doc['protected']}.{doc['payload']}".encode())))
    if outer: outer(doc)
    p.put(layer, dump(doc))
    if manifest: manifest(p.manifest)
    return p.done()


p = run("verify", jws(), "-q", *ROOTS)
check("notation: signed again as it was", p.returncode == 0, p.stderr)
p = run("verify", jws(lambda h: h.update({EXPIRY: "2099-01-01T00:00:00Z", "crit": [SCHEME, EXPIRY]})), "-q", *ROOTS)
check("notation: with an expiry to come", p.returncode == 0, p.stderr)
for name, change, words in (
        ("another algorithm than the key's", lambda h: h.update(alg="ES384"), "not by the key of its certificate"), ("an algorithm of RSA", lambda h: h.update(alg="PS256"), "not by the key of its certificate"),
        ("no algorithm", lambda h: h.update(alg="none"), "'none' is not an algorithm"), ("HMAC", lambda h: h.update(alg="HS256"), "'HS256' is not an algorithm"),
        ("another content type", lambda h: h.update(cty="application/json"), "cty: expected"), ("another scheme", lambda h: h.update({SCHEME: "notary.x509.signingAuthority"}), "signingScheme: expected"),
        ("signed before its certificates", lambda h: h.update({WHEN: "2020-01-01T00:00:00Z"}), "outside its certificates' time"), ("signed after them", lambda h: h.update({WHEN: "2090-01-01T00:00:00Z"}), "outside its certificates' time"),
        ("a time that is none", lambda h: h.update({WHEN: "yesterday"}), "is not a time"), ("expired", lambda h: h.update({EXPIRY: "2025-01-01T00:00:00Z", "crit": [SCHEME, EXPIRY]}), "has expired"),
        ("an expiry that is not critical", lambda h: h.update({EXPIRY: "2099-01-01T00:00:00Z"}), "crit: does not name"), ("nothing critical", lambda h: h.update(crit=[]), "crit: does not name"),
        ("a critical expiry that is not there", lambda h: h.update(crit=[SCHEME, EXPIRY]), "crit: does not name"), ("something else critical", lambda h: h.update(crit=[SCHEME, "io.example.x"]), "'io.example.x' is not understood"),
        ("critical twice", lambda h: h.update(crit=[SCHEME, SCHEME]), "is not understood"), ("another header", lambda h: h.update(kid="x"), "unknown key 'kid'")):
    verdict("notation: " + name, jws(change), words, *ROOTS)
for name, change in (("another digest", lambda t: t.update(digest="sha256:" + "0" * 64)), ("another size", lambda t: t.update(size=t["size"] + 1)), ("another media type", lambda t: t.update(mediaType="application/vnd.oci.image.index.v1+json"))):
    verdict("notation: " + name, jws(payload=change), "about another image", *ROOTS)
verdict("notation: a signature of nothing", jws(outer=lambda d: d.update(signature=b64(bytes(64)))), "not by the key of its certificate", *ROOTS)
verdict("notation: a short signature", jws(outer=lambda d: d.update(signature=b64(bytes(63)))), "not by the key of its certificate", *ROOTS)
verdict("notation: another payload than the signed", jws(outer=lambda d: d.update(protected=d["protected"][:-1] + "A")), "signature|certificate", *ROOTS)
verdict("notation: another layer type", jws(manifest=lambda m: m["layers"][0].update(mediaType="application/cose")), "expected one layer", *ROOTS)
verdict("notation: its subject has another size", jws(manifest=lambda m: m["subject"].update(size=m["subject"]["size"] + 1)), "about another image|not as described", *ROOTS)

p = Layout("jws")
p.entry["artifactType"] = "application/vnd.example.x"
verdict("an entry of another artifact type than its manifest's", p.done(), "index.json gives it another artifact type", *ROOTS)

# ---- sigstore's bundle ----
shutil.copytree("plain", "bundle")
good("sign", "oci:bundle:t", "-k", "s.key", "-q")


def bundle(change=None, kind="application/vnd.in-toto+json"):
    p = Layout("bundle")
    layer = p.manifest["layers"][0]
    doc = json.loads(p.take(layer))
    st = json.loads(base64.b64decode(doc["dsseEnvelope"]["payload"]))
    if change: change(st)
    data = dump(st)
    doc["dsseEnvelope"].update(payload=base64.b64encode(data).decode(), payloadType=kind)
    doc["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(sign(b"DSSEv1 %d %s %d " % (len(kind), kind.encode(), len(data)) + data)).decode()
    p.put(layer, dump(doc))
    return p.done()


p = run("verify", bundle(), "-q", "--key", "s.pub")
check("bundle: signed again as it was", p.returncode == 0, p.stderr)
for name, ref, words in (
        ("another kind of statement", bundle(lambda s: s.update(_type="https://in-toto.io/Statement/v2")), "key '_type'"), ("another payload type", bundle(kind="application/json"), "key 'payloadType'"),
        ("another subject", bundle(lambda s: s["subject"][0]["digest"].update(sha256="0" * 64)), "its statement is about"), ("two subjects", bundle(lambda s: s["subject"].append(s["subject"][0])), "expected one subject"),
        ("a digest of another hash too", bundle(lambda s: s["subject"][0]["digest"].update(sha512="0" * 128)), "unknown key 'sha512'"), ("a predicate type that is not its label's", bundle(lambda s: s.update(predicateType="https://slsa.dev/provenance/v1")), "is labelled"),
        ("no subject", bundle(lambda s: s.update(subject=[])), "expected one subject"), ("a member that nobody knows", bundle(lambda s: s.update(x=1)), "unknown key 'x'")):
    verdict("bundle: " + name, ref, words, "--key", "s.pub")

# ---- cosign's simple signing ----
shutil.copytree("plain", "legacy")
good("sign", "oci:legacy:t", "-k", "s.key", "--format", "legacy", "--docker-reference", "registry.example/m:t", "-q")
KEY = ("--key", "s.pub")
SIGNATURE = "dev.cosignproject.cosign/signature"


def legacy(change=None, layer_change=None):
    p = Layout("legacy")
    layer = p.manifest["layers"][0]
    doc = json.loads(p.take(layer))
    if change: change(doc)
    data = dump(doc)
    p.put(layer, data)
    layer["annotations"][SIGNATURE] = base64.b64encode(sign(data)).decode()
    if layer_change: layer_change(layer)
    config = json.loads(p.take(p.manifest["config"]))
    config["rootfs"]["diff_ids"] = [layer["digest"]]
    p.put(p.manifest["config"], dump(config))
    return p.done()


p = run("verify", legacy(), "-q", *KEY)
check("legacy: signed again as it was", p.returncode == 0, p.stderr)
for name, change, words in (
        ("another type", lambda d: d["critical"].update(type="atomic container signature"), "key 'type': expected"), ("another image", lambda d: d["critical"]["image"].update({"docker-manifest-digest": "sha256:" + "0" * 64}), "another image than its tag"),
        ("another hash", lambda d: d["critical"]["image"].update({"docker-manifest-digest": "sha512:" + "0" * 128}), "64 lower-case hex"), ("a critical member that nobody knows", lambda d: d["critical"].update(x=1), "unknown key 'x'"),
        ("no identity", lambda d: d["critical"].pop("identity"), "'identity' is missing")):
    verdict("legacy: " + name, legacy(change), words, *KEY)
der = lambda l: base64.b64decode(l["annotations"][SIGNATURE])
put = lambda l, s: l["annotations"].update({SIGNATURE: base64.b64encode(s).decode()})
for name, change, words in (
        ("another layer type", lambda l: l.update(mediaType="application/json"), "expected a layer of type"), ("no signature", lambda l: l["annotations"].pop(SIGNATURE), "has no annotation"),
        ("an empty signature", lambda l: put(l, b""), "none of the 1 signatures"), ("r and s of zero", lambda l: put(l, bytes.fromhex("3006020100020100")), "none of the 1 signatures"),
        ("bytes behind the signature", lambda l: put(l, der(l) + b"\0"), "none of the 1 signatures"), ("base64 with a line break", lambda l: l["annotations"].update({SIGNATURE: l["annotations"][SIGNATURE] + "\n"}), "not a base64 text"),
        ("base64 of URLs", lambda l: l["annotations"].update({SIGNATURE: "-_" + l["annotations"][SIGNATURE][2:]}), "not a base64 text")):
    verdict("legacy: " + name, legacy(None, change), words, *KEY)

# ---- a folder against model.sig ----
os.makedirs("f/sub")
for n in ("config.json", "sub/b", "c"):
    open("f/" + n, "w").write(n)
good("sign", "f", "-k", "s.key", "--format", "oms", "-q")
SIG = json.load(open("f/model.sig"))


def folder(change=None, statement=None):
    d = tempfile.mkdtemp(dir=WORK) + "/f"
    shutil.copytree("f", d)
    if change: change(d)
    if statement:
        doc = json.loads(json.dumps(SIG))
        st = json.loads(base64.b64decode(doc["dsseEnvelope"]["payload"]))
        statement(st)
        data = dump(st)
        doc["dsseEnvelope"]["payload"] = base64.b64encode(data).decode()
        doc["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(sign(b"DSSEv1 28 application/vnd.in-toto+json %d " % len(data) + data)).decode()
        json.dump(doc, open(d + "/model.sig", "w"))
    return d


def reroot(st):
    st["subject"][0]["digest"]["sha256"] = hashlib.sha256(b"".join(bytes.fromhex(r["digest"]) for r in st["predicate"]["resources"])).hexdigest()


def and_root(change):
    return lambda st: (change(st["predicate"]), reroot(st))


p = run("verify", folder(statement=lambda st: None), "--oms", "-q", *KEY)
check("oms: signed again as it was", p.returncode == 0, p.stderr + p.stdout)
for name, d, words in (
        ("a file changed", folder(lambda d: open(d + "/c", "a").write("x")), "'c' is not the one that was signed"), ("a file more", folder(lambda d: open(d + "/d", "w").write("x")), "'d' is there, and not signed"),
        ("a file gone", folder(lambda d: os.unlink(d + "/sub/b")), "'sub/b' is signed, and missing"), ("a link", folder(lambda d: os.symlink("c", d + "/l")), "symbolic link"),
        ("a pipe", folder(lambda d: os.mkfifo(d + "/pipe")), "neither a file nor a folder"), ("no signature", folder(lambda d: os.unlink(d + "/model.sig")), "no-signature"),
        ("two files swapped", folder(lambda d: (os.rename(d + "/c", d + "/x"), os.rename(d + "/config.json", d + "/c"), os.rename(d + "/x", d + "/config.json"))), "is not the one that was signed"),
        ("another root", folder(statement=lambda st: st["subject"][0]["digest"].update(sha256="0" * 64)), "not the digest of its files"), ("another predicate", folder(statement=lambda st: st.update(predicateType="https://slsa.dev/provenance/v1")), "expected a statement of type"),
        ("a name twice", folder(statement=and_root(lambda q: q["resources"].append(dict(q["resources"][0])))), "is there twice"), ("a name that leads away", folder(statement=and_root(lambda q: q["resources"][0].update(name="../c"))), "plain relative path"),
        ("another hash of a file", folder(statement=and_root(lambda q: q["resources"][0].update(algorithm="sha512"))), "only sha256 is checked"), ("another hash of all", folder(statement=and_root(lambda q: q["serialization"].update(hash_type="blake2b"))), "only files with sha256"),
        ("shards", folder(statement=and_root(lambda q: q["serialization"].update(method="shards"))), "only files with sha256"), ("an ignored path that leads away", folder(statement=and_root(lambda q: q["serialization"].update(ignore_paths=["../x"]))), "plain relative path"),
        ("no files", folder(statement=and_root(lambda q: q.update(resources=[]))), "expected 1 to")):
    p = run("verify", d, "--oms", "-q", *KEY)
    check("oms: " + name, p.returncode == 1 and re.search(words, p.stdout + p.stderr), (p.returncode, p.stdout, p.stderr))
os.chdir("/")
shutil.rmtree(WORK)
finish()
