#!/usr/bin/env python3
"""`ingot attest` on a package that is made here: what each statement says is held against the files themselves, signatures are
checked by openssl; and `--source-key`: a signed source folder is verified before use. Schemas by the published validator,
where it is installed; what cosign says: tests/interop."""
import base64, copy, hashlib, json, os, shutil, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
from schema import faults

MODEL = ROOT + "/examples/nano-hybrid/model"
WORK = tempfile.mkdtemp()
TYPES = {"provenance": "https://slsa.dev/provenance/v1", "sbom": "https://cyclonedx.org/bom", "licences": "urn:ingot:attestation:licences:v1",
         "parity": "urn:ingot:attestation:parity:v1"}
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
    return p


sha = lambda path: hashlib.sha256(open(path, "rb").read()).hexdigest()
blob = lambda d, layout="p": open(f"{layout}/blobs/sha256/{d['digest'][7:]}", "rb").read()
index = lambda layout="p": json.load(open(layout + "/index.json"))["manifests"]


def statements(layout="p"):
    """type -> (predicate, subject, bytes that are signed, signature)"""
    out = {}
    for m in index(layout):
        if m.get("artifactType") != "application/vnd.dev.sigstore.bundle.v0.3+json":
            continue
        manifest = json.loads(blob(m, layout))
        e = json.loads(blob(manifest["layers"][0], layout))["dsseEnvelope"]
        payload = base64.b64decode(e["payload"])
        st = json.loads(payload)
        assert st["predicateType"] not in out and manifest["annotations"]["dev.sigstore.bundle.predicateType"] == st["predicateType"]
        out[st["predicateType"]] = (st["predicate"], st["subject"][0]["digest"]["sha256"], b"DSSEv1 28 application/vnd.in-toto+json %d " % len(payload) + payload,
                                    base64.b64decode(e["signatures"][0]["sig"]))
    return out


def verifies(pub, message, sig):
    open("msg", "wb").write(message)
    open("sig", "wb").write(sig)
    return subprocess.run(["openssl", "dgst", "-sha256", "-verify", pub, "-signature", "sig", "msg"], capture_output=True).returncode == 0


# ---- a source folder that is signed ----
shutil.copytree(MODEL, "src")
open("src/README.md", "w").write("---\nlicense:\n- apache-2.0\n- other-terms\n---\n# A model\n")
open("src/LICENSE", "w").write("terms\n")
for k in ("a", "b", "owner"):
    good("keygen", "-o", k, "-q")
good("sign", "src", "-k", "owner.key", "--format", "oms", "-q")
Q = ["quantize", "src", "--recipe", "nvfp4-data-free", "-o", "q"]
p = refused("source by another key", 1, "source: signature: 'src/model.sig' is not signed by the given key", *Q, "--source-key", "a.pub")
check("... nothing was written", not os.path.exists("q") and ": source: signature: " in p.stderr)
for name, spoil, words in (
        ("changed", lambda d: open(d + "/config.json", "a").write(" "), "'config.json' is not the one that was signed"),
        ("added", lambda d: open(d + "/evil.py", "w").write("x"), "'evil.py' is there, and not signed"),
        ("hidden", lambda d: open(d + "/.evil", "w").write("x"), "'.evil' is there, and not signed"),
        ("missing", lambda d: os.remove(d + "/LICENSE"), "'LICENSE' is signed, and missing"),
        ("a link", lambda d: (os.remove(d + "/LICENSE"), os.symlink("/etc/passwd", d + "/LICENSE")), "symbolic link"),
        ("a second link to the signature", lambda d: os.link(d + "/model.sig", d + "/more.sig"), "'more.sig' is there, and not signed"),
        ("unsigned", lambda d: os.remove(d + "/model.sig"), "no-signature"),
        ("a signature cut short", lambda d: os.truncate(d + "/model.sig", 900), "model.sig"),
        ("a signature with something behind it", lambda d: open(d + "/model.sig", "a").write("{}"), "text after the value")):
    shutil.rmtree("s2", ignore_errors=True)
    shutil.copytree("src", "s2")
    spoil("s2")
    p = ingot("quantize", "s2", "--recipe", "nvfp4-data-free", "-o", "q", "--source-key", "owner.pub")
    check(f"source, {name}: refused", p.returncode in (1, 3) and words in p.stderr and not os.path.exists("q"), f"{p.returncode} {p.stderr}")
for command in (["calibrate", "s2", "--recipe", "nvfp4_default-kv_fp8", "--data", ROOT + "/examples/nano-hybrid/calibration.jsonl", "-o", "stats"], ["convert", "s2", "--to", "gguf", "-o", "x.gguf"]):
    refused(f"{command[0]} --source-key", 3, "text after the value", *command, "--source-key", "owner.pub")
refused("--source-signature alone", 2, "needs --source-key", *Q, "--source-signature", "x")
good(*Q, "--source-key", "owner.pub", "-q")
doc = json.load(open("q/ingot.json"))
files = {f["name"]: f["sha256"] for f in doc["source"]["signature"]["files"]}
check("ingot.json: the verified source", files == {f: sha("src/" + f) for f in os.listdir("src") if f != "model.sig"} and
      doc["source"]["signature"]["root"] == json.loads(base64.b64decode(json.load(open("src/model.sig"))["dsseEnvelope"]["payload"]))["subject"][0]["digest"]["sha256"])
check("the original's signature is not carried", not os.path.exists("q/model.sig") and "model.sig" in doc["left_out"])
check("ingot.json: the licences", doc["licences"] == ["apache-2.0", "other-terms"])
pub_der = subprocess.run("openssl pkey -pubin -in owner.pub -outform DER", shell=True, capture_output=True).stdout
check("ingot.json: whose key", doc["source"]["signature"]["key_id"] == hashlib.sha256(pub_der).hexdigest())

# ---- licences travel ----
shutil.copytree("q", "q2")
os.remove("q2/LICENSE")
refused("pack without the original's licence text", 3, "'LICENSE' is missing; it must travel", "pack", "q2", "-o", "oci:x:t")
doc2 = copy.deepcopy(doc)
del doc2["files"]["LICENSE"]
json.dump(doc2, open("q2/ingot.json", "w"))
open("q2/README.md", "w").write("# no front matter\n")
refused("pack without a word of the original's licence", 3, "is under the licence 'apache-2.0'", "pack", "q2", "-o", "oci:x:t")

# ---- statements ----
good("pack", "q", "-o", "oci:p:t", "-q")
good("sign", "oci:p:t", "-k", "a.key", "-q")
IMAGE = index()[0]["digest"][7:]
out = json.loads(good("attest", "oci:p:t", "-k", "b.key", "--backend", "cpu", "--builder-id", "https://ci.example.com/x", "--json", "-q").stdout)
check("three statements", [(a["type"], a["was_there"], a["replaced"]) for a in out["attestations"]] == [(TYPES[t], False, False) for t in ("provenance", "sbom", "licences")], out)
st = statements()
check("each is about the image, by the builder's key", all(st[t][1] == IMAGE and verifies("b.pub", *st[t][2:]) for t in list(TYPES.values())[:3]))
check("the image and its signature did not change", index()[0]["digest"][7:] == IMAGE and verifies("a.pub", *st["https://sigstore.dev/cosign/sign/v1"][2:]))

prov = st[TYPES["provenance"]][0]
d = prov["buildDefinition"]
deps = {x["name"]: x["digest"] for x in d["resolvedDependencies"]}
check("provenance: every file of the source by its digest", all(deps.get(f) == {"sha256": sha("src/" + f)} for f in os.listdir("src") if f != "model.sig"), deps)
check("provenance: recipe and plan", deps["recipe"]["sha256"] == doc["recipe_sha256"] and d["internalParameters"]["plan_sha256"] == doc["plan_sha256"] and d["externalParameters"]["recipe"] == doc["recipe"]["name"])
check("provenance: the verified source", d["internalParameters"]["source_signature"]["root"] == doc["source"]["signature"]["root"])
r = prov["runDetails"]
check("provenance: builder and its program", r["builder"]["id"] == "https://ci.example.com/x" and r["builder"]["builderDependencies"][0]["digest"]["sha256"] == sha(INGOT) and d["internalParameters"]["backend"] == "cpu")
check("provenance: what came out beside", {x["name"]: x["digest"]["sha256"] for x in r["byproducts"]} == {"plan": doc["plan_sha256"], "ingot.json": sha("q/ingot.json")})
check("provenance: no SLSA level is claimed, no date", "level" not in json.dumps(prov).lower() and "slsaLevel" not in json.dumps(prov) and r["metadata"] == {})

# ---- statement and provenance by schemas (tests/data) ----
load = lambda name: json.load(open(f"{ROOT}/tests/data/{name}.schema.json"))
STATEMENT, PROVENANCE = load("intoto_statement_v1"), load("slsa_provenance_v1")
whole = {t: json.loads(x[2].split(b" ", 4)[4]) for t, x in st.items()}
for t, doc_ in whole.items():
    check(f"statement of {t}: in-toto v1", not faults(doc_, STATEMENT), faults(doc_, STATEMENT))
check("provenance: SLSA v1", not faults(prov, PROVENANCE), faults(prov, PROVENANCE))


def wrong(schema, good, *path):
    """The same with what path leads to replaced or, without a value, taken away."""
    *way, last, value = path
    doc = copy.deepcopy(good)
    node = doc
    for step in way:
        node = node[step]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return doc


BAD = [(STATEMENT, whole[TYPES["provenance"]], p) for p in (("_type", "https://in-toto.io/Statement/v0.1"), ("subject", []), ("subject", 0, "digest", None), ("subject", 0, "digest", "sha256", "AB"),
                                                            ("predicateType", "provenance"), ("predicateType", None), ("predicate", []), ("more", "x"))]
BAD += [(PROVENANCE, prov, p) for p in (("buildDefinition", None), ("buildDefinition", "buildType", None), ("buildDefinition", "buildType", "quantize"), ("buildDefinition", "externalParameters", None),
                                        ("buildDefinition", "resolvedDependencies", 0, "digest", None), ("buildDefinition", "resolvedDependencies", 0, "digest", {}), ("runDetails", "builder", None),
                                        ("runDetails", "builder", "id", None), ("runDetails", "builder", "version", "ingot", []), ("runDetails", "byproducts", "x"),
                                        ("runDetails", "metadata", "startedOn", "yesterday"), ("runDetails", "byProducts", []))]
check("the schemas refuse what is not so", all(faults(wrong(*b[:2], *b[2]), b[0]) for b in BAD), [b[2] for b in BAD if not faults(wrong(*b[:2], *b[2]), b[0])])
try:
    import jsonschema
except ImportError:
    print("skip attest, the schemas by jsonschema: it is not installed")
else:
    valid = lambda schema, doc: jsonschema.Draft202012Validator(schema).is_valid(doc)
    check("jsonschema says the same", all(valid(STATEMENT, x) for x in whole.values()) and valid(PROVENANCE, prov) and not any(valid(b[0], wrong(*b[:2], *b[2])) for b in BAD))

bom = st[TYPES["sbom"]][0]
model = bom["metadata"]["component"]
check("sbom: every file with its hash", {c["name"]: c["hashes"][0]["content"] for c in model["components"]} == {"models/" + f: sha("q/" + f) for f in os.listdir("q")})
check("sbom: the licences, each by itself", model["licenses"] == [{"license": {"id": "Apache-2.0"}}, {"license": {"name": "other-terms"}}])
check("sbom: a machine-learning model with its original", model["type"] == "machine-learning-model" and model["pedigree"]["ancestors"][0]["type"] == "machine-learning-model" and
      model["modelCard"]["modelParameters"]["architectureFamily"] == "nemotron_h")
lic = st[TYPES["licences"]][0]
check("licences: a list", [x["declared"] for x in lic["licences"]] == ["apache-2.0", "other-terms"] == [x["declared"] for x in lic["original"]] and
      lic["files"] == [{"path": "models/LICENSE", "sha256": sha("src/LICENSE")}], lic)
python = next((p for p in (ROOT + "/.tools/sign/bin/python", sys.executable) if os.path.exists(p) and not subprocess.run([p, "-c", "import cyclonedx.validation.json, jsonschema"], capture_output=True).returncode), None)
if not python:
    print("skip attest, schema of the bill of materials: cyclonedx-python-lib[json-validation] is not installed")
else:
    code = "import sys;from cyclonedx.schema import SchemaVersion as V;from cyclonedx.validation.json import JsonStrictValidator as J;e=J(V.V1_6).validate_str(open(sys.argv[1]).read());print(e or '');sys.exit(bool(e))"
    json.dump(bom, open("bom.json", "w"))
    v = subprocess.run([python, "-c", code, "bom.json"], capture_output=True, text=True)
    check("sbom: valid under the strict 1.6 schema", v.returncode == 0, v.stdout + v.stderr)
    json.dump({**bom, "specVersion": "1.6", "metadata": {**bom["metadata"], "component": {**model, "type": "model"}}}, open("bad.json", "w"))
    check("... which refuses another", subprocess.run([python, "-c", code, "bad.json"], capture_output=True).returncode == 1)

# ---- again, newer, by another key ----
before = {f: open("p/blobs/sha256/" + f, "rb").read() for f in os.listdir("p/blobs/sha256")}
out = json.loads(good("attest", "oci:p:t", "-k", "b.key", "--backend", "cpu", "--builder-id", "https://ci.example.com/x", "--json", "-q").stdout)
check("the same again: said, and nothing changes", all(a["was_there"] for a in out["attestations"]) and before == {f: open("p/blobs/sha256/" + f, "rb").read() for f in os.listdir("p/blobs/sha256")})
out = json.loads(good("attest", "oci:p:t", "-k", "b.key", "--type", "provenance", "--backend", "cuda", "--json", "-q").stdout)
check("a newer one takes the older one's place", out["attestations"] == [{"type": TYPES["provenance"], "was_there": False, "replaced": True}] and
      statements()[TYPES["provenance"]][0]["buildDefinition"]["internalParameters"]["backend"] == "cuda" and len(os.listdir("p/blobs/sha256")) == len(before))
v = ingot("verify", "oci:p:t", "--key", "a.pub", "-q")
check("verify: statements stand beside the signature", v.returncode == 0 and v.stdout.count("it is no signature of the image") == 3, v.stdout[-500:])
shutil.copytree("p", "p2")
good("attest", "oci:p2:t", "-k", "a.key", "--type", "licences", "-q")
check("another key's statement stays", len([m for m in index("p2") if m.get("artifactType")]) == len([m for m in index() if m.get("artifactType")]) + 1)

# ---- parity, from a report ----
report = {"schema": "ingot.report/1", "verdict": "pass", "checks": [{"check": "parity", "name": "KL divergence", "verdict": "pass"}, {"check": "layout", "name": "x", "verdict": "pass"}],
          "package": {"image": "sha256:" + IMAGE}, "parity": {"kl_mean": 0.25, "top1_agreement": 0.5}}
json.dump(report, open("r.json", "w"))
good("attest", "oci:p:t", "-k", "b.key", "--type", "parity,sbom", "--report", "r.json", "-q")
st = statements()
par = st[TYPES["parity"]][0]
check("parity: the report's figures", par["figures"] == report["parity"] and par["verdict"] == "pass" and par["checks"] == report["checks"][:1] and
      par["figures_sha256"] == hashlib.sha256(b'{"kl_mean":0.25,"top1_agreement":0.5}').hexdigest(), par)
check("sbom: the figures as metrics", [m["value"] for m in st[TYPES["sbom"]][0]["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]] == ["0.25", "0.5"])
refused("parity without a report", 2, "--report is missing", "attest", "oci:p:t", "-k", "b.key", "--type", "parity")
for name, change, words in (("of another image", lambda r: r["package"].update(image="sha256:" + "0" * 64), "is of image sha256:000"), ("without figures", lambda r: r.pop("parity"), "no parity figures"),
                            ("without a package", lambda r: r.pop("package"), "is of image (none)")):
    other = copy.deepcopy(report)
    change(other)
    json.dump(other, open("other.json", "w"))
    refused("a report " + name, 3, words, "attest", "oci:p:t", "-k", "b.key", "--type", "parity", "--report", "other.json")

# ---- a statement of one's own, and refusals ----
open("pred.json", "w").write('{"reviewed":true}')
good("attest", "oci:p:t", "-k", "b.key", "--type", "https://example.com/review/v1", "--predicate", "pred.json", "-q")
check("a statement of one's own", statements()["https://example.com/review/v1"][0] == {"reviewed": True})
refused("a type that is none", 2, "neither a kind of attestation nor a URI", "attest", "oci:p:t", "-k", "b.key", "--type", "spdx")
refused("a URI without a predicate", 2, "belong together", "attest", "oci:p:t", "-k", "b.key", "--type", "urn:x:y")
refused("a URI with a blank", 2, "is a URI", "attest", "oci:p:t", "-k", "b.key", "--type", "urn:x y", "--predicate", "pred.json")
open("pred.json", "w").write("[1]")
refused("a predicate that is no object", 3, "expected an object", "attest", "oci:p:t", "-k", "b.key", "--type", "urn:x:y", "--predicate", "pred.json")
open("pred.json", "w").write('{"a":1,"a":2}')
refused("a predicate with a key twice", 3, "duplicate", "attest", "oci:p:t", "-k", "b.key", "--type", "urn:x:y", "--predicate", "pred.json")

os.chdir("/")
shutil.rmtree(WORK, ignore_errors=True)
finish()
