#!/usr/bin/env python3
"""Certificates that must not count, one per row: `--source-roots` on a folder that is signed with them. All made by openssl with
fixed faults: expired leaf, authority and root, wrong purpose, an authority that is none, another root, SHA-1, other curves."""
import base64, json, os, shutil, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, check, finish
WORK = tempfile.mkdtemp()
os.chdir(WORK)


def sh(cmd):
    subprocess.run(cmd, shell=True, check=True, capture_output=True)


if not shutil.which("openssl"):
    print("skip certificates: openssl is not installed")
    sys.exit(0)
open("c.cnf", "w").write("""[req]
distinguished_name=n
[n]
[ca]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign
[nosign]
basicConstraints=critical,CA:TRUE
keyUsage=critical,cRLSign
[noca]
basicConstraints=critical,CA:FALSE
keyUsage=critical,keyCertSign
[tlsca]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign
extendedKeyUsage=serverAuth
[leaf]
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=codeSigning
[tls]
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
[anyuse]
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
[noku]
basicConstraints=critical,CA:FALSE
extendedKeyUsage=codeSigning
[unknown]
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=codeSigning
1.2.3.4=critical,DER:0500
[c]
database=db
serial=serial
new_certs_dir=.
default_md=sha256
policy=p
[p]
commonName=supplied
""")
open("db", "w")
open("serial", "w").write("01\n")
NOW = ("20260101000000Z", "20990101000000Z")
OLD = ("20200101000000Z", "20210101000000Z")
NEW = ("20980101000000Z", "20990101000000Z")


def certificate(name, issuer, ext, when=NOW, md="sha256", key=None):
    """name.pem by issuer (itself: None), with the key name.key unless another is named."""
    key = key or name
    if not os.path.exists(key + ".key"):
        sh(f"openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {key}.key && chmod 600 {key}.key")
    sh(f"openssl req -new -key {key}.key -subj /CN={name} -config c.cnf -out {name}.csr")
    by = f"-selfsign -keyfile {key}.key" if issuer is None else f"-cert {issuer}.pem -keyfile {issuer}.key"
    sh(f"openssl ca -batch -notext -config c.cnf -name c {by} -md {md} -startdate {when[0]} -enddate {when[1]} -extfile c.cnf -extensions {ext} -in {name}.csr -out {name}.pem")


os.makedirs("m")
open("m/config.json", "w").write('{"model_type":"nemotron_h"}\n')
certificate("root", None, "ca")
certificate("mid", "root", "ca")
certificate("leaf", "mid", "leaf", key="signer")
subprocess.run([INGOT, "sign", "m", "-k", "signer.key", "--format", "oms", "--certificate-chain", "leaf.pem", "-q"], check=True, capture_output=True)
GOOD = json.load(open("m/model.sig"))
der = lambda f: base64.b64encode(base64.b64decode("".join(l for l in open(f).read().splitlines() if not l.startswith("-")))).decode()


def attempt(chain, roots="root"):
    """The good signature with another chain in it (the key stays), held against a root."""
    sig = json.loads(json.dumps(GOOD))
    sig["verificationMaterial"] = {"x509CertificateChain": {"certificates": [{"rawBytes": c if len(c) > 64 else der(c + ".pem")} for c in chain]}}
    json.dump(sig, open("m/model.sig", "w"))
    p = subprocess.run([INGOT, "convert", "m", "--to", "safetensors", "-o", "out", "--source-roots", roots + ".pem"], capture_output=True, text=True)
    return p.returncode, p.stderr


rc, text = attempt(["leaf", "mid"])
check("a good chain gets past the signature", "certificate" not in text and "signature" not in text, text)
rc, text = attempt(["leaf", "mid", "root"])
check("... with its root in it too", "certificate" not in text and "signature" not in text, text)


def refused(name, words, chain, roots="root"):
    rc, text = attempt(chain, roots)
    check(f"{name}: refused", rc == 1 and "certificate: " in text and words in text and not os.path.exists("out"), f"{rc} {text}")


for name, ext, when, md, words in (
        ("expired leaf", "leaf", OLD, "sha256", "expired"), ("leaf of the future", "leaf", NEW, "sha256", "not yet valid"),
        ("leaf for TLS", "tls", NOW, "sha256", "not for signing code"), ("leaf for anything", "anyuse", NOW, "sha256", "not for signing code"),
        ("leaf without key usage", "noku", NOW, "sha256", "digitalSignature"), ("leaf that is an authority", "ca", NOW, "sha256", "authority"),
        ("critical extension that nobody knows", "unknown", NOW, "sha256", "unhandled critical"), ("leaf signed with SHA-1", "leaf", NOW, "sha1", "weak")):
    short = name.replace(" ", "")[:24]
    certificate(short, "mid", ext, when, md, key="signer")
    refused(name, words, [short, "mid"])
for name, issuer, ext, when, words in (
        ("expired authority between", "root", "ca", OLD, "expired"), ("authority that is none", "root", "noca", NOW, "CA"), ("authority that may not sign", "root", "nosign", NOW, ""),
        ("authority for TLS", "root", "tlsca", NOW, "not for signing code")):
    short = name.replace(" ", "")[:24]
    certificate(short, issuer, ext, when)
    certificate("l" + short, short, "leaf", key="signer")
    refused(name, words, ["l" + short, short])
certificate("oldroot", None, "ca", OLD)
certificate("underold", "oldroot", "leaf", key="signer")
refused("expired root", "expired", ["underold"], "oldroot")
certificate("otherroot", None, "ca")
refused("another root", "issuer", ["leaf", "mid"], "otherroot")
refused("an authority missing between", "issuer", ["leaf"])
certificate("stranger", "mid", "leaf")
refused("a chain of another key", "not by the key of its certificate", ["stranger", "mid"])
certificate("selfmade", None, "leaf", key="signer")
refused("a self-signed leaf that nobody trusts", "", ["selfmade"])
for name, chain, words in (("too many certificates", ["leaf"] * 9, "expected 1 to 8"), ("not a certificate", [base64.b64encode(b"x" * 99).decode()], "not an X.509 certificate"),
                           ("bytes behind a certificate", [base64.b64encode(base64.b64decode(der("leaf.pem")) + b"\0").decode()], "bytes behind")):
    rc, text = attempt(chain)
    check(f"{name}: refused", rc == 3 and words in text, f"{rc} {text}")
json.dump({**GOOD, "verificationMaterial": {"publicKey": {}}}, open("m/model.sig", "w"))
p = subprocess.run([INGOT, "convert", "m", "--to", "safetensors", "-o", "out", "--source-roots", "root.pem"], capture_output=True, text=True)
check("a bare key where a certificate is asked for: refused", p.returncode == 1 and "holds no certificate" in p.stderr, p.stderr)

os.chdir("/")
shutil.rmtree(WORK, ignore_errors=True)
finish()
