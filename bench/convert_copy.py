#!/usr/bin/env python3
"""ingot convert of bf16 to bf16 beside what bounds it, in one run: `cp` of the same files, both with an fsync of every file (convert has one
before it gives a file its name; of cp it is `sync -d FILES` behind it, counted). In turn; the median of each, and the median of the rounds'
ratios, which is the figure that counts. Also the peak of convert's memory (its limit: 300 MiB and twice the largest tensor).

usage: convert_copy.py INGOT MAKE_CHECKPOINT FOLDER [-g GIB] [-r ROUNDS] [-t THREADS]
FOLDER gets a model of GIB gibibytes (default 4) unless it has one; twice that is written, and what was written is removed."""
import argparse, json, os, resource, shutil, statistics, struct, subprocess, sys, time

a = argparse.ArgumentParser()
a.add_argument("ingot")
a.add_argument("make")
a.add_argument("folder")
a.add_argument("-g", type=float, default=4)
a.add_argument("-r", type=int, default=3)
a.add_argument("-t", type=int, default=0)
a = a.parse_args()
model, out = a.folder + "/model", a.folder + "/out"
os.makedirs(a.folder, exist_ok=True)
shutil.rmtree(out, ignore_errors=True)
if not os.path.exists(model):
    if shutil.disk_usage(a.folder).free < 2.5 * a.g * 2 ** 30:
        sys.exit(f"{a.folder}: {2.5 * a.g:.0f} GiB of free space are needed")
    subprocess.run([a.make, model, str(a.g)], check=True)
files = [f"{model}/{f}" for f in sorted(os.listdir(model))]
size = sum(map(os.path.getsize, files))
largest = 0
for f in files:
    subprocess.run(["cat", f], stdout=subprocess.DEVNULL, check=True)     # into the page cache, for both alike
    if f.endswith(".safetensors"):
        with open(f, "rb") as h:
            header = json.loads(h.read(struct.unpack("<Q", h.read(8))[0]))
        largest = max([largest] + [t["data_offsets"][1] - t["data_offsets"][0] for k, t in header.items() if k != "__metadata__"])


def copy():
    subprocess.run(["cp", "-r", "--reflink=never", model, out], check=True)
    subprocess.run(["sync", "-d"] + [f"{out}/{os.path.basename(f)}" for f in files], check=True)


def convert():
    subprocess.run([a.ingot, "convert", model, "--to", "safetensors", "--type", "bf16", "-o", out, "-q"] + (["-t", str(a.t)] if a.t else []),
                   check=True, stdout=subprocess.DEVNULL)


times = {copy: [], convert: []}
peak = 0
for r in range(a.r):
    for run in (copy, convert) if r % 2 == 0 else (convert, copy):
        os.sync()
        began = time.monotonic()
        pid = os.fork()
        if pid == 0:
            run()
            os._exit(0)
        status = os.wait4(pid, 0)[1]
        times[run].append(time.monotonic() - began)
        shutil.rmtree(out)
        if status:
            sys.exit(f"{run.__name__} failed")
    print(f"round {r + 1}: cp {times[copy][-1]:.2f} s, convert {times[convert][-1]:.2f} s, {times[convert][-1] / times[copy][-1]:.2f}", flush=True)
# One run for its memory alone: children that were waited for by other children do not count here before.
before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
convert()
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
shutil.rmtree(out)
ratio = statistics.median(x / y for x, y in zip(times[convert], times[copy]))
limit = 300 * 2 ** 20 + 2 * largest
print(f"{size / 2 ** 30:.2f} GiB: cp {statistics.median(times[copy]):.2f} s, convert {statistics.median(times[convert]):.2f} s, ratio {ratio:.2f} (goal: at most 1.30), "
      f"peak {peak / 1024:.0f} MiB (limit {limit / 2 ** 20:.0f})")
sys.exit(ratio > 1.3 or peak * 1024 > limit)
