#!/usr/bin/env python3
"""ingot push and pull beside `skopeo copy`, to and from docker-registry on the loopback: one run, in turn, the best of each;
only ratios of one run count. Every push goes to a repository of its own in an empty registry; skopeo keeps digests and
compresses nothing, as we do. Also CPU seconds and the peak memory of each client, and `cat` of the layout to a file.

usage: push_peers.py INGOT FOLDER [-g GIB] [-n BLOBS] [-r ROUNDS] [-j JOBS]
FOLDER gets a layout of GIB (default 1) in BLOBS (default 8) layers of random bytes unless it has one of that shape."""
import argparse, hashlib, json, os, re, shutil, socket, subprocess, sys, tempfile, threading, time, urllib.request

a = argparse.ArgumentParser()
a.add_argument("ingot")
a.add_argument("folder")
a.add_argument("-g", type=float, default=1)
a.add_argument("-n", type=int, default=8)
a.add_argument("-r", type=int, default=3)
a.add_argument("-j", type=int, default=4)
a = a.parse_args()
if not shutil.which("docker-registry") or not shutil.which("skopeo"):
    sys.exit("push_peers.py: docker-registry and skopeo are needed (make check-interop installs them)")
folder, size = os.path.abspath(a.folder), int(a.g * (1 << 30) / a.n)
layout = f"{folder}/layout-{a.n}x{size}"
MANIFEST, CONFIG, LAYER = (f"application/vnd.oci.image.{x}" for x in ("manifest.v1+json", "config.v1+json", "layer.v1.tar"))


def make():
    os.makedirs(layout + ".new/blobs/sha256")

    def put(pieces, media):
        path, h, n = layout + ".new/blob", hashlib.sha256(), 0
        with open(path, "wb") as f:
            for p in pieces:
                h.update(p)
                n += f.write(p)
        os.rename(path, f"{layout}.new/blobs/sha256/{h.hexdigest()}")
        return {"mediaType": media, "digest": "sha256:" + h.hexdigest(), "size": n}

    def random(n):
        while n:
            k = min(n, 1 << 22)
            yield os.urandom(k)
            n -= k

    layers = [put(random(size), LAYER) for _ in range(a.n)]
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [x["digest"] for x in layers]}}
    doc = {"schemaVersion": 2, "mediaType": MANIFEST, "config": put([json.dumps(config).encode()], CONFIG), "layers": layers}
    entry = {**put([json.dumps(doc).encode()], MANIFEST), "annotations": {"org.opencontainers.image.ref.name": "v1"}}
    open(layout + ".new/oci-layout", "w").write('{"imageLayoutVersion":"1.0.0"}')
    json.dump({"schemaVersion": 2, "manifests": [entry]}, open(layout + ".new/index.json", "w"))
    os.rename(layout + ".new", layout)


class Registry:
    def __enter__(self):
        self.dir = tempfile.mkdtemp(dir=folder)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.host = "127.0.0.1:%d" % s.getsockname()[1]
        with open(self.dir + "/r.yml", "w") as f:
            f.write(f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {self.dir}/data}}}}\nhttp: {{addr: '{self.host}'}}\n")
        self.p = subprocess.Popen(["docker-registry", "serve", self.dir + "/r.yml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://{self.host}/v2/")
                return self
            except OSError:
                time.sleep(0.05)
        sys.exit("push_peers.py: docker-registry does not start")

    def __exit__(self, *args):
        self.p.terminate()
        self.p.wait()
        shutil.rmtree(self.dir)


def run(*command):
    """Wall seconds, CPU seconds of the client, peak MiB."""
    start, most = time.perf_counter(), [0]
    p = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "XDG_CACHE_HOME": folder + "/cache"})

    def watch():
        while True:
            try:
                most[0] = max(most[0], int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{p.pid}/status").read())[1]))
            except (OSError, TypeError):
                return
            time.sleep(0.01)

    t = threading.Thread(target=watch)
    t.start()
    error = p.stderr.read()
    _, status, usage = os.wait4(p.pid, 0)
    wall = time.perf_counter() - start
    t.join()
    if status:
        sys.exit(f"push_peers.py: {' '.join(command)}: {error.decode()[-500:]}")
    p.returncode = 0
    return wall, usage.ru_utime + usage.ru_stime, most[0] / 1024


if not os.path.exists(layout):
    shutil.rmtree(layout + ".new", ignore_errors=True)
    make()
SK = ["skopeo", "--insecure-policy", "copy", "-q", "--preserve-digests"]
rows = {}
for _ in range(a.r):
    with Registry() as r:
        back = r.dir + "/back"
        turns = {
            "cat": lambda: run("sh", "-c", f"cat {layout}/blobs/sha256/* >{r.dir}/cat"),
            "ingot push": lambda: run(a.ingot, "push", f"oci:{layout}:v1", f"{r.host}/ingot:v1", "--plain-http", "-q", "-j", str(a.j)),
            "skopeo push": lambda: run(*SK, "--dest-tls-verify=false", f"oci:{layout}:v1", f"docker://{r.host}/skopeo:v1"),
            "ingot pull": lambda: run(a.ingot, "pull", f"{r.host}/ingot:v1", "-o", f"oci:{back}-i:v1", "--plain-http", "-q", "-j", str(a.j)),
            "skopeo pull": lambda: run(*SK, "--src-tls-verify=false", f"docker://{r.host}/ingot:v1", f"oci:{back}-s:v1"),
        }
        for name, turn in turns.items():
            rows.setdefault(name, []).append(turn())
            # Blobs of one push must not be found by the next: the registry keeps them once for all repositories.
            if name == "cat":
                os.unlink(r.dir + "/cat")
total = a.n * size / 1e9
print(f"{total:.2f} GB in {a.n} layers, {a.r} rounds, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
for name, results in rows.items():
    wall, cpu, peak = (min(x[i] for x in results) if i < 2 else max(x[i] for x in results) for i in range(3))
    print(f"{name:12} {wall:7.2f} s  {total / wall:6.2f} GB/s  CPU {cpu:6.2f} s  peak {peak:6.1f} MiB")
for what in ("push", "pull"):
    ours, theirs = (min(x[0] for x in rows[f"{who} {what}"]) for who in ("ingot", "skopeo"))
    print(f"{what}: {theirs / ours:.2f} times skopeo's speed")
