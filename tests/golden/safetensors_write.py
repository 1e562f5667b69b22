"""What we write is read back by a reader that shares nothing with ours but the format's description."""
import json, os, random, struct, subprocess, sys, tempfile

BITS = {"BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32,
        "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64}


def check_file(path, tensors, number):
    raw = open(path, "rb").read()
    (n,) = struct.unpack("<Q", raw[:8])
    text, data = raw[8:8 + n], raw[8 + n:]
    assert (8 + n) % 4096 == 0 and text[:1] == b"{" and text.rstrip(b" ")[-1:] == b"}"
    pairs = json.loads(text.decode("utf-8"), object_pairs_hook=lambda p: p)
    assert pairs[0] == ("__metadata__", [("format", "pt")])
    at, names = 0, []
    for name, entry in pairs[1:]:
        e = dict(entry)
        assert [k for k, _ in entry] == ["dtype", "shape", "data_offsets"]
        begin, end = e["data_offsets"]
        assert begin == at, (name, begin, at)                      # in the order of the bytes, no gap
        count = 1
        for d in e["shape"]:
            count *= d
        assert (end - begin) * 8 == count * BITS[e["dtype"]]
        assert (8 + n + begin) % (BITS[e["dtype"]] // 8) == 0      # aligned for its type
        assert (e["dtype"], e["shape"]) == tensors[name]
        k = number[name]
        assert data[begin:end] == bytes((31 * k + i) % 251 for i in range(end - begin)), name
        at = end
        names.append(name)
    assert at == len(data) and len(set(names)) == len(names)
    return names, at


def case(seed):
    rnd = random.Random(seed)
    specs = []
    for i in range(rnd.randint(0, 40)):
        shape = [rnd.choice([0, 1, 2, 3, 8, 17]) for _ in range(rnd.randint(0, 3))]
        name = rnd.choice(["model.layers.%d.w", "h\u00e9.%d", "\u6a21\u578b.%d", 'quo"te\\%d', "tab\t%d"]) % i
        specs.append({"name": name, "dtype": rnd.choice(sorted(BITS)), "shape": shape})
    with tempfile.TemporaryDirectory() as tmp:
        out = os.path.join(tmp, "out")
        os.mkdir(out)
        json.dump({"shard_bytes": rnd.choice([1, 300, 3000, 10**9]), "tensors": specs}, open(os.path.join(tmp, "spec"), "w"))
        subprocess.run([os.path.join(os.environ["INGOT_TOOLS"], "write_checkpoint"), os.path.join(tmp, "spec"), out], check=True)
        files = sorted(f for f in os.listdir(out) if f.endswith(".safetensors"))
        tensors = {s["name"]: (s["dtype"], s["shape"]) for s in specs}
        number = {s["name"]: i for i, s in enumerate(specs)}
        where, total = {}, 0
        for f in files:
            names, size = check_file(os.path.join(out, f), tensors, number)
            total += size
            where.update({n: f for n in names})
        assert set(where) == set(tensors)
        others = sorted(set(os.listdir(out)) - set(files))
        if len(files) == 1:
            assert files == ["model.safetensors"] and others == []
            return 1
        assert others == ["model.safetensors.index.json"]
        assert files == ["model-%05d-of-%05d.safetensors" % (i + 1, len(files)) for i in range(len(files))]
        text = open(os.path.join(out, others[0]), encoding="utf-8").read()
        index = json.loads(text)
        assert index == {"metadata": {"total_size": total}, "weight_map": where}
        # Byte for byte what huggingface_hub would write, but for non-ASCII letters, which it escapes.
        assert text == json.dumps(index, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        return len(files)


shards = [case(seed) for seed in range(60)]
assert max(shards) > 5 and min(shards) == 1
print("ok %d checkpoints, %d shards" % (len(shards), sum(shards)))
