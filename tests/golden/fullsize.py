#!/usr/bin/env python3
"""Published models at their full size: names and shapes of fixtures/fullsize (made by the shared folder's own script, not from our
tables) as sharded checkpoints whose data are holes. inspect agrees with the published counts and sizes, plan decides every tensor
(of a model of each family, and of one beyond 500 GB; FULLSIZE_ALL=1: of all), and headers of any size are read within a second and
200 MiB."""
import json, os, shutil, struct, subprocess, sys, tempfile

INGOT = os.environ.get("INGOT", "build/ingot")
SHARED = os.environ.get("INGOT_SHARED", "../shared")
HERE = SHARED + "/fixtures/fullsize"
SHARD = 5 << 30
MOST_SECONDS, MOST_KIB, BIG = 1.0, 200 << 10, 500e9
SANITIZED = "san" in os.environ.get("INGOT_TOOLS", "")
# What the inventory counts as bf16 and these families keep in fp32 does not concern the names or shapes.
F32 = ("e_score_correction_bias",)
RECIPES = {"nemotron_h": "nvfp4_default-kv_fp8", "gpt_oss": "gpt-oss-nvfp4-experts", "deepseek_v3": "deepseek-nvfp4-experts", "kimi_k2": "kimi-nvfp4-experts"}
bad = 0
planned = set()


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + (": " + str(detail)[:400] if detail and not ok else ""), flush=True)


def maker():
    """The functions of make_inventory.py; as a script it would go on to write the inventory."""
    with open(HERE + "/make_inventory.py") as f:
        text = f.read()
    names = {"__name__": "make_inventory"}
    exec(compile(text[:text.rindex("\nmain()")], "make_inventory.py", "exec"), names)
    return names


def dtype_of(name):
    return ("U8", 1) if name.endswith(("_blocks", "_scales")) else ("F32", 4) if name.endswith(F32) else ("BF16", 2)


def write(folder, config, tensors):
    """Shards as a publisher cuts them, and an index."""
    shards, size = [[]], 0
    for name, shape in tensors:
        dtype, width = dtype_of(name)
        n = width
        for d in shape:
            n *= d
        if size and size + n > SHARD:
            shards.append([])
            size = 0
        shards[-1].append((name, dtype, list(shape), size, size + n))
        size += n
    where, total = {}, 0
    for k, shard in enumerate(shards):
        file = f"model-{k + 1:05d}-of-{len(shards):05d}.safetensors"
        head = json.dumps({n: {"dtype": d, "shape": s, "data_offsets": [a, b]} for n, d, s, a, b in shard}, separators=(",", ":")).encode()
        with open(f"{folder}/{file}", "wb") as f:
            f.write(struct.pack("<Q", len(head)) + head)
            f.truncate(8 + len(head) + shard[-1][4])
        total += shard[-1][4]
        where.update({t[0]: file for t in shard})
    with open(folder + "/model.safetensors.index.json", "w") as f:
        json.dump({"metadata": {"total_size": total}, "weight_map": where}, f)
    with open(folder + "/config.json", "w") as f:
        json.dump(config, f)
    return total


def spelled_out(config):
    """The inventory shortens a layer of block_configs to [heads in a group, FFN's factor] (null: there is none), and leaves out
    what GPT-OSS says of its experts."""
    if config["model_type"] == "gpt_oss":
        return dict(config, quantization_config={"quant_method": "mxfp4"})
    if "block_configs" not in config:
        return config
    return dict(config, block_configs=[{"attention": {"n_heads_in_group": a, "no_op": a is None, "replace_with_linear": False},
                                        "ffn": {"ffn_mult": f, "no_op": f is None, "replace_with_linear": False}} for a, f in config["block_configs"]])


# A process of its own: what a child takes counts from what its parent had when it forked.
WATCH = "import os,sys; p=os.spawnv(os.P_NOWAIT,sys.argv[1],sys.argv[1:]); _,s,u=os.wait4(p,0); print(os.waitstatus_to_exitcode(s),u.ru_utime+u.ru_stime,u.ru_maxrss,file=open(3,'w'))"


def run(*args):
    """status, standard output, standard error, CPU seconds (a busy machine does not matter), KiB at most"""
    with tempfile.TemporaryFile("w+") as used:
        p = subprocess.run(["sh", "-c", 'exec python3 -c "$0" "$@" 3>&%d' % used.fileno(), WATCH, INGOT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           text=True, pass_fds=[used.fileno()])
        used.seek(0)
        status, seconds, kib = used.read().split()
        return int(status), p.stdout, p.stderr, float(seconds), int(kib)


def one(name, entry, tensors, folder):
    config = spelled_out(entry["config"])
    total = write(folder, config, tensors)
    rc, out, err, seconds, kib = run("inspect", folder, "--json")
    if rc:
        return check(f"{name}: inspect", False, err)
    doc = json.loads(out)
    known = INVENTORY[name]
    figures = {"tensors": doc.get("tensors"), "params": doc.get("parameters"), "bytes": doc.get("bytes")}
    check(f"{name}: {known['tensors']} tensors, {known['params'] / 1e9:.2f} B parameters, {known['bytes'] / 1e9:.1f} GB", figures == {k: known[k] for k in figures}, figures)
    if total >= BIG:
        check(f"{name}: headers of {total / 1e9:.0f} GB read in a second and 200 MiB", SANITIZED or (seconds < MOST_SECONDS and kib < MOST_KIB), (seconds, kib))
    if (config["model_type"], total >= BIG) in planned and not os.environ.get("FULLSIZE_ALL"):
        return None
    planned.add((config["model_type"], total >= BIG))
    recipe = RECIPES.get(config["model_type"], "nvfp4_default-kv_fp8")
    rc, out, err, *_ = run("plan", folder, "-r", recipe, "--allow-requantize", "--json")
    if rc:
        return check(f"{name}: plan {recipe}", False, err)
    plan = json.loads(out)
    items = plan["items"]
    quantized = sum(i["action"] == "quantize" for i in items)
    check(f"{name}: plan {recipe} decides all, {quantized} quantized", quantized > 0 and all(i.get("action") for i in items), len(items))


if not os.path.exists(HERE + "/configs.json"):
    print("skip the shared full-size inventories are not here")
    sys.exit(0)
INVENTORY = json.load(open(HERE + "/inventory.json"))
CONFIGS = json.load(open(HERE + "/configs.json"))
made = maker()
for model, row in CONFIGS.items():
    w = tempfile.mkdtemp()
    try:
        one(model, row, made["KIND"].get(row["config"]["model_type"], made["dense"])(row["config"]), w)
    finally:
        shutil.rmtree(w, ignore_errors=True)
sys.exit(bad > 0)
