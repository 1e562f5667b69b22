#!/usr/bin/env python3
"""Policies of `ingot verify`: who must have signed what is named how, how many, attestations and what they say, licences, versions,
dates, one digest; each rule met and broken, and every slip in a policy file refused. Legacy and notation signatures and
certificates count as the rules say."""
import hashlib, json, os, re, shutil, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
MODEL = ROOT + "/examples/nano-hybrid/model"
WORK = tempfile.mkdtemp()
os.environ["HOME"] = WORK
os.chdir(WORK)


def run(*args):
    return subprocess.run([INGOT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)


def ingot(*args):
    p = run(*args)
    if p.returncode:
        sys.exit(f"FAIL ingot {' '.join(args)}: status {p.returncode}: {p.stderr}")
    return p


ingot("quantize", MODEL, "-r", "nvfp4-data-free", "-o", "q", "-q")
for k in ("a", "b", "builder", "stranger"):
    ingot("keygen", "-o", k, "-q")
ingot("pack", "q", "-o", "oci:plain:t", "--release", "1.10.0", "-q")
shutil.copytree("plain", "one")
ingot("sign", "oci:one:t", "-k", "a.key", "-q")
shutil.copytree("one", "two")
ingot("sign", "oci:two:t", "-k", "b.key", "-q")
shutil.copytree("two", "attested")
report = ingot("verify", "oci:one:t", "-k", "a.pub", "--report", "r.json", "-q", "--json").stdout
image = json.load(open("r.json"))["package"]["image"]
doc = json.load(open("r.json"))
doc["parity"] = {"kl_mean": 0.02, "top1_agreement": 0.97, "ppl_original": 10.0, "ppl_quantized": 10.5, "layer_sqnr_db": [30.0, None, 21.5]}
json.dump(doc, open("r.json", "w"))
SOURCE = hashlib.sha256(open(MODEL + "/config.json", "rb").read()).hexdigest()
ingot("attest", "oci:attested:t", "-k", "builder.key", "--source", MODEL, "--report", "r.json", "-q")
ingot("attest", "oci:attested:t", "-k", "builder.key", "--type", "https://example.org/seen/v1", "--predicate", "r.json", "-q")
A, B, BUILDER = ([x + ".pub"] for x in ("a", "b", "builder"))
RULE = {"names": ["t"], "keys": A}


def verify(package, policy, *args, tag="t"):
    json.dump(policy, open("p.yaml", "w")) if not isinstance(policy, str) else open("p.yaml", "w").write(policy)
    return run("verify", f"oci:{package}:{tag}", "--policy", "p.yaml", "-q", "--json", *args)


def accepted(name, package, policy, *args):
    p = verify(package, policy, *args)
    check(name + ": accepted", p.returncode == 0, f"{p.returncode} {p.stdout[-300:]} {p.stderr}")


def refused(name, package, policy, cls, words, *args, rc=1):
    p = verify(package, policy, *args)
    doc = json.loads(p.stdout.strip().splitlines()[-1]) if p.stdout.strip() else {}
    text = doc.get("error", {}).get("message", "") + p.stderr
    ok = p.returncode == rc and doc.get("error", {}).get("check") == cls and re.search(words, text)
    check(name + ": refused", bool(ok), f"{p.returncode} {text}")


def unread(name, policy, words):
    p = verify("attested", policy)
    check(name + ": no policy", p.returncode in (2, 3) and re.search(words, p.stderr + p.stdout), f"{p.returncode} {p.stdout[-300:]} {p.stderr}")


# who, for which names, and how many
accepted("the key of the rule", "one", {"trust": [RULE]})
accepted("a pattern", "one", {"trust": [{"names": ["x", "[st]*"], "keys": A}]})
accepted("the key in the policy itself", "one", {"trust": [{"names": ["*"], "keys": [open("a.pub").read()]}]})
accepted("a name that is given", "one", {"trust": [{"names": ["registry.example/m/*:1.*"], "keys": A}, {"names": ["*"], "keys": B}]}, "--name", "registry.example/m/nano/q:1.2")
refused("the first rule that fits is the one", "one", {"trust": [{"names": ["*"], "keys": B}, RULE]}, "signature", "none of the 1 signatures")
refused("a name without a rule", "one", {"trust": [{"names": ["other", "tt", "T"], "keys": A}]}, "policy", "no rule .* 't'")
refused("another name is given", "one", {"trust": [RULE]}, "policy", "no rule", "--name", "elsewhere:t")
refused("another key", "one", {"trust": [{"names": ["t"], "keys": B}]}, "signature", "none of the 1")
refused("not signed: no downgrade", "plain", {"trust": [RULE]}, "no-signature", "is not signed")
accepted("one of two keys", "one", {"trust": [{"names": ["t"], "keys": A + B}]})
refused("two are asked for, one is there", "one", {"trust": [{"names": ["t"], "keys": A + B, "signatures": 2}]}, "signature", "by 1 of .* 2 are asked for")
accepted("two are asked for and there", "two", {"trust": [{"names": ["t"], "keys": A + B, "signatures": 2}]})
accepted("--key and the policy: both", "two", {"trust": [RULE]}, "--key", "b.pub")
refused("--key beside the policy is not enough", "one", {"trust": [{"names": ["t"], "keys": B}]}, "signature", "none of the 1", "--key", "a.pub")
refused("the policy beside --key is not enough", "one", {"trust": [RULE]}, "signature", "none of the 1", "--key", "b.pub")
# the same signer twice is one
shutil.copytree("one", "twice")
ingot("sign", "oci:twice:t", "-k", "a.key", "--format", "legacy", "--docker-reference", "registry.example/m:t", "-q")
refused("one key in two forms is one signer", "twice", {"trust": [{"names": ["t"], "keys": A + B, "signatures": 2}]}, "signature", "by 1 of")
shutil.copytree("plain", "legacy")
ingot("sign", "oci:legacy:t", "-k", "a.key", "--format", "legacy", "--docker-reference", "registry.example/m:t", "-q")
accepted("a legacy signature alone", "legacy", {"trust": [RULE]})
refused("a legacy signature by another key", "legacy", {"trust": [{"names": ["t"], "keys": B}]}, "signature", "none of the 1")

# attestations
ATT = {"trust": [RULE]}
types = ("provenance", "sbom", "licences", "parity", "https://example.org/seen/v1")
accepted("every attestation, by the builder's key", "attested", {**ATT, "attestations": [{"type": t, "keys": BUILDER} for t in types]})
for t in types:
    refused(f"{t}: missing", "two", {**ATT, "attestations": [{"type": t, "keys": BUILDER}]}, "policy", "attestation .*is missing")
    refused(f"{t}: by another key than asked for", "attested", {**ATT, "attestations": [{"type": t, "keys": ["stranger.pub"]}]}, "policy", "none of the 1")
    refused(f"{t}: not by the rule's key", "attested", {**ATT, "attestations": [{"type": t}]}, "policy", "none of the 1")
refused("two attesters are asked for", "attested", {**ATT, "attestations": [{"type": "sbom", "keys": BUILDER + A, "signatures": 2}]}, "policy", "by 1 signers, .* 2")
accepted("the right builder", "attested", {**ATT, "attestations": [{"type": "provenance", "keys": BUILDER, "builder": "urn:ingot:builder:local"}]})
refused("another builder", "attested", {**ATT, "attestations": [{"type": "provenance", "keys": BUILDER, "builder": "https://ci.example"}]}, "policy", "builder .*urn:ingot:builder:local")
accepted("a source", "attested", {**ATT, "attestations": [{"type": "provenance", "keys": BUILDER, "sources": ["sha256:" + SOURCE]}]})
refused("another source", "attested", {**ATT, "attestations": [{"type": "provenance", "keys": BUILDER, "sources": ["sha256:" + SOURCE, "sha256:" + "0" * 64]}]}, "policy", "source '?sha256:0000")
p = verify("attested", {"attestations": [{"type": "sbom"}]})
check("an attestation with nobody who may make it: undecided", p.returncode == 9 and "nobody is named" in p.stdout, p.stdout[-300:])
for limit, value, fine in (("kl_mean_at_most", 0.019, 0.02), ("top1_at_least", 0.98, 0.97), ("perplexity_ratio_at_most", 1.04, 1.06), ("layer_sqnr_at_least_db", 22, 21)):
    entry = [{"type": "parity", "keys": BUILDER}]
    p = verify("attested", {**ATT, "attestations": entry, "parity": {"texts": ["x"], limit: value}})
    check(f"attested {limit}: broken", p.returncode == 1 and json.loads(p.stdout)["error"]["check"] == "parity", p.stdout[-300:])
    p = verify("attested", {**ATT, "attestations": entry, "parity": {"texts": ["x"], limit: fine}})
    got = [c for c in json.loads(p.stdout)["checks"] if c["name"].startswith("attested ")]
    check(f"attested {limit}: met, and parity itself undecided", p.returncode == 9 and [c["verdict"] for c in got] == ["pass"], p.stdout[-300:])

# statements by the right key that do not say what their type says
shutil.copytree("one", "odd")
broken = {"builder": {"buildDefinition": {"buildType": "x"}, "runDetails": {"builder": {}}}, "type": {"buildDefinition": {}, "runDetails": {"builder": {"id": "x"}}}}
figures = {"kl_mean": 0, "top1_agreement": 1, "ppl_original": 1, "ppl_quantized": 1, "layer_sqnr_db": [99]}
cases = [("provenance", "https://slsa.dev/provenance/v1", broken["builder"], "builder or build type is missing", {}), ("provenance", "https://slsa.dev/provenance/v1", broken["type"], "builder or build type is missing", {}),
         ("parity", "urn:ingot:attestation:parity:v1", {"verdict": "pass"}, "figures are missing", {}), ("parity", "urn:ingot:attestation:parity:v1", {"verdict": "fail", "figures": figures}, "verdict is 'fail'", {}),
         ("parity", "urn:ingot:attestation:parity:v1", {"verdict": "FAILED", "figures": figures}, "verdict is 'FAILED'", {}), ("parity", "urn:ingot:attestation:parity:v1", {"figures": figures}, "verdict is", {}),
         ("licences", "urn:ingot:attestation:licences:v1", {}, "declares no licence", {"licences": ["MIT"]}), ("licences", "urn:ingot:attestation:licences:v1", {"licences": {"declared": "MIT"}}, "declares no licence", {"licences": ["MIT"]}),
         ("licences", "urn:ingot:attestation:licences:v1", {"licences": [{"spdx": "MIT"}], "original": [{"spdx": "GPL-3.0"}]}, "does not allow licence 'GPL", {"licences": ["MIT"]}),
         ("licences", "urn:ingot:attestation:licences:v1", {"licences": [{"spdx": "MIT"}, {}], "original": [{"spdx": "MIT"}]}, "does not allow licence", {"licences": ["MIT"]}),
         ("licences", "urn:ingot:attestation:licences:v1", {"licences": [], "original": [{"spdx": "MIT"}]}, "declares no licence", {"licences": ["MIT"]}),
         ("sbom", "https://cyclonedx.org/bom", {"metadata": {"component": {"licenses": [{"expression": "MIT OR GPL-3.0"}]}}}, "does not allow licence", {"licences": ["MIT"]})]
for i, (name, uri, predicate, words, more) in enumerate(cases):
    json.dump(predicate, open("predicate.json", "w"))
    shutil.copytree("odd", f"odd{i}")
    ingot("attest", f"oci:odd{i}:t", "-k", "builder.key", "--type", uri, "--predicate", "predicate.json", "-q")
    refused(f"{name} {json.dumps(predicate)[:60]}", f"odd{i}", {**ATT, "attestations": [{"type": name, "keys": BUILDER}], **more}, "policy", words)
for key, value, limit, allowed in (("kl_mean", None, "kl_mean_at_most", 1), ("top1_agreement", "1", "top1_at_least", 0.5), ("ppl_quantized", None, "perplexity_ratio_at_most", 2), ("layer_sqnr_db", [], "layer_sqnr_at_least_db", 5), ("layer_sqnr_db", [30, "x"], "layer_sqnr_at_least_db", 5)):
    json.dump({"verdict": "pass", "figures": {**figures, key: value}}, open("predicate.json", "w"))
    shutil.rmtree("odd0")
    shutil.copytree("odd", "odd0")
    ingot("attest", "oci:odd0:t", "-k", "builder.key", "--type", "urn:ingot:attestation:parity:v1", "--predicate", "predicate.json", "-q")
    refused(f"attested {key} of {value!r} meets no limit", "odd0", {**ATT, "attestations": [{"type": "parity", "keys": BUILDER}], "parity": {"texts": ["x"], limit: allowed}}, "parity", "as attested")

# a second statement of the type by the right key that does not hold spoils the first
shutil.copytree("attested", "contradicted")
ingot("keygen", "-o", "second", "-q")
ingot("attest", "oci:contradicted:t", "-k", "second.key", "--type", "provenance", "--builder-id", "https://evil.example/x", "-q")
refused("a contradicting statement by a right key", "contradicted", {**ATT, "attestations": [{"type": "provenance", "keys": BUILDER + ["second.pub"], "builder": "urn:ingot:builder:local"}]}, "policy", "evil.example")
accepted("a contradicting statement by a stranger counts for nothing", "contradicted", {**ATT, "attestations": [{"type": "provenance", "keys": BUILDER, "builder": "urn:ingot:builder:local"}]})

# licences
words = json.load(open("q/ingot.json")).get("licences") or []
card = open("q/README.md").read() if os.path.exists("q/README.md") else ""
allowed = ["Apache-2.0", "apache-2.0"]
lic = [{"type": "licences", "keys": BUILDER}]
if words:
    accepted("allowed licences", "attested", {**ATT, "attestations": lic, "licences": words})
    accepted("allowed licences, held against the bill of materials", "attested", {**ATT, "attestations": [{"type": "sbom", "keys": BUILDER}], "licences": words + allowed})
    refused("a licence that is not allowed", "attested", {**ATT, "attestations": lic, "licences": ["MIT"]}, "policy", "does not allow licence")
    refused("... of the bill of materials", "attested", {**ATT, "attestations": [{"type": "sbom", "keys": BUILDER}], "licences": ["MIT"]}, "policy", "does not allow licence")
else:
    refused("no licence is declared, and some are allowed", "attested", {**ATT, "attestations": lic, "licences": ["MIT"]}, "policy", "declares no licence")
refused("allowed licences and no signed list", "two", {**ATT, "licences": ["MIT"]}, "policy", "attestation urn:ingot:attestation:licences:v1: is missing")

# how new, and which
for v, fine in (("1.9.9", True), ("1.10", True), ("1.10.0", True), ("v1.10.0-rc1", True), ("1.10.0.1", False), ("1.11", False), ("2", False), ("1.100.0", False)):
    (accepted if fine else refused)(f"minimum version {v} of 1.10.0", "one", {**ATT, "minimum_version": v}, *(() if fine else ("policy", "version of image 1: expected")))
ingot("pack", "q", "-o", "oci:candidate:t", "--release", "1.10.0-rc.9", "-q")
ingot("sign", "oci:candidate:t", "-k", "a.key", "-q")
for v, fine in (("1.10.0-rc.9", True), ("1.10.0-rc.8", True), ("1.10.0-beta.20", True), ("1.10.0-rc", True), ("1.9", True), ("1.10.0-rc.10", False), ("1.10.0-rc.9.1", False), ("1.10.0-rc10", False), ("1.10.0", False), ("1.10", False), ("1.10-rc.1", True), ("1.10.0.0", False), ("1.09", True)):
    (accepted if fine else refused)(f"minimum version {v} of 1.10.0-rc.9", "candidate", {**ATT, "minimum_version": v}, *(() if fine else ("policy", "version of image 1: expected")))
ingot("pack", "q", "-o", "oci:unversioned:t", "-q")
ingot("sign", "oci:unversioned:t", "-k", "a.key", "-q")
refused("a minimum version of what has none", "unversioned", {**ATT, "minimum_version": "0"}, "policy", "found none")
subprocess.run([INGOT, "pack", "q", "-o", "oci:dated:t", "-q"], stdout=subprocess.DEVNULL, env={**os.environ, "SOURCE_DATE_EPOCH": "1790000000"}, check=True)
ingot("sign", "oci:dated:t", "-k", "a.key", "-q")
accepted("new enough", "dated", {**ATT, "minimum_created": "2026-09-21"})
refused("too old by an hour", "dated", {**ATT, "minimum_created": "2026-09-21T15:00:00Z"}, "policy", "date of image 1")
refused("made without a date", "one", {**ATT, "minimum_created": "2020-01-01"}, "policy", "date of image 1: 1970")
accepted("the wanted digest", "one", {**ATT, "digest": image})
refused("another wanted digest", "one", {**ATT, "digest": "sha256:" + "1" * 64}, "digest", "the policy's digest: expected sha256:111")

# policies with a slip ask for nothing that they seem to: refused
for name, policy, words in (
        ("unknown section", {**ATT, "thrust": []}, "thrust"), ("unknown key of a rule", {"trust": [{**RULE, "threshold": 2}]}, "threshold"), ("no rules", {"trust": []}, "1 to"),
        ("a rule without keys", {"trust": [{"names": ["t"]}]}, "neither keys nor roots"), ("a rule without names", {"trust": [{"keys": A}]}, "names"),
        ("no names", {"trust": [{"names": [], "keys": A}]}, "1 to"), ("an empty name", {"trust": [{"names": [""], "keys": A}]}, "names"), ("no keys", {"trust": [{"names": ["t"], "keys": []}]}, "empty"),
        ("zero signatures", {"trust": [{**RULE, "signatures": 0}]}, "signatures"), ("more signatures than keys", {"trust": [{**RULE, "signatures": 2}]}, "2 are asked for"),
        ("one key twice", {"trust": [{"names": ["t"], "keys": A + [open("a.pub").read()]}]}, "twice"), ("a key that is not there", {"trust": [{"names": ["t"], "keys": ["none.pub"]}]}, "none.pub"),
        ("a private key's file", {"trust": [{"names": ["t"], "keys": ["a.key"]}]}, "a.key"), ("an identity without roots", {"trust": [{**RULE, "identity": "CN=x"}]}, "needs roots"),
        ("nothing behind digest", "digest:\n", "no value"), ("no digest", {**ATT, "digest": "sha256:12"}, "64 hex"), ("no version", {**ATT, "minimum_version": "new"}, "version like"),
        ("a version that is a number", "minimum_version: 1.10\n", "string"), ("no day", {**ATT, "minimum_created": "yesterday"}, "day like"), ("an empty policy", "{}", "asks for nothing"),
        ("unknown type", {**ATT, "attestations": [{"type": "slsa"}]}, "provenance, sbom"), ("a type twice", {**ATT, "attestations": [{"type": "sbom"}, {"type": "https://cyclonedx.org/bom"}]}, "twice"),
        ("a builder of a bill of materials", {**ATT, "attestations": [{"type": "sbom", "builder": "x:y"}]}, "provenance"), ("no attestations", {**ATT, "attestations": []}, "1 to"),
        ("a source that is no digest", {**ATT, "attestations": [{"type": "provenance", "sources": ["abc"]}]}, "sources"), ("no licences", {**ATT, "licences": []}, "licences"),
        ("texts and a file of them", {**ATT, "parity": {"data": "x.jsonl", "texts": ["x"]}}, "both 'data' and 'texts'"), ("a limit that is no number", "parity: {texts: [x], kl_mean_at_most: .nan}\n", "a limit is not a number"),
        ("an unknown limit", {**ATT, "parity": {"texts": ["x"], "kl_at_most": 1}}, "kl_at_most"), ("keys that are no texts", {"trust": [{"names": ["t"], "keys": [1]}]}, "expected files or PEM"),
        ("a key twice in the file", "digest: sha256:" + "0" * 64 + "\ndigest: sha256:" + "1" * 64 + "\n", "twice|duplicate"), ("an alias", "trust: &x []\nlicences: *x\n", "anchor|alias")):
    unread(name, policy, words)

# certificates
if shutil.which("openssl"):
    open("c.cnf", "w").write("[req]\ndistinguished_name=n\n[n]\n[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n[leaf]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n[c]\ndatabase=db\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n[p]\ncountryName=optional\nstateOrProvinceName=optional\norganizationName=optional\ncommonName=supplied\n")
    open("db", "w"), open("serial", "w").write("01\n")

    def certificate(name, issuer, ext):
        sh = lambda c: subprocess.run(c, shell=True, check=True, capture_output=True)
        sh(f"openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}.key && chmod 600 {name}.key")
        sh(f"openssl req -new -key {name}.key -subj /C=XX/ST=Y/O=Z/CN={name} -config c.cnf -out {name}.csr")
        by = f"-selfsign -keyfile {name}.key" if issuer is None else f"-cert {issuer}.pem -keyfile {issuer}.key"
        sh(f"openssl ca -batch -notext -config c.cnf -name c {by} -startdate 20260101000000Z -enddate 20990101000000Z -extfile c.cnf -extensions {ext} -in {name}.csr -out {name}.pem")
    certificate("root", None, "ca"), certificate("otherroot", None, "ca"), certificate("signer", "root", "leaf")
    for form in ("x509", "notation"):
        shutil.copytree("plain", form)
        ingot("sign", f"oci:{form}:t", "-k", "signer.key", "--certificate-chain", "signer.pem", "--format", form, "-q")
        root = {"names": ["t"], "roots": "root.pem"}
        accepted(f"{form}: a certificate that leads to the root", form, {"trust": [root]})
        accepted(f"{form}: of the right identity", form, {"trust": [{**root, "identity": "CN=signer,O=Z,ST=Y,C=XX"}]})
        refused(f"{form}: of another identity", form, {"trust": [{**root, "identity": "CN=signer2,O=Z,ST=Y,C=XX"}]}, "certificate", "CN=signer,")
        refused(f"{form}: another root", form, {"trust": [{**root, "roots": "otherroot.pem"}]}, "certificate", "issuer")
        refused(f"{form}: expired", form, {"trust": [root]}, "certificate", "expired", "--time", "2100-01-01T00:00:00Z")
        refused(f"{form}: not yet valid", form, {"trust": [root]}, "certificate", "not yet valid", "--time", "2025-12-31")
        p = run("verify", f"oci:{form}:t", "--roots", "root.pem", "-q")
        check(f"{form}: --roots without a policy", p.returncode == 0, p.stderr)
        p = run("verify", f"oci:{form}:t", "--roots", "otherroot.pem", "-q")
        check(f"{form}: --roots of somebody else: refused", p.returncode == 1 and "certificate: " in p.stderr, p.stderr)
    refused("a bare key where a certificate is asked for", "one", {"trust": [{"names": ["t"], "roots": "root.pem"}]}, "signature", "none of the 1")
    refused("a certificate and a key are two signers only by two keys", "x509", {"trust": [{"names": ["t"], "roots": "root.pem", "keys": A, "signatures": 2}]}, "signature", "by 1 of")
else:
    print("skip policies with certificates: openssl is not installed")

# a package with profiles: every image must be signed
ingot("profile", "q", "-e", "vllm@0.17.1", "-g", "b200:1", "-o", "profiles", "-q", "--no-lint")
ingot("pack", "q", "-p", "profiles", "-o", "oci:indexed:t", "--release", "3", "-q")
ingot("sign", "oci:indexed:t", "-k", "a.key", "-q")
accepted("index and images", "indexed", {**ATT, "minimum_version": "3"})
refused("an image's version", "indexed", {**ATT, "minimum_version": "4"}, "policy", "version of image 1")
shutil.copytree("indexed", "platform")
index = json.load(open("indexed/index.json"))
load = lambda d: json.load(open("indexed/blobs/sha256/" + d.split(":")[1]))
top = next(m for m in index["manifests"] if (m.get("annotations") or {}).get("org.opencontainers.image.ref.name") == "t")
for m in [m for m in index["manifests"] if "artifactType" in m]:
    doc = load(m["digest"])
    if doc["subject"]["digest"] == load(top["digest"])["manifests"][1]["digest"]:
        index["manifests"].remove(m)
        os.unlink("indexed/blobs/sha256/" + m["digest"].split(":")[1]), os.unlink("indexed/blobs/sha256/" + doc["layers"][0]["digest"].split(":")[1])
json.dump(index, open("indexed/index.json", "w"))
refused("one image of the index lost its signature", "indexed", ATT, "no-signature", "signature of image 2")
# what the index says of an image is what the image says; everything signed again
index, old = json.load(open("platform/index.json")), top["digest"]
load = lambda d: json.load(open("platform/blobs/sha256/" + d.split(":")[1]))
doc = load(old)
doc["manifests"][1]["platform"]["architecture"] = "arm64"
data = json.dumps(doc).encode()
entry = next(m for m in index["manifests"] if m["digest"] == old)
entry["digest"], entry["size"] = "sha256:" + hashlib.sha256(data).hexdigest(), len(data)
os.unlink("platform/blobs/sha256/" + old[7:])
open("platform/blobs/sha256/" + entry["digest"][7:], "wb").write(data)
for m in [m for m in index["manifests"] if "artifactType" in m and load(m["digest"])["subject"]["digest"] == old]:
    index["manifests"].remove(m)
    for blob in (load(m["digest"])["layers"][0], m):
        os.unlink("platform/blobs/sha256/" + blob["digest"][7:])
json.dump(index, open("platform/index.json", "w"))
ingot("sign", "oci:platform:t", "-k", "a.key", "-q")
refused("the index gives an image another platform", "platform", ATT, "layout", "gives it another platform")
os.chdir("/")
shutil.rmtree(WORK)
finish()
