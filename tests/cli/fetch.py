#!/usr/bin/env python3
"""`ingot fetch` against a hub of our own on the loopback: what arrives is what its list says, whatever happens on the way; the token
goes to nobody else; nothing that is not whole can be read."""
import hashlib, json, os, shutil, signal, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
from fake_hub import COMMIT, Hub, git_id

MODEL = ROOT + "/examples/nano-hybrid/model"
W = tempfile.mkdtemp()
TOKEN = "hf_secret"


FILES = {n: open(f"{MODEL}/{n}", "rb").read() for n in os.listdir(MODEL)}
FILES["sub dir/note #1.txt"] = b"with a blank"
FILES["copy/README.md"] = FILES["README.md"]
LARGE = {n for n in FILES if n.endswith(".safetensors")}
hub = Hub(FILES)


def environment(home):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "XDG_", "http", "HTTP", "no_proxy"))}
    return {**env, "HF_HOME": home, "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN}


def fetch(home, *args, ref="hf://nvidia/nano@main", **more):
    return subprocess.run([INGOT, "fetch", ref, "--plain-http", "-q", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**environment(home), **more})


def snapshot(home):
    base = f"{home}/hub/models--nvidia--nano/snapshots/{COMMIT}"
    return {os.path.relpath(os.path.join(d, f), base): open(os.path.join(d, f), "rb").read() for d, _, fs in os.walk(base) for f in fs}


def inspect(home):
    return subprocess.run([INGOT, "inspect", "hf://nvidia/nano", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(home))


# ---- as it should be ----
home = W + "/a"
p = fetch(home, "--json")
doc = json.loads(p.stdout or "{}")
check("fetch", p.returncode == 0 and doc.get("commit") == COMMIT and doc.get("files") == len(FILES) and doc.get("present") == 0, p.stderr or doc)
check("every file, byte for byte", snapshot(home) == FILES)
blobs = set(os.listdir(f"{home}/hub/models--nvidia--nano/blobs"))
check("blobs under the names that huggingface_hub gives them", blobs == {hashlib.sha256(d).hexdigest() if n in LARGE else git_id(d) for n, d in FILES.items()}, blobs)
check("the reference", open(f"{home}/hub/models--nvidia--nano/refs/main").read() == COMMIT)
p = inspect(home)
plain = json.loads(subprocess.run([INGOT, "inspect", MODEL, "--json"], stdout=subprocess.PIPE, text=True).stdout)
check("hf:// reads it", p.returncode == 0 and json.loads(p.stdout) == plain, p.stderr)
at_home = [a for port, _, a in hub.seen if port == hub.server.server_port]
elsewhere = [a for port, _, a in hub.seen if port == hub.cdn.server_port]
check("the token goes to the hub and to nobody else", set(at_home) == {"Bearer " + TOKEN} and set(elsewhere) == {None}, (set(at_home), set(elsewhere)))
hub.seen.clear()
one = sorted(LARGE)[0]
p = fetch(home, "--json", ref=f"hf://nvidia/nano@{COMMIT}")
check("again: everything is there", p.returncode == 0 and json.loads(p.stdout)["present"] == len(FILES) - 1 and len(hub.seen) == 1, (p.stderr, p.stdout, hub.seen))
for name in ("config.json", one):
    blob = f"{home}/hub/models--nvidia--nano/blobs/" + (git_id(FILES[name]) if name not in LARGE else hashlib.sha256(FILES[name]).hexdigest())
    with open(blob, "r+b") as f:
        f.write(b"[")
    p = fetch(home, "--json")
    check(f"a damaged {'large' if name in LARGE else 'small'} file of the right size is fetched again", p.returncode == 0 and snapshot(home) == FILES and json.loads(p.stdout)["present"] == len(FILES) - 2, (p.stderr, p.stdout))
home = W + "/some"
p = fetch(home, "--exclude", "*.safetensors")
check("--exclude", p.returncode == 0 and set(snapshot(home)) == set(FILES) - LARGE, p.stderr)
p = fetch(home, "--include", "model-0000*")
check("--include adds to what is there", p.returncode == 0 and set(snapshot(home)) >= LARGE, p.stderr)

# ---- what may pass ----
home = W + "/cut"
hub.cut, hub.ranges, hub.fail = {one: [100000, 3000000, 3000001]}, [], {"config.json": [503, 429]}
p = fetch(home, "-j", "1")
check("broken connections and 5xx are tried again, from where they broke", p.returncode == 0 and snapshot(home) == FILES and [r for f, r in hub.ranges if f == one] == [None, "bytes=100000-", "bytes=3000000-", "bytes=3000001-"], (p.stderr, hub.ranges))
home = W + "/kill"
hub.cut, hub.fail, hub.ranges, hub.slow = {}, {}, [], 0.03
job = subprocess.Popen([INGOT, "fetch", "hf://nvidia/nano@main", "--plain-http", "-q"], env=environment(home), stderr=subprocess.DEVNULL)
partial = f"{home}/hub/models--nvidia--nano/blobs"
for _ in range(400):
    if os.path.isdir(partial) and any(f.endswith(".incomplete") and os.path.getsize(f"{partial}/{f}") > 200000 for f in os.listdir(partial)):
        break
    time.sleep(0.02)
job.send_signal(signal.SIGKILL)
job.wait()
hub.slow = 0
check("a killed fetch leaves no snapshot", not os.path.exists(f"{home}/hub/models--nvidia--nano/snapshots/{COMMIT}") and inspect(home).returncode == 3)
hub.ranges = []
p = fetch(home)
check("and the next one goes on", p.returncode == 0 and snapshot(home) == FILES and any(r for _, r in hub.ranges), (p.stderr, hub.ranges))

# ---- what is wrong ----


def refused(name, status, part, *args, ref="hf://nvidia/nano@main", **env):
    home = tempfile.mkdtemp(dir=W)
    p = fetch(home, "--retries", "1", *args, ref=ref, **env)
    there = os.path.exists(f"{home}/hub/models--nvidia--nano/snapshots/{COMMIT}")
    check(f"refused: {name}", p.returncode == status and part in p.stderr and TOKEN not in p.stderr and not there, (p.returncode, p.stderr))
    hub.list, hub.lie, hub.fail, hub.cut = None, {}, {}, {}


hub.lie = {one: FILES[one][:-1] + b"\0" if FILES[one][-1:] != b"\0" else FILES[one][:-1] + b"\1"}
refused("a large file with another digest", 1, one)
hub.lie = {"config.json": FILES["config.json"] + b" "}
refused("a small file with another digest", 1, "config.json")
hub.lie = {one: FILES[one] + b"more"}
refused("more than the list says", 1, one)
hub.fail = {"/api/models": [401] * 9}
refused("no access", 10, "HF_TOKEN")
hub.fail = {"/api/models": [503] * 9}
refused("a hub that is down", 10, "503")
refused("a model that is not there", 10, "there is none", ref="hf://nvidia/other@main")


def listing(change):
    hub.list = None
    doc = hub.listing()
    change(doc)
    hub.list = doc


def first(key, value):
    return lambda d: next(r for r in d["siblings"] if "lfs" not in r).update({key: value})


for name, change, status, part in (
    ("a path out of the folder", first("rfilename", "../../x"), 10, "'../../x'"),
    ("an absolute path", first("rfilename", "/etc/x"), 10, "'/etc/x'"),
    ("a name twice", lambda d: d["siblings"].append(dict(d["siblings"][0])), 10, "twice"),
    ("a digest that is none", first("blobId", "zz"), 10, "'zz'"),
    ("a size that is none", first("size", -1), 3, "size"),
    ("a small file without an end", first("size", 1 << 40), 10, "no SHA-256"),
    ("a list for another commit", lambda d: d.update(sha="x"), 10, "commit 'x'"),
    ("a list without files", lambda d: d.update(siblings=[]), 2, "no file"),
    ("a list that is none", lambda d: d.pop("siblings"), 3, "siblings"),
):
    listing(change)
    refused(name, status, part)
refused("an endpoint without TLS", 2, "--plain-http", HF_ENDPOINT="http://192.0.2.1")
refused("an endpoint that is no address", 2, "https://", HF_ENDPOINT="ftp://x")
refused("no endpoint", 2, "HF_ENDPOINT", HF_ENDPOINT="")
refused("offline by choice", 2, "HF_HUB_OFFLINE", HF_HUB_OFFLINE="1")
refused("a name that is none", 2, "hf://", ref="nvidia/nano")
shutil.rmtree(W, ignore_errors=True)
finish()
