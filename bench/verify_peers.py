#!/usr/bin/env python3
"""ingot verify with 1 and 2 threads beside sha256sum of the same blobs, one process and two, in one run; in turn, the best of each, and
the most memory of each. Of a made-up model every blob and file is read and hashed, and no more; with --model of a quantized one every
tensor too, which reads it twice. Only ratios of one run count.

usage: verify_peers.py INGOT FOLDER [-g GIB] [-r ROUNDS] [-s SHARDS] [--model FOLDER]
FOLDER gets a model of GIB gibibytes in SHARDS files (default 2 in 4) and its package, unless it has them; twice the size is used."""
import argparse, json, os, random, shutil, struct, subprocess, sys, threading, time

a = argparse.ArgumentParser()
a.add_argument("ingot")
a.add_argument("folder")
a.add_argument("-g", type=float, default=2)
a.add_argument("-r", type=int, default=3)
a.add_argument("-s", type=int, default=4)
a.add_argument("--model")
a = a.parse_args()
model, package = a.model or a.folder + "/model", a.folder + "/package"
ASKED = 3  # times sha256sum, a thread (issue 7); 64 MiB


def make():
    os.makedirs(model)
    piece = random.Random(0).randbytes(1 << 24)
    n = max(1, int(a.g * (1 << 30) / a.s) >> 24)
    for i in range(a.s):
        head = json.dumps({f"w{i}": {"dtype": "U8", "shape": [n << 24], "data_offsets": [0, n << 24]}}).encode()
        head += b" " * (-(len(head) + 8) % 4096)
        with open(f"{model}/model-{i + 1:05}-of-{a.s:05}.safetensors", "wb") as f:
            f.write(struct.pack("<Q", len(head)) + head)
            for k in range(n):
                f.write(k.to_bytes(8, "little") + piece[8:])
    json.dump({"model_type": "none"}, open(model + "/config.json", "w"))


# A small process of its own starts the command, because what is resident before exec counts as the command's.
TIMED = """import os, sys, time
began = time.monotonic()
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
_, status, used = os.wait4(pid, 0)
print(time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))"""


def done(command, statuses=(0,)):
    """Wall seconds, CPU seconds, peak KiB of a command."""
    p = subprocess.run([sys.executable, "-I", "-S", "-c", TIMED, *command], stderr=subprocess.PIPE, text=True)
    if p.returncode not in statuses:
        sys.exit(f"{' '.join(command)}: {p.stderr[-400:]}")
    seconds, cpu, kib = p.stderr.split("\n")[-2].split()
    return float(seconds), float(cpu), int(kib)


def verify(threads):
    # Undecided, 9, without a key.
    return done([a.ingot, "verify", f"oci:{package}:t", "-t", str(threads), "-q"], (0, 9))


def sha256sum(processes):
    results = [None] * processes
    began = time.monotonic()

    def work(k):
        results[k] = done(["sha256sum", *blobs[k::processes]])
    threads = [threading.Thread(target=work, args=(k,)) for k in range(processes)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    return time.monotonic() - began, sum(r[1] for r in results), sum(r[2] for r in results)


if not os.path.exists(model):
    make()
shutil.rmtree(package, ignore_errors=True)
made = subprocess.run([a.ingot, "pack", model, "-o", f"oci:{package}:t", "-q", *([] if a.model else ["--bundle-only"])], stderr=subprocess.PIPE, text=True)
if made.returncode:
    sys.exit(made.stderr)
blobs = sorted(f"{package}/blobs/sha256/{f}" for f in os.listdir(package + "/blobs/sha256"))
blobs.sort(key=os.path.getsize)
size = sum(os.path.getsize(f) for f in blobs)
subprocess.run(["cat", *blobs], stdout=subprocess.DEVNULL, check=True)  # into the page cache, for everybody alike
runs = {("ingot verify", 1): verify, ("ingot verify", 2): verify, ("sha256sum", 1): sha256sum, ("sha256sum", 2): sha256sum}
best = {}
for _ in range(a.r):
    for (name, n), run in runs.items():
        seconds, cpu, kib = run(n)
        old = best.get((name, n), (1e9, 1e9, 0))
        best[name, n] = min(old[0], seconds), min(old[1], cpu), max(old[2], kib)
print(f"{size / 1e9:.2f} GB in {len(blobs)} blobs; threads of verify, processes of sha256sum; load {os.getloadavg()[0]:.1f}")
for (name, n), (seconds, cpu, kib) in best.items():
    print(f"{name:12} x{n} {seconds:8.2f} s {size / seconds / 1e9:7.2f} GB/s {size / seconds / n / 1e9:7.2f} GB/s a thread {size / cpu / 1e9:7.2f} GB per CPU second {kib / 1024:6.0f} MiB")
for n in (1, 2):
    print(f"x{n}: verify {best['sha256sum', n][0] / best['ingot verify', n][0]:.2f} times sha256sum (asked: {ASKED}); per CPU second {best['sha256sum', n][1] / best['ingot verify', n][1]:.2f}")
print(f"verify with two threads {best['ingot verify', 1][0] / best['ingot verify', 2][0]:.2f} times as fast as with one; {max(best['ingot verify', n][2] for n in (1, 2)) / 1024:.0f} MiB at most (asked: 64)")
