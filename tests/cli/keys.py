#!/usr/bin/env python3
"""Keys of every kind and form: made by openssl, used by `ingot sign`, and the signature checked by openssl again over bytes that
this file puts together by itself. Passphrases from a variable, a descriptor, a terminal. A token (SoftHSM) by PKCS#11."""
import base64, json, os, pty, re, shutil, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, check, finish
WORK = tempfile.mkdtemp()
HSM = next((p for p in ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so") if os.path.exists(p)), None)
os.environ.pop("INGOT_KEY_PASSPHRASE", None)


def ingot(*args, env=None, pass_fds=()):
    return subprocess.run([INGOT, *args], capture_output=True, text=True, env={**os.environ, **(env or {})}, pass_fds=pass_fds, stdin=subprocess.DEVNULL,
                          start_new_session=True, timeout=60)


def run(cmd):
    subprocess.run(cmd, shell=True, check=True, cwd=WORK, capture_output=True)


os.makedirs(WORK + "/m")
open(WORK + "/m/config.json", "w").write('{"model_type":"nemotron_h"}\n')
p = ingot("pack", WORK + "/m", "-o", f"oci:{WORK}/plain:t", "-q")
if p.returncode:
    sys.exit("FAIL pack: " + p.stderr)


def fresh():
    shutil.rmtree(WORK + "/p", ignore_errors=True)
    shutil.copytree(WORK + "/plain", WORK + "/p")
    return f"oci:{WORK}/p:t"


def bundle(layout=WORK + "/p"):
    """Statement bytes as signed (DSSE's pre-authentication encoding) and signature of the last bundle."""
    blob = lambda d: open(f"{layout}/blobs/sha256/{d['digest'][7:]}", "rb").read()
    entry = [m for m in json.load(open(layout + "/index.json"))["manifests"] if m.get("artifactType")][-1]
    e = json.loads(blob(json.loads(blob(entry))["layers"][0]))["dsseEnvelope"]
    payload = base64.b64decode(e["payload"])
    return b"DSSEv1 28 application/vnd.in-toto+json %d " % len(payload) + payload, base64.b64decode(e["signatures"][0]["sig"])


def openssl_verifies(pub, ed25519=False):
    message, sig = bundle()
    open(WORK + "/msg", "wb").write(message)
    open(WORK + "/sig", "wb").write(sig)
    how = ["pkeyutl", "-verify", "-pubin", "-inkey", pub, "-rawin", "-in", WORK + "/msg", "-sigfile", WORK + "/sig"] if ed25519 else \
          ["dgst", "-sha256", "-verify", pub, "-signature", WORK + "/sig", WORK + "/msg"]
    return subprocess.run(["openssl", *how], capture_output=True).returncode == 0


def signs(name, key, pub, ed25519=False, **kw):
    ref = fresh()
    p = ingot("sign", ref, "-k", key, "-q", **kw)
    check(f"{name}: signs, and openssl verifies", p.returncode == 0 and openssl_verifies(pub, ed25519), p.stderr)
    v = ingot("verify", ref, "--key", pub, "--json", "-q")
    check(f"{name}: our verify takes it", '"signature","verdict":"pass"' in v.stdout.replace(" ", "") or "is signed by key" in v.stdout, v.stdout + v.stderr)


def refused(name, key, status, words, **kw):
    p = ingot("sign", fresh(), "-k", key, **kw)
    check(f"{name}: refused with {status} and a sentence", p.returncode == status and words in p.stderr and len(re.sub(r"\nusage: .*", "", p.stderr).strip().splitlines()) == 1, f"{p.returncode} {p.stderr}")


if not shutil.which("openssl"):
    print("skip keys: openssl is not installed")
else:
    made = {"p256": "EC -pkeyopt ec_paramgen_curve:P-256", "p384": "EC -pkeyopt ec_paramgen_curve:P-384", "p521": "EC -pkeyopt ec_paramgen_curve:P-521",
            "rsa2048": "RSA -pkeyopt rsa_keygen_bits:2048", "rsa3072": "RSA -pkeyopt rsa_keygen_bits:3072", "ed25519": "ED25519",
            "rsa1024": "RSA -pkeyopt rsa_keygen_bits:1024", "k256": "EC -pkeyopt ec_paramgen_curve:secp256k1", "x25519": "X25519",
            "pss": "RSA-PSS -pkeyopt rsa_keygen_bits:2048", "p224": "EC -pkeyopt ec_paramgen_curve:secp224r1"}
    for name, how in made.items():
        run(f"openssl genpkey -algorithm {how} -out {name}.pem && openssl pkey -in {name}.pem -pubout -out {name}.pub && chmod 600 {name}.pem")
    for name in ("p256", "p384", "p521", "rsa2048", "rsa3072", "ed25519"):
        signs(name, f"{WORK}/{name}.pem", f"{WORK}/{name}.pub", name == "ed25519")
    for name, words in (("rsa1024", "RSA with 1024 bits"), ("k256", "curve secp256k1"), ("x25519", "another kind of key"), ("pss", "another kind of key"), ("p224", "curve secp224r1")):
        refused(name, f"{WORK}/{name}.pem", 4, words)

    # ---- forms of files ----
    run("openssl pkey -in p256.pem -traditional -out sec1.pem && chmod 600 sec1.pem")
    check("the SEC1 file says so", "BEGIN EC PRIVATE KEY" in open(WORK + "/sec1.pem").read())
    signs("SEC1", WORK + "/sec1.pem", WORK + "/p256.pub")
    run("openssl pkcs8 -topk8 -in p256.pem -passout pass:horse -out enc.pem && chmod 600 enc.pem")
    refused("encrypted, without a passphrase", WORK + "/enc.pem", 2, "is encrypted")
    refused("encrypted, with another", WORK + "/enc.pem", 2, "does not open it", env={"INGOT_KEY_PASSPHRASE": "cow"})
    signs("encrypted, passphrase from INGOT_KEY_PASSPHRASE", WORK + "/enc.pem", WORK + "/p256.pub", env={"INGOT_KEY_PASSPHRASE": "horse"})
    os.chmod(WORK + "/enc.pem", 0o640)
    refused("a file that others read", WORK + "/enc.pem", 2, "may be read by others", env={"INGOT_KEY_PASSPHRASE": "horse"})
    os.chmod(WORK + "/enc.pem", 0o600)
    os.symlink("enc.pem", WORK + "/link.pem")
    refused("a symbolic link", WORK + "/link.pem", 2, "symbolic link", env={"INGOT_KEY_PASSPHRASE": "horse"})

    # ---- where the passphrase comes from ----
    p = ingot("sign", fresh(), "-k", WORK + "/enc.pem", "--passphrase-env", "MINE", env={"MINE": "horse", "INGOT_KEY_PASSPHRASE": "cow"})
    check("--passphrase-env names the variable", p.returncode == 0 and openssl_verifies(WORK + "/p256.pub"), p.stderr)
    p = ingot("sign", fresh(), "-k", WORK + "/enc.pem", "--passphrase-env", "ABSENT")
    check("--passphrase-env of no variable", p.returncode == 2 and "no variable 'ABSENT'" in p.stderr, p.stderr)
    r, w = os.pipe()
    os.write(w, b"horse\nmore\n")
    os.close(w)
    p = ingot("sign", fresh(), "-k", WORK + "/enc.pem", "--passphrase-fd", str(r), pass_fds=(r,))
    check("--passphrase-fd reads one line", p.returncode == 0 and openssl_verifies(WORK + "/p256.pub") and os.read(r, 100) == b"more\n", p.stderr)
    os.close(r)
    p = ingot("sign", fresh(), "-k", WORK + "/enc.pem", "--passphrase-fd", "77")
    check("--passphrase-fd of no descriptor", p.returncode == 5 and "passphrase-fd" in p.stderr, f"{p.returncode} {p.stderr}")

    def on_terminal(typed, *args):
        """Runs with a terminal of its own; what it showed, and its status."""
        pid, fd = pty.fork()
        if pid == 0:
            os.execv(INGOT, [INGOT, *args])
        shown = b""
        try:
            for line in typed:
                while not shown.rstrip().endswith(b":"):
                    shown += os.read(fd, 1000)
                time.sleep(0.1)
                os.write(fd, line + b"\n")
                shown += b" "
            while True:
                more = os.read(fd, 1000)
                if not more:
                    break
                shown += more
        except OSError:
            pass
        return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    shown, rc = on_terminal([b"horse"], "sign", fresh(), "-k", WORK + "/enc.pem", "-q")
    check("the terminal is asked, and does not echo", rc == 0 and "passphrase of" in shown and "horse" not in shown and openssl_verifies(WORK + "/p256.pub"), shown)
    shown, rc = on_terminal([b"a b", b"a b"], "keygen", "-o", WORK + "/tty", "--encrypt")
    check("keygen --encrypt asks twice", rc == 0 and "a b" not in shown and "ENCRYPTED" in open(WORK + "/tty.key").read(), shown)
    shown, rc = on_terminal([b"a b", b"a c"], "keygen", "-o", WORK + "/tty2", "--encrypt")
    check("keygen --encrypt, two that differ", rc == 2 and "differ" in shown and not os.path.exists(WORK + "/tty2.key"), shown)
    p = ingot("keygen", "-o", WORK + "/tty3", "--encrypt")
    check("keygen --encrypt with nobody to ask", p.returncode == 2 and not os.path.exists(WORK + "/tty3.key"), p.stderr)

    # ---- cosign's own form ----
    p = ingot("keygen", "-o", WORK + "/cs", "--format", "cosign", env={"INGOT_KEY_PASSPHRASE": "horse"})
    check("keygen --format cosign", p.returncode == 0 and open(WORK + "/cs.key").read().startswith("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"), p.stderr)
    signs("cosign's form", WORK + "/cs.key", WORK + "/cs.pub", env={"INGOT_KEY_PASSPHRASE": "horse"})
    refused("cosign's form, another passphrase", WORK + "/cs.key", 2, "does not open it", env={"INGOT_KEY_PASSPHRASE": "cow"})
    try:
        sys.path.insert(0, os.environ.get("INGOT_SHARED", "") + "/interop")
        sys.dont_write_bytecode = True
        import cosign_key
        der = cosign_key.decrypt(WORK + "/cs.key", "horse")
        pub = subprocess.run(["openssl", "pkey", "-inform", "DER", "-pubout"], input=der, capture_output=True).stdout
        check("another program opens what keygen wrote", pub == open(WORK + "/cs.pub", "rb").read())
        open(WORK + "/py.key", "w").write(cosign_key.encrypt(WORK + "/p256.pem", "zebra"))
        os.chmod(WORK + "/py.key", 0o600)
        signs("cosign's form by another program", WORK + "/py.key", WORK + "/p256.pub", env={"INGOT_KEY_PASSPHRASE": "zebra"})
    except (ImportError, AttributeError):
        print("skip keys, cosign's form by another program: it is in the shared folder")

    # ---- a token ----
    if not HSM or not shutil.which("softhsm2-util"):
        print("skip keys, token: softhsm2 is not installed")
    else:
        os.makedirs(WORK + "/tokens")
        open(WORK + "/hsm.conf", "w").write(f"directories.tokendir = {WORK}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
        os.environ.update(SOFTHSM2_CONF=WORK + "/hsm.conf", PKCS11_MODULE=HSM)
        run("softhsm2-util --init-token --free --label 'release keys' --so-pin 12345678 --pin 1234")
        run("softhsm2-util --init-token --free --label other --so-pin 12345678 --pin 1234")
        for i, name in enumerate(("p256", "p384", "p521")):
            run(f"openssl pkcs8 -topk8 -nocrypt -in {name}.pem -out imp.pem && softhsm2-util --import imp.pem --token 'release keys' --label {name} --id 0{i + 1} --pin 1234")
        run("openssl pkcs8 -topk8 -nocrypt -in rsa2048.pem -out imp.pem && softhsm2-util --import imp.pem --token 'release keys' --label rsa --id 09 --pin 1234")
        pin = {"INGOT_KEY_PASSPHRASE": "1234"}
        for name in ("p256", "p384", "p521"):
            signs(f"token, {name}", f"pkcs11:token=release%20keys;object={name};type=private", f"{WORK}/{name}.pub", env=pin)
        signs("token, by id, module in the URI", f"pkcs11:token=release%20keys;id=%01?module-path={HSM}", WORK + "/p256.pub", env={**pin, "PKCS11_MODULE": "/none"})
        open(WORK + "/pin", "w").write("1234\n")
        os.chmod(WORK + "/pin", 0o600)
        signs("token, PIN from a file", f"pkcs11:token=release%20keys;id=%01?pin-source=file:{WORK}/pin", WORK + "/p256.pub")
        refused("token, a wrong PIN", "pkcs11:token=release%20keys;object=p256", 2, "the PIN is wrong", env={"INGOT_KEY_PASSPHRASE": "9999"})
        refused("token, PIN on the command line", "pkcs11:token=release%20keys;object=p256?pin-value=1234", 2, "seen by others")
        refused("token, no such key", "pkcs11:token=release%20keys;object=p999", 3, "no private key", env=pin)
        refused("token, an RSA key", "pkcs11:token=release%20keys;object=rsa", 3, "no private key (elliptic curve)", env=pin)
        refused("token, no such token", "pkcs11:token=x;object=p256", 3, "no token fits", env=pin)
        refused("token, several tokens", "pkcs11:object=p256", 3, "2 tokens fit", env=pin)
        refused("token, no module", "pkcs11:object=p256?module-path=/no/module.so", 7, "cannot open the PKCS#11 module", env=pin)

shutil.rmtree(WORK, ignore_errors=True)
finish()
