#!/usr/bin/env python3
"""ingot pack beside what bounds it and beside podman, in one run: copying the same files, SHA-256 by OpenSSL on as many threads (each
thread hashes its share once), `podman build` with the same COPY. In turn, the best of each; only ratios of one run count.

usage: pack_peers.py INGOT FOLDER [-g GIB] [-r ROUNDS] [-t THREADS] [-s SHARDS] [--no-podman]
FOLDER gets a model of GIB gibibytes in SHARDS files (default 8 in 2) unless it has one, and the outputs; three times the size is used."""
import argparse, json, os, random, shutil, struct, subprocess, sys, threading, time

a = argparse.ArgumentParser()
a.add_argument("ingot")
a.add_argument("folder")
a.add_argument("-g", type=float, default=8)
a.add_argument("-r", type=int, default=3)
a.add_argument("-t", type=int, default=2)
a.add_argument("-s", type=int, default=2)
a.add_argument("--no-podman", action="store_true")
a = a.parse_args()
model, out = a.folder + "/model", a.folder + "/out"


def make():
    os.makedirs(model)
    rng = random.Random(0)
    piece = rng.randbytes(1 << 24)
    n = int(a.g * (1 << 30) / a.s) >> 24
    for i in range(a.s):
        head = json.dumps({f"w{i}": {"dtype": "U8", "shape": [n << 24], "data_offsets": [0, n << 24]}}).encode()
        head += b" " * (-(len(head) + 8) % 4096)
        with open(f"{model}/model-{i + 1:05}-of-{a.s:05}.safetensors", "wb") as f:
            f.write(struct.pack("<Q", len(head)) + head)
            for k in range(n):
                f.write(k.to_bytes(8, "little") + piece[8:])
    json.dump({"model_type": "none"}, open(model + "/config.json", "w"))


if not os.path.exists(model):
    make()
files = sorted(model + "/" + f for f in os.listdir(model))
size = sum(os.path.getsize(f) for f in files)
for f in files:     # into the page cache, for everybody alike
    subprocess.run(["cat", f], stdout=subprocess.DEVNULL, check=True)


def peak_kib(command, **kw):
    p = subprocess.run(["/usr/bin/env", "python3", "-c", "import resource,subprocess,sys; r=subprocess.run(sys.argv[1:]).returncode; "
                        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); sys.exit(r)", *command], capture_output=True, text=True, **kw)
    if p.returncode:
        sys.exit(f"{command[0]}: {p.stderr}")
    return int(p.stderr.split()[-1])


def clear():
    shutil.rmtree(out, ignore_errors=True)


def pack():
    return peak_kib([a.ingot, "pack", model, "-o", f"oci:{out}:t", "-t", str(a.t), "-q"])


def copy():
    os.makedirs(out)
    for f in files:
        subprocess.run(["cp", "--reflink=never", f, out], check=True)
    subprocess.run(["sync", "-f", out], check=True)     # pack's layers are on the disk too when it is done


def openssl():
    def work(k):
        for f in files[k::a.t]:
            subprocess.run(["openssl", "dgst", "-sha256", f], stdout=subprocess.DEVNULL, check=True)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(a.t)]
    [t.start() for t in threads]
    [t.join() for t in threads]


def podman():
    os.makedirs(out)
    open(a.folder + "/Containerfile", "w").write("FROM scratch\nCOPY model /models\n")
    subprocess.run(["podman", "--root", out + "/root", "--runroot", out + "/run", "--storage-driver", "vfs", "build", "-q", "-f", a.folder + "/Containerfile", a.folder],
                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)


runs = {"pack": pack, "copy": copy, "openssl": openssl}
if a.no_podman or not shutil.which("podman"):
    print("podman: skipped" if a.no_podman else "podman: not installed")
else:
    runs["podman"] = podman
best, memory = {}, 0
for r in range(a.r):
    for name, run in runs.items():
        if name == "podman" and r:
            continue     # minutes: once is enough for a ratio of five
        clear()
        began = time.monotonic()
        try:
            kib = run()
        except subprocess.CalledProcessError as e:
            print(f"{name}: does not run here: {(e.stderr or b'').decode()[-200:]}")
            continue
        best[name] = min(best.get(name, 1e9), time.monotonic() - began)
        if name == "pack":
            memory = max(memory, kib)
clear()
for name, seconds in best.items():
    print(f"{name:8} {seconds:8.2f} s {size / seconds / 1e9:7.2f} GB/s")
bound = max(best["copy"], best["openssl"])
print(f"pack has {100 * bound / best['pack']:.0f} % of the slower of copy and OpenSSL (asked: 60), {memory / 1024:.0f} MiB at most (asked: 64)")
if "podman" in best:
    print(f"podman build takes {best['podman'] / best['pack']:.1f} times as long (asked: 5)")
