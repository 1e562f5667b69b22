#!/usr/bin/env python3
"""What is said of PyTorch's files, good and bad ones: exit status and words for every file of tests/fuzz/corpus/torch, limits of memory and
time, sharded folders, single files. Values: tests/golden/torch.py."""
import json, os, resource, struct, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
sys.path[:0] = [ROOT + "/tests/fuzz", ROOT + "/tests/tools"]
import make_corpus_torch as corpus  # noqa: E402
import torch_write as w  # noqa: E402

LIMIT = 512 << 20  # reliability.md: under 512 MB and 2 s


with open(INGOT, "rb") as program:
    SANITIZED = b"__asan_init" in program.read()  # its shadow memory alone is terabytes of addresses


def says(name, status, words, *args, seconds=2):
    """The command ends so, with the words in one sentence, within LIMIT bytes of data and so many seconds of its own."""
    def limit():
        if not SANITIZED:
            resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds * (8 if SANITIZED else 1),) * 2)
    p = subprocess.run([INGOT, *args], capture_output=True, text=True, timeout=120, preexec_fn=limit, errors="replace")
    lines = [x for x in p.stderr.strip().splitlines() if not x.startswith(("inspect", "convert"))]
    check(name, p.returncode == status and words in p.stderr and (len(lines) == 1 or not status), f"{p.returncode}, expected {status}: {p.stderr}")
    return p


def folder(tmp, name, files):
    d = f"{tmp}/{name}"
    os.makedirs(d)
    for n, content in {"config.json": json.dumps(corpus.CONFIG).encode(), **files}.items():
        with open(f"{d}/{n}", "wb") as f:
            f.write(content)
    return d


def pickle_of(opcodes):
    return w.zip_bytes([w.Entry("a/data.pkl", opcodes)])


with tempfile.TemporaryDirectory() as tmp:
    for name, data in corpus.GOOD.items():
        d = folder(tmp, "good-" + name, {"pytorch_model.bin": data})
        says("inspect a folder: " + name, 0, "", "inspect", d)
        says("inspect a file: " + name, 0, "", "inspect", d + "/pytorch_model.bin")
    for name, (status, words, data) in corpus.BAD.items():
        with open(f"{ROOT}/tests/fuzz/corpus/torch/{name}", "rb") as f:
            check("the saved input is this one: " + name, f.read() == data)
        d = folder(tmp, "bad-" + name, {"pytorch_model.bin": data})
        says("inspect: " + name, status, words, "inspect", d)
    d = folder(tmp, "bad", {"pytorch_model.bin": corpus.BAD["os_system"][2]})
    says("convert refuses", 4, "asks for posix.system", "convert", d, "--to", "safetensors", "-o", tmp + "/out")
    check("nothing is written", not os.path.exists(tmp + "/out") and not [x for x in os.listdir(tmp) if x.startswith((".", "out"))], os.listdir(tmp))

    # Sums: seen where all is read, before anything is written.
    e = w.members(corpus.model())
    e[4].odd["crc"] = 7
    d = folder(tmp, "crc", {"pytorch_model.bin": w.zip_bytes(e)})
    says("a storage's sum is not looked at by inspect", 0, "", "inspect", d)
    says("convert compares the sums", 3, "the file says 00000007", "convert", d, "--to", "safetensors", "-o", tmp + "/out")
    check("nothing is written for a wrong sum", not os.path.exists(tmp + "/out"))
    says("inspect --strict compares the sums", 3, "'data/2': the bytes have CRC", "inspect", "--strict", d)

    # What would take memory or time.
    for name, status, words, data in (
            ("a pickle of empty lists", 4, "take more than", pickle_of(b"\x80\x02" + b"]0" * 8_000_000 + b"N.")),
            ("a stack of numbers", 4, "values wait", pickle_of(b"\x80\x02(" + b"K\x01" * 2_000_000 + b"t.")),
            ("a memo of everything", 4, "memo 4194304", pickle_of(b"\x80\x02" + b"".join(b"Nr" + struct.pack("<I", 2**i) + b"0" for i in range(23)) + b"N.")),
            ("a list under many names", 4, "nested too deeply or too often",
             pickle_of(b"".join([b"\x80\x02}q\x00(X\x01\x00\x00\x00L](" + b"N" * 400_000 + b"eq\x01", *(b"X\x07\x00\x00\x00k%06dh\x01" % i for i in range(200_000)), b"u."]))),
            ("nested tuples", 3, "a dict of tensors is expected", pickle_of(b"\x80\x02)" + b"\x85" * 1_000_000 + b".")),
            ("nested dicts", 4, "nested too deeply", pickle_of(b"\x80\x02" + b"}X\x01\x00\x00\x00a" * 500 + b"}" + b"s" * 500 + b".")),
            ("dicts that share", 4, "nested too deeply or too often",
             pickle_of(b"\x80\x02}q\x00" + b"".join(b"0}q" + bytes([i + 1]) + b"(" + b"".join(b"X\x01\x00\x00\x00" + bytes([97 + k]) + b"h" + bytes([i]) for k in range(8)) + b"u" for i in range(20)) + b"."))):
        says(name, status, words, "inspect", folder(tmp, "big-" + name.replace(" ", "-"), {"pytorch_model.bin": data}))
    g = corpus.GOOD["zip"]
    for k in range(64):
        d = folder(tmp, f"cut-{k}", {"pytorch_model.bin": g[:len(g) * k // 64]})
        p = subprocess.run([INGOT, "inspect", d], capture_output=True, text=True)
        if p.returncode != 3 or len(p.stderr.strip().splitlines()) != 1:
            check(f"cut at {k}/64", False, p.stderr)
    check("a file cut at every 1/64 is refused in one sentence", True)

    # Sets of files.
    t = list(corpus.model().items())
    one, two = "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"
    parts = {one: w.save(dict(t[:5])), two: w.legacy(dict(t[5:]))}
    index = lambda m: json.dumps({"metadata": {"total_size": 1}, "weight_map": m}).encode()
    names = {k: one if i < 5 else two for i, (k, _) in enumerate(t)}
    N = "pytorch_model.bin.index.json"
    says("shards", 0, "", "inspect", folder(tmp, "s1", {**parts, N: index(names)}))
    says("shards without an index", 3, "index.json is missing", "inspect", folder(tmp, "s2", parts))
    says("a shard that is not there", 3, "does not exist in the folder", "inspect", folder(tmp, "s3", {one: parts[one], N: index(names)}))
    says("a tensor in another shard", 3, "not in '" + two, "inspect", folder(tmp, "s4", {**parts, N: index({**names, t[0][0]: two})}))
    says("a tensor that the index forgot", 3, "is not in pytorch_model.bin.index.json", "inspect", folder(tmp, "s5", {**parts, N: index(dict(list(names.items())[1:]))}))
    says("a tensor that is not there", 3, "has 13 tensors", "inspect", folder(tmp, "s6", {**parts, N: index({**names, "x": one})}))
    says("an index that leaves the folder", 3, "not a file name inside", "inspect", folder(tmp, "s7", {**parts, N: index({**names, "x": "../x.bin"})}))
    says("two candidates", 3, "name the one that is meant", "inspect", folder(tmp, "s8", {"a.pt": g, "b.pt": g}))
    says("one of two", 0, "", "inspect", tmp + "/s8/b.pt")
    says("Meta's own layout", 4, "Meta's own release", "inspect", folder(tmp, "s9", {"consolidated.00.pth": g}))
    says("what training leaves does not count", 0, "", "inspect", folder(tmp, "s10", {"pytorch_model.bin": g, "optimizer.pt": b"x", "training_args.bin": b"x"}))
    for name, what in (("model.onnx", "ONNX"), ("tf_model.h5", "HDF5"), ("weights.npz", "NumPy"), ("flax_model.msgpack", "Flax"), ("saved_model.pb", "TensorFlow"),
                       ("model.tflite", "TensorFlow Lite"), ("m.mlmodel", "Core ML"), ("model.ckpt.data-00000-of-00001", "TensorFlow"), ("m.keras", "Keras"),
                       ("model.pkl", "a Python pickle"), ("model.mar", "TorchServe"), ("x.engine", "TensorRT"), ("model.llamafile", "llamafile"), ("x.ggml", "GGML")):
        says("named and refused: " + name, 4, what, "inspect", folder(tmp, "n-" + name, {name: b"x"}))
finish()
