#!/usr/bin/env python3
"""The whole program on fake GPUs (tests/cuda/fake_ingot.c): checkpoints of the CPU's bytes for every recipe, with one
device and several, with little memory; and every call of the runtime and every few kernels failing in the middle: one
sentence, exit 7, nothing half-written, and the same command afterwards goes through. The expected bytes are those of
the program on its CPU kernels, which other tests hold against recorded ones."""
import hashlib, json, os, shutil, signal, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
FAKE = os.environ.get("INGOT_FAKE_CUDA", ROOT + "/build/release/tests/cuda/fake_ingot")
FAULT_LIB = os.environ.get("FAULT_LIB", ROOT + "/build/release/tests/preload/fault.so")
EXAMPLE = ROOT + "/examples/nano-hybrid"
MODEL = EXAMPLE + "/model"
WORK = tempfile.mkdtemp()
OUT = WORK + "/out"


def run(program, *args, machine="", env=None):
    e = {**os.environ, "FAKE_CUDA": machine, **(env or {})}
    return subprocess.run([program, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=e)


def tree(folder):
    files = sorted(os.path.relpath(d + "/" + f, folder) for d, _, fs in os.walk(folder) for f in fs)
    return {f: hashlib.sha256(open(folder + "/" + f, "rb").read()).hexdigest() for f in files}


def left():
    return sorted(n for n in os.listdir(WORK) if n.startswith("out") or n.startswith(".out"))


def clean():
    for n in left():
        shutil.rmtree(WORK + "/" + n) if os.path.isdir(WORK + "/" + n) else os.unlink(WORK + "/" + n)


if not os.path.exists(FAKE):
    print("skip the program on fake GPUs: it is not built (make test-programs)")
    sys.exit(0)

# ---- what the list says ----
for machine, words in (
    ("", "available; uses Fake GPU 0, 1.00 GiB (1.00 GiB free)"),
    ("devices=3", "available; uses Fake GPU 0, 1.00 GiB (1.00 GiB free), and 2 more"),
    ("driver=0", "not available: no NVIDIA driver is installed"),
    ("fail=cudaDriverGetVersion", "not available: the NVIDIA driver does not say its version: unknown error"),
    ("driver=12080", "not available: the NVIDIA driver is made for CUDA 12.8, and this program, built with CUDA 13.5, needs one for CUDA 13.0 or newer"),
    ("devices=0", "not available: the driver finds no GPU"),
    ("sm=75", "not available: 'Fake GPU 0' is sm_75, and this program needs sm_80 or newer"),
    ("fail=cudaSetDevice", "not available: 'Fake GPU 0': cudaSetDevice: unknown error"),
):
    p = run(FAKE, "list", "backends", "--json", machine=machine)
    says = {r["name"]: r["what"] for r in json.loads(p.stdout)["backends"]}
    check(f"list backends, {machine or 'one GPU'}", p.returncode == 0 and says.get("cuda") == words, says)
    if words.startswith("not") and "cudaSetDevice" not in machine:
        p = run(FAKE, "quantize", MODEL, "-r", "nvfp4-data-free", "-o", OUT, "-q", "--backend", "cuda", machine=machine)
        check(f"--backend cuda, {machine}: status 7 and the same reason", p.returncode == 7 and words[15:] in p.stderr and not left(), p.stderr)

# ---- the CPU's bytes ----
stats = {}
for recipe in ("nvfp4_default-kv_fp8", "super-nvfp4-mse", "fp8_default-kv_fp8"):
    stats[recipe] = ["-s", f"{WORK}/{recipe}.safetensors"]
    p = run(INGOT, "calibrate", MODEL, "-r", recipe, "--data", EXAMPLE + "/calibration.jsonl", "--max-texts", "2", "--max-tokens", "64", "-o", stats[recipe][1], "-q")
    check(f"calibrate {recipe}", p.returncode == 0, p.stderr)


def quantize(program, recipe, *more, machine="", env=None):
    return run(program, "quantize", MODEL, "-r", recipe, *stats.get(recipe, []), "-o", OUT, *more, machine=machine, env=env)


want = {}
for recipe in ("nvfp4-data-free", "nvfp4_weight_only-kv_fp16", "nvfp4_default-kv_fp8", "super-nvfp4-mse", "fp8_default-kv_fp8"):
    p = quantize(INGOT, recipe, "-q", "--backend", "cpu")
    want[recipe] = tree(OUT) if p.returncode == 0 else None
    clean()
    for machine, devices in (("", 1), ("devices=3", (1, 2, 3)), ("memory=12000000", 1), ("devices=4 memory=9000000", (1, 2, 3, 4))):
        p = quantize(FAKE, recipe, "--json", "-q", "--backend", "cuda", machine=machine)
        said = json.loads(p.stdout) if p.returncode == 0 else {}
        right = p.returncode == 0 and tree(OUT) == want[recipe] and p.stderr == ""
        check(f"{recipe} on GPUs ({machine or 'one'}): the CPU's bytes", right, p.stderr or said)
        check(f"{recipe} ({machine or 'one'}): they computed", said.get("backend") == "cuda" and said.get("device") == "Fake GPU 0" and said.get("devices") in (devices if isinstance(devices, tuple) else (devices,)), said)
        clean()
p = quantize(FAKE, "nvfp4-data-free", "--json", "-q", machine="devices=3")
check("several devices are used", p.returncode == 0 and json.loads(p.stdout)["devices"] > 1, p.stdout)
clean()

# ---- not enough memory ----
p = quantize(FAKE, "nvfp4-data-free", "-q", "--backend", "cuda", machine="memory=1000000")
check("far too little memory: status 7, how much is needed", p.returncode == 7 and "quantize needs" in p.stderr and "of 976.56 KiB are free" in p.stderr and len(p.stderr.splitlines()) == 1 and not left(), p.stderr)
p = quantize(FAKE, "nvfp4-data-free", "--json", machine="memory=1000000")
check("and nobody asked for a GPU: the CPU's bytes, with a note", p.returncode == 0 and json.loads(p.stdout)["backend"] == "cpu" and tree(OUT) == want["nvfp4-data-free"] and "on the CPU, because" in p.stderr, p.stderr)
clean()

# ---- every call fails ----
SMALL = ["--shard-size", "700000"]
CALLS = ("cudaSetDevice", "cudaFuncGetAttributes", "cudaStreamCreateWithFlags", "cudaEventCreateWithFlags", "cudaMalloc", "cudaHostAlloc",
         "cudaMemGetInfo", "cudaMemcpyAsync", "cudaMemsetAsync", "cudaLaunchKernel", "cudaEventRecord", "cudaEventSynchronize")
quantize(INGOT, "nvfp4-data-free", *SMALL, "-q", "--backend", "cpu")
small = tree(OUT)
clean()
OPENING = CALLS[2:6] # where a lane cannot be opened, smaller pieces are tried
for backend, moments in (("cuda", (0, 1, 7, 40, 200)), ("auto", (0, 40))):
    for call in CALLS:
        wrong, failed, fine = [], 0, 0
        for after in moments:
            p = quantize(FAKE, "nvfp4-data-free", *SMALL, "-q", "--backend", backend, machine=f"devices=2 fail={call} after={after}")
            if p.returncode == 0 and (tree(OUT) != small or "LEFT" in p.stderr):
                wrong.append(f"after {after}: other bytes, or {p.stderr}")
            elif p.returncode not in (0, 7) or (p.returncode == 7 and (len(p.stderr.splitlines()) != 1 or "unknown error" not in p.stderr or left())):
                wrong.append(f"after {after}: status {p.returncode}, {p.stderr}, {left()}")
            failed += p.returncode == 7
            fine += p.returncode == 0
            clean()
        check(f"--backend {backend}, {call} fails: {failed} times status 7 and nothing left, {fine} times done without it", not wrong and (failed or backend == "auto" or call in OPENING) and failed + fine == len(moments), wrong)

# ---- a kernel fails ----
recipe = "super-nvfp4-mse"
for machine in ("devices=1", "devices=3"):
    wrong = []
    for at in (1, 2, 3, 20, 100, 200):
        p = quantize(FAKE, recipe, *SMALL, "-q", "--backend", "cuda", machine=f"{machine} run={at}")
        if p.returncode != 7 or "illegal memory access" not in p.stderr or len(p.stderr.splitlines()) != 1 or left():
            wrong.append(f"kernel {at}: status {p.returncode}, {p.stderr}, {left()}")
        clean()
    check(f"a kernel's error, {machine}: status 7, one sentence, nothing left", not wrong, wrong)

# ---- killed on a GPU, gone on with elsewhere ----
p = quantize(INGOT, recipe, *SMALL, "-q", "--backend", "cpu")
whole = tree(OUT)
clean()
killed = 0
for at, second in ((40, FAKE), (120, INGOT), (200, FAKE)):
    p = quantize(FAKE, recipe, *SMALL, "-q", "--backend", "cuda", machine="devices=2",
                 env={"LD_PRELOAD": FAULT_LIB, "FAULT_DO": "kill", "FAULT_AT": str(at), "ASAN_OPTIONS": "verify_asan_link_order=0"})
    killed += p.returncode == -signal.SIGKILL and not os.path.exists(OUT)
    p = quantize(second, recipe, *SMALL, "-q")
    check(f"killed at change {at} on GPUs, gone on with on {'a GPU' if second == FAKE else 'the CPU'}: the same bytes", p.returncode == 0 and tree(OUT) == whole and left() == ["out"], p.stderr)
    clean()
check("the kills came through", killed == 3, killed)

# ---- build: a device that fails in its quantize stage ----
release = WORK + "/release.yaml"
with open(release, "w") as f:
    f.write(f"name: t\nsource: {MODEL}\nrecipe: nvfp4_experts_only_input_scale1-kv_fp8_cast\ntag: t\nprofiles:\n  - {{engine: \"vllm@0.17.1\", gpu: \"b200:1\"}}\n")
p = run(FAKE, "build", release, "-o", OUT, "-q", machine="run=30")
check("build, a kernel's error: status 7, one sentence", p.returncode == 7 and "illegal memory access" in p.stderr and len(p.stderr.splitlines()) == 1, p.stderr)
check("build, a kernel's error: no checkpoint, no package", not any("safetensors" in f and "quantize" in f or "index.json" == os.path.basename(f) for f in tree(OUT)), sorted(tree(OUT)))
p = run(FAKE, "build", release, "-o", OUT, "-q", machine="")
check("and once the device is well, the build goes on", p.returncode == 0, p.stderr)

# ---- what `make check-cuda` will run on a machine with a GPU, and what it says on one without ----
p = run("sh", ROOT + "/tests/cuda/check_cuda.sh", FAKE, os.path.dirname(os.path.dirname(os.path.dirname(FAKE))), "backend", "checkpoints", env={"CHECK_GIB": "0"})
check("check_cuda.sh on a fake GPU", p.returncode == 0 and p.stdout.count("the same files from CPU and GPU") == 7 and "FAIL" not in p.stdout, p.stdout + p.stderr)
p = run("sh", ROOT + "/tests/cuda/check_cuda.sh", FAKE, WORK, machine="devices=0")
parts = ("kernels", "backend", "convert", "checkpoints", "sanitizer")
check("check_cuda.sh without a GPU says what it skips", p.returncode == 0 and all(f"skip {n}: cuda is not available: the driver finds no GPU" in p.stdout for n in parts), p.stdout + p.stderr)

shutil.rmtree(WORK)
finish()
