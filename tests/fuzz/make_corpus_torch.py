"""Writes the saved inputs of fuzz_torch into tests/fuzz/corpus/torch: one tiny model in every form that PyTorch has written, and one
file for every rule that the reader must enforce. tests/cli/torch.py reads GOOD and BAD from here and checks what `ingot inspect` says
of each. usage: make_corpus_torch.py [FOLDER]"""
import os, struct, sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import torch_write as w  # noqa: E402
from torch_write import Build, Call, Entry, Global, Ordered, Parameter, Raw, Storage, View  # noqa: E402

# A Llama of one layer, smaller than any that is used: what `inspect` needs to agree to everything.
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1,
          "num_attention_heads": 1, "num_key_value_heads": 1, "vocab_size": 3, "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
          "max_position_embeddings": 64}
SHAPES = {"model.embed_tokens.weight": [3, 4], "model.layers.0.input_layernorm.weight": [4], "model.layers.0.self_attn.q_proj.weight": [4, 4],
          "model.layers.0.self_attn.k_proj.weight": [4, 4], "model.layers.0.self_attn.v_proj.weight": [4, 4],
          "model.layers.0.self_attn.o_proj.weight": [4, 4], "model.layers.0.post_attention_layernorm.weight": [4],
          "model.layers.0.mlp.gate_proj.weight": [4, 4], "model.layers.0.mlp.up_proj.weight": [4, 4],
          "model.layers.0.mlp.down_proj.weight": [4, 4], "model.norm.weight": [4], "lm_head.weight": [3, 4]}


def data(shape, k=0):
    n = 1
    for d in shape:
        n *= d
    return b"".join(struct.pack("<f", (i * 7 + k) % 11 - 5) for i in range(n))


def model(**other):
    """The state dict; `other` replaces tensors by the last part but one of their names."""
    out = {}
    for k, (name, shape) in enumerate(SHAPES.items()):
        out[name] = other.pop(name.split(".")[-2], None) or w.tensor("F32", shape, data(shape, k))
    assert not other
    return out


def wide(shape, **how):
    return View(Storage("F32", data([64])), shape, **how)


GOOD = {
    "zip": w.save(model()), "zip64": w.save(model(), zip64=True), "descriptors": w.save(model(), descriptor=True),
    "descriptors64": w.save(model(), descriptor=True, zip64=True), "comment": w.save(model(), comment=b"hello"),
    "protocol0": w.legacy(model(), 1), "protocol4": w.save(model(), 4), "protocol5": w.save(model(), 5),
    "legacy": w.legacy(model()), "parameters": w.save({k: Parameter(v) for k, v in model().items()}),
    "ordered": w.save(Build(Ordered(model().items()), {"_metadata": Ordered([("", {"version": 1})])})),
    "nested": w.save({"epoch": 3, "lr": 0.5, "state_dict": model(), "note": None}),
    "dotted": w.save({"model": {"model": {k[6:]: v for k, v in model().items() if k.startswith("model.")}, "lm_head": {"weight": model()["lm_head.weight"]}}}),
    "ddp": w.save({"module." + k: v for k, v in model().items()}),
    "lightning": w.save({"state_dict": {"model." + k: v for k, v in model().items()}}),
    "extra": w.save({**model(), "model.layers.0.self_attn._extra_state": Call(("_io", "BytesIO"), b"ab")}),
    "transposed": w.save(model(q_proj=wide([4, 4], strides=[1, 4]), down_proj=wide([4, 4], offset=3, strides=[9, 2]))),
    "shared": w.save(model(**{"embed_tokens": (s := wide([3, 4])), "lm_head": s})),
    "half": w.save(model(norm=w.tensor("F16", [4], bytes(8)))),
}
Z = model()
bad = {}


def add(name, status, words, data):
    bad[name] = (status, words, data)


def edited(**odd):
    """A good archive with one odd field in the member data/0."""
    e = w.members(model())
    next(x for x in e if x.name.endswith("data/0")).odd.update(odd)
    return w.zip_bytes(e)


def tensor_args(storage=None, offset=0, sizes=(4, 4), strides=(4, 1)):
    s = storage or Storage("F32", data([4, 4]))
    return {**model(), "model.layers.0.self_attn.q_proj.weight": Call(("torch._utils", "_rebuild_tensor_v2"), s, offset, tuple(sizes), tuple(strides), False, Ordered())}


def raw(opcodes):
    return w.zip_bytes([Entry("a/data.pkl", opcodes)])


g = GOOD["zip"]
# Things that run programs elsewhere.
add("os_system", 4, "asks for posix.system", w.save(Call(("posix", "system"), "true")))
add("builtins_eval", 4, "asks for builtins.eval", w.save({"a": Call(("builtins", "eval"), "1")}, 4))
add("getattr", 4, "asks for builtins.getattr", w.save({"a": Call(("builtins", "getattr"), Global("torch", "Size"), "x")}))
add("logging", 4, "asks for logging.FileHandler", w.save({"a": Call(("logging", "FileHandler"), "x")}))
add("reduce_text", 3, "a call of something that is not a global", raw(b"\x80\x02X\x01\x00\x00\x00a)R."))
add("reduce_storage", 3, "torch.FloatStorage is called", raw(b"\x80\x02ctorch\nFloatStorage\n)R."))
add("submodule", 4, "asks for torch._utils.x._rebuild_tensor_v2", raw(b"\x80\x02ctorch._utils.x\n_rebuild_tensor_v2\n."))
add("dotted_name", 4, "asks for torch.Size.__reduce__", raw(b"\x80\x04\x8c\x05torch\x8c\x0fSize.__reduce__\x93."))
add("metadata_class", 4, "which is not part of a list of tensors", raw(b"\x80\x02cpathlib\nPosixPath\n."))
add("inst", 4, "opcode 69", raw(b"\x80\x02(iposix\nsystem\n."))
add("obj", 4, "opcode 6f", raw(b"\x80\x02(No."))
add("ext", 4, "opcode 82", raw(b"\x80\x02\x82\x01."))
add("buffer", 4, "opcode 97", raw(b"\x80\x05\x97."))
add("newobj_ex", 4, "opcode 92", raw(b"\x80\x04)}\x92."))
add("persid_text", 4, "opcode 50", raw(b"\x80\x02P0\n."))
add("build_tensor", 3, "a state for something that has none", w.save(Build(Z["lm_head.weight"], {"x": 1})))
# The machine's own limits.
add("stack_empty", 3, "the stack is empty", raw(b"\x80\x020."))
add("no_mark", 3, "a mark is missing", raw(b"\x80\x02t."))
add("memo_absent", 3, "a memo that was never put", raw(b"\x80\x02h\x07."))
add("memo_huge", 4, "memo 2147483647", raw(b"\x80\x02Nr\xff\xff\xff\x7f."))
add("memo_negative", 3, "a negative memo", raw(b"\x80\x02Np-1\n."))
add("marks", 4, "nested more than 10000 levels", raw(b"\x80\x02" + b"(" * 10001 + b"."))
add("two_values", 3, "other than one value", raw(b"\x80\x02NN."))
add("protocol9", 4, "pickle protocol 9", raw(b"\x80\x09N."))
add("text_long", 3, "it is truncated", raw(b"\x80\x02X\xff\xff\xff\xff."))
add("text8_long", 3, "it is truncated", raw(b"\x80\x04\x8d" + b"\xff" * 8 + b"."))
add("frame_long", 3, "it is truncated", raw(b"\x80\x04\x95" + b"\xff" * 8 + b"."))
add("long4", 3, "it is truncated", raw(b"\x80\x02\x8b\xff\xff\xff\x7f."))
add("no_stop", 3, "it is truncated", raw(b"\x80\x02N"))
add("odd_dict", 3, "that is not a container of their kind", raw(b"\x80\x02}(Nu."))
add("append_dict", 3, "that is not a container of their kind", raw(b"\x80\x02}Na."))
add("self_dict", 4, "nested too deeply", raw(b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s."))
add("self_names", 4, "", raw(b"\x80\x02}q\x00(X\x01\x00\x00\x00ah\x00X\x01\x00\x00\x00bh\x00u."))
add("behind_pickle", 3, "something follows the pickle", raw(b"\x80\x02}.xx"))
add("not_a_dict", 3, "a dict of tensors is expected", raw(b"\x80\x02K\x01."))
add("list_of_tensors", 4, "which have no names", w.save({"a": [Z["lm_head.weight"]]}))
add("number_key", 3, "a key that is a number", w.save({1: Z["lm_head.weight"]}))
add("name_control", 3, "not printable ASCII", w.save({"a\nb": Z["lm_head.weight"]}))
add("name_long", 4, "more than 1024 bytes", w.save({"a" * 1100: Z["lm_head.weight"]}))
# Views of storages.
add("storage_bounds", 3, "reaches beyond its storage", w.save(tensor_args(sizes=(5, 4))))
add("offset_bounds", 3, "reaches beyond its storage", w.save(tensor_args(offset=1)))
add("offset_negative", 3, "an offset that is none", w.save(tensor_args(offset=-1)))
add("stride_negative", 3, "a stride that is none", w.save(tensor_args(offset=12, strides=(-4, 1))))
add("size_negative", 3, "a size that is none", w.save(tensor_args(sizes=(-4, 4))))
add("size_2_63", 3, "a size that is none", w.save(tensor_args(sizes=(2**63, 4))))
add("size_overflow", 3, "reaches beyond its storage", w.save(tensor_args(sizes=(2**62, 2**62))))
add("stride_overflow", 3, "reaches beyond its storage", w.save(tensor_args(strides=(2**62, 2**62))))
add("expanded", 4, "more elements than its storage", w.save(tensor_args(sizes=(2**40, 4), strides=(0, 1))))
add("dims_unlike", 3, "not as many strides as sizes", w.save(tensor_args(strides=(1,))))
add("dims_many", 4, "9 dimensions", w.save(tensor_args(sizes=(1,) * 9, strides=(1,) * 9)))
add("shape_wrong", 3, "found [8, 2]", w.save(model(q_proj=wide([8, 2]))))
add("storage_size", 3, "and has 63 bytes", w.zip_bytes([Entry(e.name, e.data[:-1] if e.name.endswith("/data/2") else e.data) for e in w.members(model())]))
add("storage_absent", 3, "a storage that is not in the file", w.zip_bytes([e for e in w.members(model()) if not e.name.endswith("/data/2")]))
add("twice", 3, "is there twice", w.save(Ordered(list(model().items()) + [("lm_head.weight", Z["lm_head.weight"])])))
add("missing", 3, "lm_head.weight", w.save({k: v for k, v in model().items() if k != "lm_head.weight"}))
add("persistent_odd", 3, "a persistent id that is not a storage", raw(b"\x80\x02NQ."))
add("persistent_types", 3, "a storage is not named by its type", raw(b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storageNNNNtQK\x00)))tRs."))
# The archive.
add("crc_pickle", 3, "the file says 00000001", w.zip_bytes([Entry(e.name, e.data, crc=1) if e.name.endswith("data.pkl") else e for e in w.members(model())]))
add("two_pickles", 3, "two data.pkl", w.zip_bytes(w.members(model()) + [Entry("b/data.pkl", b"\x80\x02}.")]))
add("same_pickle_twice", 3, "two data.pkl", w.zip_bytes(w.members(model()) + [Entry("archive/data.pkl", b"\x80\x02}.")]))
add("storage_twice", 3, "is there twice", w.zip_bytes(w.members(model()) + [Entry("archive/data/0", b"")]))
add("outside", 3, "outside the folder of data.pkl", w.zip_bytes(w.members(model()) + [Entry("other/x", b"")]))
add("no_pickle", 3, "without a data.pkl", w.zip_bytes([Entry("a/x", b"1")]))
add("escape", 3, "not named by a plain relative path", w.zip_bytes(w.members(model()) + [Entry("archive/../../x", b"")]))
add("local_name", 3, "has another name in front", edited(local_name=b"archive/data/9"))
add("local_crc", 3, "has another CRC in front", edited(local_crc=5))
add("local_size", 3, "has another size in front", edited(local_size=5))
add("local_flags", 3, "other flags in front", edited(local_flags=0))
add("local_method", 3, "another method", edited(local_method=8))
add("compressed", 4, "is compressed (method 8)", edited(method=8))
add("encrypted", 4, "is encrypted", edited(flags=0x801))
add("two_sizes", 3, "is stored and has two sizes", edited(stored=5))
add("bomb", 4, "is compressed", edited(method=8, stored=10))
add("size_past", 3, "reaches into the directory", edited(size=1 << 30, local_size=1 << 30, stored=1 << 30))
add("descriptor", 3, "a data descriptor that disagrees", w.zip_bytes([Entry(e.name, e.data, descriptor_crc=3) if e.name.endswith("data/0") else e for e in w.members(model())], descriptor=True))
add("count_more", 3, "its directory is broken", w.zip_bytes(w.members(model()), count=16))
add("count_less", 3, "holds more than its members", w.zip_bytes(w.members(model()), count=14))
add("count_huge", 3, "more members than its directory can hold", w.zip_bytes(w.members(model()), count=60000))
add("count_twice", 3, "counts its members in two ways", g[:-14] + b"\x01\0" + g[-12:])
z64 = GOOD["zip64"]
add("count64", 3, "two end records disagree", z64[:-14] + b"\x01\0\x01\0" + z64[-10:])
add("offset_past", 3, "not in front of the end record", w.zip_bytes(w.members(model()), offset=1 << 30))
add("prepended", 3, "neither a zip archive", b"#!/bin/sh\n" * 4 + g)
add("behind_end", 3, "the directory at its end is missing", g + b"x")
add("big_endian", 4, "byte order 'big'", w.zip_bytes([Entry(e.name, b"big") if e.name.endswith("byteorder") else e for e in w.members(model())]))
add("torchscript", 4, "TorchScript", w.zip_bytes(w.members(model()) + [Entry("archive/constants.pkl", b"\x80\x02).")]))
# Before 1.6, and what is not torch's.
l = GOOD["legacy"]
add("legacy_short", 3, "truncated", l[:-1])
add("legacy_long", 3, "something follows the last storage", l + b"\0")
add("legacy_count", 3, "elements, ", l.replace(struct.pack("<Q", 12) + data([3, 4], 0), struct.pack("<Q", 13) + data([3, 4], 0), 1))
add("legacy_big_endian", 4, "little-endian", l.replace(b"little_endian\x88", b"little_endian\x89"))
add("legacy_version", 4, "unknown version", l.replace(struct.pack("<i", 1001), struct.pack("<i", 1002)))
add("legacy_keys", 3, "list of storages", l.replace(b"](X\x01\x00\x00\x000", b"](X\x01\x00\x00\x00x"))
add("tar", 4, "before version 0.1.10", b"sys_info".ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0"))
add("gzip", 4, "compressed with gzip", b"\x1f\x8b\x08" + bytes(40))
add("hdf5", 4, "HDF5", b"\x89HDF\r\n\x1a\n" + bytes(40))
add("numpy", 4, "a NumPy array", b"\x93NUMPY\x01\x00" + bytes(40))
add("pickle", 4, "a Python pickle that torch.save did not write", b"\x80\x04N.")
add("lfs", 4, "Git LFS", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
add("empty", 3, "neither a zip archive", b"")
add("text", 3, "neither a zip archive", b"hello, world")
BAD = bad


def overlap():
    """A member whose directory entry begins inside the data of another, where a local header of its own lies."""
    inner = w.zip_bytes([Entry("archive/y", b"abc")], align=0)
    inner = inner[:30 + 9 + 3]
    e = [Entry("archive/data.pkl", w.pickled({})), Entry("archive/x", inner)]
    z = w.zip_bytes(e, align=0)
    at = z.index(inner)
    return w.zip_bytes(e + [Entry("archive/y", b"abc", at=at)], align=0)


BAD["overlap"] = (3, "' overlap", overlap())
for k in range(1, 64, 7):
    BAD[f"cut_{k:02}"] = (3, "", g[:len(g) * k // 64])

if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", "torch")
    os.makedirs(folder, exist_ok=True)
    for name, content in [*GOOD.items(), *((n, b[2]) for n, b in BAD.items())]:
        with open(os.path.join(folder, name), "wb") as f:
            f.write(content)
