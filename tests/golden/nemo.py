#!/usr/bin/env python3
"""NeMo archives and Megatron's distributed checkpoints give the model that they were made from: `convert` the same tensors, `logits` the same
bytes, with config.json made from model_config.yaml. Models of tests/vectors/engine, and of the shared folder, written by
tests/tools/nemo_write.py; with torch.distributed.checkpoint and zarr where they are installed (TORCH_PYTHON, or python3)."""
import glob, json, os, subprocess, sys, tarfile, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
SHARED = os.environ.get("INGOT_SHARED", "")
import nemo_write as n  # noqa: E402
import torch_write as w  # noqa: E402
from torch_write import Call  # noqa: E402


def ingot(*args):
    return subprocess.run([INGOT, *args], capture_output=True, text=True, errors="replace")


def put(path, files):
    for name, content in files.items():
        os.makedirs(os.path.dirname(f"{path}/{name}"), exist_ok=True)
        with open(f"{path}/{name}", "wb") as f:
            f.write(content)
    return path


def same(name, tmp, source, tensors, logits):
    """The folder or archive holds these tensors, and computes those logits."""
    out = f"{tmp}/{name}.out"
    p = ingot("convert", source, "--to", "safetensors", "-o", out)
    got = {}
    for f in sorted(glob.glob(out + "/*.safetensors")):
        got.update(w.read_safetensors(f))
    check(f"{name}: the tensors are the model's", p.returncode == 0 and got == tensors, p.stderr or [k for k in {**got, **tensors} if got.get(k) != tensors.get(k)])
    p = ingot("logits", out, "--ids", tmp + "/ids", "-o", out + ".logits")
    ok = p.returncode == 0 and open(out + ".logits", "rb").read() == open(logits, "rb").read()
    check(f"{name}: the same logits", ok, p.stderr)


def refused(name, status, words, source):
    p = ingot("inspect", source)
    check(name, p.returncode == status and words in p.stderr and len(p.stderr.strip().splitlines()) == 1, f"{p.returncode}, expected {status}: {p.stderr}")


REAL = """
import sys, json, os
sys.path[:0] = [sys.argv[1] + '/tests/tools']
import nemo_write as n, torch
import torch.distributed.checkpoint as dcp
config, tensors = n.read(sys.argv[2])
types = {'F32': torch.float32, 'BF16': torch.bfloat16, 'F16': torch.float16}
arrays = n.stacked(n.megatron(config, tensors), config['num_hidden_layers'])
made = {'model.' + k: torch.frombuffer(bytearray(v.data), dtype=types[v.dtype]).reshape(v.shape) for k, v in arrays.items()}
dcp.save(made, checkpoint_id=sys.argv[3] + '/dist')
try:
    import zarr, numpy
    for k, v in made.items():
        x = v.view(torch.int16).numpy() if v.dtype == torch.bfloat16 else v.numpy()
        z = zarr.create(x.shape, dtype='<V2' if v.dtype == torch.bfloat16 else x.dtype, store=sys.argv[3] + '/zarr/' + k, chunks=[-(-d // 2) for d in x.shape],
                        compressor=None, fill_value=None, write_empty_chunks=True, zarr_format=2) if not zarr.__version__.startswith('2') else \\
            zarr.create(x.shape, dtype='<V2' if v.dtype == torch.bfloat16 else x.dtype, store=sys.argv[3] + '/zarr/' + k, chunks=[-(-d // 2) for d in x.shape],
                        compressor=None, fill_value=None, write_empty_chunks=True)
        z[...] = x.view('V2') if v.dtype == torch.bfloat16 else x
except ImportError:
    pass
"""


def python_with_torch():
    for p in (os.environ.get("TORCH_PYTHON"), sys.executable):
        if p and subprocess.run([p, "-c", "import importlib.util as u, sys; sys.exit(not u.find_spec('torch'))"]).returncode == 0:
            return p


def compare(tmp, name, folder, real):
    config, tensors = n.read(folder)
    logits = f"{tmp}/{name}.logits"
    p = ingot("logits", folder, "--ids", tmp + "/ids", "-o", logits)
    check(f"{name}: logits of the original", p.returncode == 0, p.stderr)
    plain = {k: (t.dtype, t.shape, t.data) for k, t in tensors.items()}
    mega, layers = n.megatron(config, tensors), config["num_hidden_layers"]
    scaled = (config.get("rope_scaling") or {}).get("rope_type", "default") != "default"   # numbers that NeMo's file cannot say
    yaml = {"config.json": json.dumps(config).encode()} if scaled else {"model_config.yaml": n.yaml_of(config).encode()}
    arrays = n.stacked(mega, layers)
    for tp, pp in ((1, 1), (2, 1), (2, 2)):
        if config.get("num_key_value_heads", 2) % tp or layers % pp:
            continue
        files = {**yaml, **n.rank_files(mega, layers, tp, pp)}
        if scaled:
            same(f"{name}-ranks-{tp}x{pp}", tmp, put(f"{tmp}/{name}-{tp}-{pp}", files), plain, logits)
            continue
        same(f"{name}-nemo-{tp}x{pp}", tmp, put(f"{tmp}/{name}-{tp}-{pp}", {"m.nemo": n.nemo(files)}) + "/m.nemo", plain, logits)
    for style, dot, what in ((tarfile.GNU_FORMAT, "", "gnu"), (tarfile.USTAR_FORMAT, "./", "ustar")):
        if scaled:
            continue
        path = put(f"{tmp}/{name}-{what}", {"m.nemo": n.nemo({**yaml, **{"model_weights/" + k: v for k, v in n.torch_dist(arrays, 2).items()}}, style, dot)})
        same(f"{name}-nemo-dist-{what}", tmp, path, plain, logits)
    same(f"{name}-unpacked", tmp, put(f"{tmp}/{name}-unpacked", {**yaml, **n.rank_files(mega, layers, 1, 1)}), plain, logits)
    same(f"{name}-dist", tmp, put(f"{tmp}/{name}-dist", {**yaml, **{"model_weights/" + k: v for k, v in n.torch_dist(arrays, 3, "module.").items()}}), plain, logits)
    single = {k: v for k, (v, _) in mega.items()}
    same(f"{name}-dist-layers", tmp, put(f"{tmp}/{name}-layers", {**yaml, **n.torch_dist(single)}), plain, logits)
    half = lambda shape: [-(-d // 2) for d in shape]
    for order in "CF":
        files = {"model_weights/" + k: v for k, v in n.zarr(arrays, half, order=order).items()}
        same(f"{name}-zarr-{order}", tmp, put(f"{tmp}/{name}-zarr-{order}", {**yaml, **files}), plain, logits)
    if real:
        p = subprocess.run([real, "-c", REAL, ROOT, folder, f"{tmp}/{name}-real"], capture_output=True, text=True)
        check(f"{name}: torch.distributed.checkpoint writes", p.returncode == 0, p.stderr[-400:])
        for kind in ("dist", "zarr"):
            path = f"{tmp}/{name}-real/{kind}"
            if not os.path.isdir(path):
                print(f"skip {name}: {kind} by its own writer (not installed)")
                continue
            same(f"{name}-{kind}-real", tmp, put(path, yaml), plain, logits)


def bad_input(tmp):
    config, tensors = n.read(ROOT + "/tests/vectors/engine/nemotron")
    mega, layers = n.megatron(config, tensors), config["num_hidden_layers"]
    arrays, yaml = n.stacked(mega, layers), n.yaml_of(config)
    ranks = n.rank_files(mega, layers, 2, 1)
    archive = n.nemo({"model_config.yaml": yaml.encode(), **n.rank_files(mega, layers, 1, 1)})
    dist, zarr = n.torch_dist(arrays), n.zarr(arrays)
    some = "model.decoder.final_layernorm.weight"

    def case(name, status, words, files, with_yaml=yaml):
        refused(name, status, words, put(f"{tmp}/bad-{name.replace(' ', '-')}", {**({"model_config.yaml": with_yaml.encode()} if with_yaml else {}), **files}))

    end = len(archive.rstrip(b"\0"))   # zeros behind the last member may be missing
    for k in range(1, 64):
        p = ingot("inspect", put(f"{tmp}/cut-{k}", {"m.nemo": archive[:end * k // 64]}))
        if p.returncode not in (3, 4) or len(p.stderr.strip().splitlines()) != 1:
            check(f"an archive cut at {k}/64", False, f"{p.returncode} {p.stderr}")
    check("an archive cut at every 1/64 is refused in one sentence", True)
    case("gzip", 4, "compressed with gzip", {"m.nemo": b"\x1f\x8b" + archive[2:]}, None)
    case("a speech model", 4, "a NeMo archive", {"m.nemo": n.nemo({"model_config.yaml": b"encoder: {d_model: 4}\n", "model_weights.ckpt": b"x"})}, None)
    case("a gelu", 4, "key 'activation': 'gelu'", n.rank_files(mega, layers, 1, 1), yaml.replace("squared-relu", "gelu"))
    case("a plain layernorm", 4, "key 'normalization'", n.rank_files(mega, layers, 1, 1), yaml.replace("layernorm1p", "layernorm"))
    case("no rotation", 4, "learned_absolute", n.rank_files(mega, layers, 1, 1), yaml.replace("rope", "learned_absolute"))
    case("no heads", 4, "num_attention_heads", n.rank_files(mega, layers, 1, 1), yaml.replace("num_attention_heads", "x"))
    case("a rank that is not there", 3, "files of ranks are there", dict(list(ranks.items())[1:]))
    case("other layers", 3, "layers of config.json", dist, yaml.replace(f"num_layers: {layers}", f"num_layers: {layers + 1}"))
    case("an unknown array", 4, "is not part of the layouts of Megatron", n.torch_dist({**arrays, "decoder.layers.mixer.weight": arrays["decoder.layers.mlp.linear_fc1.weight"]}))
    case("a part outside", 3, "no file name inside the folder", n.torch_dist(arrays, path="../x"))
    case("a part in no file", 3, "does not exist in the folder", n.torch_dist(arrays, path="x.distcp"))
    case("a part too long", 3, "reaches beyond", n.torch_dist(arrays, length=1 << 40))
    case("a part too short", 3, "directory at its end is missing", n.torch_dist(arrays, length=100))
    case("parts that share bytes", 3, "overlap", n.torch_dist(arrays, offset=0, length=600))
    case("a file cut", 3, "reaches beyond", {**dist, "__0_0.distcp": dist["__0_0.distcp"][:-100]})
    case("metadata cut", 3, "", {**dist, ".metadata": dist[".metadata"][:500]})
    case("metadata runs", 4, "asks for posix.system", {**dist, ".metadata": w.pickled(Call(("posix", "system"), "x"), 4)})
    case("metadata of something", 3, "is not the metadata", {**dist, ".metadata": w.pickled({}, 4)})
    case("a chunk missing", 3, "does not exist", {k: v for k, v in zarr.items() if k != some + "/0"})
    case("a chunk cut", 3, "a chunk has", {**zarr, some + "/0": b"x"})
    for what, status, words, odd in (("blosc", 4, "compressed with blosc", {"compressor": {"id": "blosc"}}), ("filters", 4, "a filter", {"filters": [1]}), ("version 3", 4, "zarr version 3", {"zarr_format": 3}),
                                     ("big endian", 4, "type '>f4'", {"dtype": ">f4"}), ("negative", 3, "sizes above 0", {"shape": [-1]}), ("two shapes", 3, "same dimensions", {"chunks": [1, 1, 1, 1]}),
                                     ("huge", 3, "more chunks", {"shape": [2**62], "chunks": [1]}), ("overflow", 3, "more chunks", {"shape": [2**62, 2**62], "chunks": [2**62, 2**62]}),
                                     ("order", 3, "order 'X'", {"order": "X"})):
        meta = {**json.loads(zarr[some + "/.zarray"]), **odd}
        case("zarr " + what, status, words, {**zarr, some + "/.zarray": json.dumps(meta).encode()})
    found = [p for p in glob.glob(ROOT + "/tests/vectors/tokenizer/**/*.model", recursive=True) if "tiktoken" not in p]
    if found:
        with open(found[0], "rb") as f:
            path = put(f"{tmp}/tok", {"m.nemo": n.nemo({"model_config.yaml": n.yaml_of(config, "0123_tokenizer.model").encode(), "0123_tokenizer.model": f.read(), **n.rank_files(mega, layers, 1, 1)})})
        p = ingot("tokenize", path + "/m.nemo", "--text", "hello")
        check("the archive's tokenizer is found", p.returncode == 0, p.stderr)

with tempfile.TemporaryDirectory() as tmp:
    with open(tmp + "/ids", "w") as f:
        f.write("[[1, 2, 3, 4, 5, 6, 7]]")
    real = python_with_torch()
    if not real:
        print("skip torch.distributed.checkpoint and zarr by their own writers: not installed")
    compare(tmp, "nemotron", ROOT + "/tests/vectors/engine/nemotron", real)
    compare(tmp, "llama", ROOT + "/tests/vectors/engine/llama", None)
    if SHARED:
        compare(tmp, "shared-nemotron", SHARED + "/fixtures/nemotron", real)
        compare(tmp, "shared-llama", SHARED + "/fixtures/llama_fp32_sharded", None)
    bad_input(tmp)
finish()
