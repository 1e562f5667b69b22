#!/usr/bin/env python3
"""check_memory.py INGOT MAKE_CHECKPOINT FOLDER [GIB]: on a synthetic checkpoint of GIB GiB (default 4), made in FOLDER (which
must have room for four times that): the peak memory of every command that reads weights, the same bytes from two runs and
from 1 and 2 threads, and from a run that was killed half-way and run again. Budget: 5 minutes. Peaks are those the kernel
reports for the process (ru_maxrss)."""
import glob, hashlib, json, os, resource, shutil, signal, subprocess, sys, time

INGOT, MAKE, FOLDER = [os.path.abspath(p) for p in sys.argv[1:4]]
GIB = sys.argv[4] if len(sys.argv) > 4 else "4"
SOURCE, OUT = FOLDER + "/source", FOLDER + "/out"
bad = 0


def check(name, ok, detail):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + ": " + detail, flush=True)


def run(*args):
    """Peak memory in MiB and seconds; wait4 says it of this child alone."""
    start = time.time()
    p = subprocess.Popen([INGOT, *args, "-q"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(p.pid, 0)
    if status:
        sys.exit(f"FAIL ingot {' '.join(args)} ended with {status}")
    return usage.ru_maxrss / 1024, time.time() - start


def tree(folder):
    h = hashlib.sha256()
    for path in sorted(glob.glob(folder + "/*")):
        h.update(os.path.basename(path).encode() + b"\0")
        with open(path, "rb") as f:
            while piece := f.read(1 << 22):
                h.update(piece)
    return h.hexdigest()


shutil.rmtree(FOLDER, ignore_errors=True)
os.makedirs(FOLDER)
subprocess.run([MAKE, SOURCE, GIB], check=True, stdout=subprocess.DEVNULL)
size = sum(os.path.getsize(p) for p in glob.glob(SOURCE + "/*.safetensors")) / 2**30
plan = json.loads(subprocess.run([INGOT, "plan", SOURCE, "-r", "nvfp4_default-kv_fp8", "--json"], check=True, stdout=subprocess.PIPE).stdout)
bytes_of = {}
for path in glob.glob(SOURCE + "/*.safetensors"):
    with open(path, "rb") as f:
        head = json.loads(f.read(int.from_bytes(f.read(8), "little")))
    bytes_of |= {k: v["data_offsets"][1] - v["data_offsets"][0] for k, v in head.items() if k != "__metadata__"}
# The largest fused group of any recipe: q, k and v of a layer share a scale; everything else stands alone.
groups = {}
for name, n in bytes_of.items():
    key = name.rsplit(".", 2)[0] + ".qkv" if name.rsplit(".", 2)[1] in ("q_proj", "k_proj", "v_proj") else name
    groups[key] = groups.get(key, 0) + n
limit = 300 + 2 * max(groups.values()) / 2**20
json.dump([[(7 * i + j) % 16000 for j in range(96)] for i in range(4)], open(FOLDER + "/ids.json", "w"))

peak, s = run("calibrate", SOURCE, "-r", "nvfp4-super", "--ids", FOLDER + "/ids.json", "-o", FOLDER + "/s.safetensors")
check(f"calibrate, {size:.1f} GiB", peak <= limit, f"peak {peak:.0f} MiB of {limit:.0f}, {s:.0f} s")
stats = ["-s", FOLDER + "/s.safetensors"]
wanted = {}
# Beside the lanes, which the plan promises: the process, its libraries, headers and JSON. On a GPU its
# driver's own memory is not ours to bound, so this is the CPU's.
promised = {r: json.loads(subprocess.run([INGOT, "plan", SOURCE, "-r", r, "--json"], check=True, stdout=subprocess.PIPE).stdout)["sizes"]["workspace_bytes"] / 2**20 for r in ("nvfp4-super", "nvfp4-data-free")}
for recipe, extra, threads in (("nvfp4-super", stats, "2"), ("nvfp4-super", stats, "1"), ("nvfp4-data-free", [], "2"), ("nvfp4-data-free", [], "1"), ("nvfp4-data-free", [], "2")):
    shutil.rmtree(OUT, ignore_errors=True)
    peak, s = run("quantize", SOURCE, "-r", recipe, *extra, "-o", OUT, "-t", threads, "--backend", "cpu")
    check(f"quantize {recipe}, {threads} threads", peak <= limit, f"peak {peak:.0f} MiB of {limit:.0f}, {s:.1f} s")
    check(f"quantize {recipe}, {threads} threads: what the plan promised", peak <= promised[recipe] + 40, f"peak {peak:.0f} MiB, promised {promised[recipe]:.0f} and the process")
    digest = tree(OUT)
    check(f"quantize {recipe}, {threads} threads: same bytes", wanted.setdefault(recipe, digest) == digest, digest[:16])
shutil.rmtree(OUT)

# Each run goes on where the one before was killed.
kills = 0
for fraction in (0.3, 0.3, 0.2):
    p = subprocess.Popen([INGOT, "quantize", SOURCE, "-r", "nvfp4-data-free", "-o", OUT, "--shard-size", "200M", "-q"], stdout=subprocess.DEVNULL)
    time.sleep(max(0.2, fraction * s))
    p.send_signal(signal.SIGKILL)
    if p.wait() != -signal.SIGKILL:
        break
    kills += 1
    check(f"killed after {fraction:.0%} of the time: no final name", not os.path.exists(OUT), "nothing at the output")
if not os.path.exists(OUT):
    subprocess.run([INGOT, "quantize", SOURCE, "-r", "nvfp4-data-free", "-o", OUT, "--shard-size", "200M", "-q"], check=True, stdout=subprocess.DEVNULL)
resumed = tree(OUT)
shutil.rmtree(OUT)
subprocess.run([INGOT, "quantize", SOURCE, "-r", "nvfp4-data-free", "-o", OUT, "--shard-size", "200M", "-q"], check=True, stdout=subprocess.DEVNULL)
check("killed and run again: same bytes as in one go", kills > 0 and resumed == tree(OUT), f"{kills} kills, {resumed[:16]}")
peak, s = run("pack", OUT, "-o", f"oci:{FOLDER}/p:t")
check("pack", peak <= limit, f"peak {peak:.0f} MiB of {limit:.0f}, {s:.1f} s")
peak, s = run("inspect", SOURCE, "--strict")
check("inspect --strict", peak <= limit, f"peak {peak:.0f} MiB of {limit:.0f}, {s:.1f} s")
shutil.rmtree(FOLDER)
sys.exit(bad > 0)
