"""Writes the saved inputs of fuzz_nemo into tests/fuzz/corpus/nemo: archives of one tiny Llama with each kind of weights, and archives that
break a rule. What is said of those is checked by tests/golden/nemo.py. usage: make_corpus_nemo.py [FOLDER]"""
import json, os, sys, tarfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import make_corpus_torch as tiny  # noqa: E402
import nemo_write as n  # noqa: E402
import torch_write as w  # noqa: E402

config = {**tiny.CONFIG, "torch_dtype": "float32"}
mega = n.megatron(config, {name: n.T("F32", shape, tiny.data(shape, k)) for k, (name, shape) in enumerate(tiny.SHAPES.items())})
arrays, yaml = n.stacked(mega, 1), n.yaml_of(config)


def archive(files, text=yaml, style=tarfile.PAX_FORMAT, dot="./"):
    return n.nemo({"model_config.yaml": text.encode(), **files}, style, dot)


def few(files):
    return {"w/" + k: v for k, v in files.items()}


ranks, dist, zarr = n.rank_files(mega, 1, 1, 1), few(n.torch_dist(arrays, 2)), few(n.zarr(arrays, lambda s: [-(-d // 2) for d in s]))
some = "w/model.decoder.final_layernorm.weight/.zarray"


def zarr_with(**odd):
    return archive({**zarr, some: json.dumps({**json.loads(zarr[some]), **odd}).encode()})


one = archive(ranks)
CASES = {
    "ranks": one, "ranks2": archive(n.rank_files(mega, 1, 2, 1)), "dist": archive(dist), "zarr": archive(zarr), "gnu": archive(ranks, style=tarfile.GNU_FORMAT, dot=""),
    "ustar": archive(ranks, style=tarfile.USTAR_FORMAT), "long_name": archive({**ranks, "x" * 200: b"1"}, style=tarfile.GNU_FORMAT), "long_pax": archive({**ranks, "x" * 200: b"1"}),
    "gelu": archive(ranks, yaml.replace("fast-swiglu", "gelu")), "no_config": n.nemo(ranks), "yaml_broken": archive(ranks, "a: [\n"), "speech": archive(ranks, "encoder: 1\n"),
    "gzip": b"\x1f\x8b" + one[2:], "cut": one[:len(one) // 3], "checksum": b"x" + one[1:], "twice": archive({**ranks, "./model_config.yaml": b"x"}), "escape": archive({**ranks, "../x": b"1"}),
    "metadata_cut": archive({**dist, "w/.metadata": dist["w/.metadata"][:400]}), "metadata_runs": archive({**dist, "w/.metadata": w.pickled(w.Call(("posix", "system"), "x"), 4)}),
    "part_long": archive(few(n.torch_dist(arrays, length=1 << 40))), "part_outside": archive(few(n.torch_dist(arrays, path="../x"))),
    "zarr_blosc": zarr_with(compressor={"id": "blosc"}), "zarr_huge": zarr_with(shape=[2**62], chunks=[1]), "zarr_overlap": zarr_with(chunks=[3]), "zarr_dims": zarr_with(shape=[4, 4, 4], chunks=[4, 4, 4]),
    "zarr_gap": archive({k: v for k, v in zarr.items() if not k.endswith("norm.weight/1")}),
}

if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", "nemo")
    os.makedirs(folder, exist_ok=True)
    for name, content in CASES.items():
        with open(os.path.join(folder, name), "wb") as f:
            f.write(content.rstrip(b"\0") + bytes(1024))
