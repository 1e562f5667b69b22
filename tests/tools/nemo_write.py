"""From a Hugging Face folder (Llama or Nemotron-4) back to what NeMo and Megatron-core write, in plain Python: names, fused and interleaved
projections, one file or one per rank, torch_dist and zarr. The mapping is Megatron's and NeMo's own, inverted; containers are written from
their descriptions (tests/tools/torch_write.py, torch/distributed/checkpoint, zarr v2), and tests/golden/nemo.py holds them against the
public writers where those are installed. usage: nemo_write.py FOLDER OUT.nemo [TP PP]"""
import glob, io, json, os, sys, tarfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import torch_write as w  # noqa: E402
from torch_write import Build, Call, Global, Ordered  # noqa: E402


class T:
    """A tensor of at most three dimensions: rows of bytes."""
    def __init__(self, dtype, shape, data):
        self.dtype, self.shape, self.data = dtype, list(shape), data

    @property
    def row(self):
        n = w.BYTES[self.dtype]
        for d in self.shape[1:]:
            n *= d
        return n

    def rows(self, a, b):
        return T(self.dtype, [b - a] + self.shape[1:], self.data[a * self.row:b * self.row])

    def cols(self, a, b):
        e = w.BYTES[self.dtype]
        return T(self.dtype, [self.shape[0], b - a], b"".join(self.data[r * self.row + a * e:r * self.row + b * e] for r in range(self.shape[0])))


def cat(parts):
    return T(parts[0].dtype, [sum(p.shape[0] for p in parts)] + parts[0].shape[1:], b"".join(p.data for p in parts))


def stack(parts):
    return T(parts[0].dtype, [len(parts)] + parts[0].shape, b"".join(p.data for p in parts))


def read(folder):
    with open(folder + "/config.json") as f:
        config = json.load(f)
    tensors = {}
    for p in sorted(glob.glob(folder + "/*.safetensors")):
        tensors.update({k: T(*v) for k, v in w.read_safetensors(p).items()})
    return config, tensors


def megatron(config, t):
    """name -> (tensor, cut): of each layer "decoder.layers.N. ...", cut as in formats/megatron_map.c."""
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    groups, hd = config.get("num_key_value_heads", heads), config.get("head_dim") or hidden // heads
    gated = config["model_type"] != "nemotron"
    out = {"embedding.word_embeddings.weight": (t["model.embed_tokens.weight"], 0)}
    for n in range(config["num_hidden_layers"]):
        h, m = f"model.layers.{n}.", f"decoder.layers.{n}."
        for kind in ("weight", "bias"):
            if h + "self_attn.q_proj." + kind in t:
                q, k, v = (t[h + f"self_attn.{x}_proj." + kind] for x in "qkv")
                per = heads // groups * hd
                out[m + "self_attention.linear_qkv." + kind] = (cat([p for g in range(groups) for p in (
                    q.rows(g * per, (g + 1) * per), k.rows(g * hd, (g + 1) * hd), v.rows(g * hd, (g + 1) * hd))]), 0)
            if h + "mlp.up_proj." + kind in t:
                parts = [t[h + f"mlp.{x}_proj." + kind] for x in (("gate", "up") if gated else ("up",))]
                out[m + "mlp.linear_fc1." + kind] = (cat(parts), "halves" if gated else 0)
            for a, b, cut in (("input_layernorm", "self_attention.linear_qkv.layer_norm_", -1), ("post_attention_layernorm", "mlp.linear_fc1.layer_norm_", -1),
                              ("self_attn.o_proj", "self_attention.linear_proj.", 1), ("mlp.down_proj", "mlp.linear_fc2.", 1)):
                if f"{h}{a}.{kind}" in t:
                    out[m + b + kind] = (t[f"{h}{a}.{kind}"], cut if kind == "weight" else -1)
    for kind in ("weight", "bias"):
        if "model.norm." + kind in t:
            out["decoder.final_layernorm." + kind] = (t["model.norm." + kind], -1)
    if "lm_head.weight" in t:
        out["output_layer.weight"] = (t["lm_head.weight"], 0)
    return out


def stacked(mega, layers):
    """As torch_dist and zarr have them: layers in front."""
    out = {}
    for name, (x, cut) in mega.items():
        if name.startswith("decoder.layers.0."):
            rest = name[len("decoder.layers.0."):]
            out["decoder.layers." + rest] = stack([mega[f"decoder.layers.{n}.{rest}"][0] for n in range(layers)])
        elif not name.startswith("decoder.layers."):
            out[name] = x
    return out


def yaml_of(config, tokenizer=None):
    nemotron = config["model_type"] == "nemotron"
    scaling = config.get("rope_scaling") or {}
    d = {"num_layers": config["num_hidden_layers"], "hidden_size": config["hidden_size"], "ffn_hidden_size": config["intermediate_size"],
         "num_attention_heads": config["num_attention_heads"], "num_query_groups": config.get("num_key_value_heads", config["num_attention_heads"]),
         "kv_channels": config.get("head_dim") or "null", "max_position_embeddings": config["max_position_embeddings"],
         "layernorm_epsilon": config.get("norm_eps", config.get("rms_norm_eps")), "activation": "squared-relu" if nemotron else "fast-swiglu",
         "normalization": "layernorm1p" if nemotron else "rmsnorm", "position_embedding_type": "rope",
         "rotary_percentage": config.get("partial_rotary_factor", 1.0), "rotary_base": config.get("rope_theta", 10000.0),
         "bias": str(bool(config.get("mlp_bias"))).lower(), "share_embeddings_and_output_weights": str(bool(config.get("tie_word_embeddings"))).lower(),
         "precision": {"float32": "32", "float16": "16"}.get(config.get("torch_dtype", config.get("dtype")), "bf16")}
    assert not scaling or scaling.get("rope_type") == "default", scaling
    text = "mcore_gpt: true\n" + "".join(f"{k}: {v}\n" for k, v in d.items())
    return text + ("tokenizer:\n  library: sentencepiece\n  model: nemo:%s\n" % tokenizer if tokenizer else "tokenizer:\n  library: huggingface\n  type: x\n")


def as_torch(t):
    return w.tensor(t.dtype, t.shape, t.data)


def rank_files(mega, layers, tp, pp):
    """path -> bytes of torch.save."""
    files = {}
    per = layers // pp
    for p in range(pp):
        for k in range(tp):
            d = Ordered()
            for name, (x, cut) in mega.items():
                if name.startswith("decoder.layers."):
                    n, rest = name[len("decoder.layers."):].split(".", 1)
                    if int(n) // per != p:
                        continue
                    name = f"decoder.layers.{int(n) - p * per}.{rest}"
                elif (name.startswith("embedding") and p) or (name.startswith(("decoder.final", "output")) and p != pp - 1):
                    continue
                if cut == 0:
                    s = x.shape[0] // tp
                    x = x.rows(k * s, (k + 1) * s)
                elif cut == 1:
                    s = x.shape[1] // tp
                    x = x.cols(k * s, (k + 1) * s)
                elif cut == "halves":
                    h, s = x.shape[0] // 2, x.shape[0] // 2 // tp
                    x = cat([x.rows(k * s, (k + 1) * s), x.rows(h + k * s, h + (k + 1) * s)])
                d.append(("model." + name, as_torch(x)))
            d.append(("model.decoder.layers.0.self_attention.linear_qkv._extra_state", Call(("_io", "BytesIO"), b"x")))
            files[("" if tp * pp == 1 else f"mp_rank_{k:02}/" if pp == 1 else f"tp_rank_{k:02}_pp_rank_{p:03}/") + "model_weights.ckpt"] = w.save(d)
    return files


def nemo(files, style=tarfile.PAX_FORMAT, dot="./"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=style) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(dot + name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


META, FS = "torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.filesystem"


def new(module, name):
    return Call((module, name), op=b"\x81")


def size(*n):
    return Call(("torch", "Size"), tuple(n))


DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


def torch_dist(arrays, parts=1, prefix="model.", **odd):
    """path -> bytes; `parts`: along the first dimension of each array, one file each, the last one smaller where it does not divide."""
    files, listed, stored = {f"__{p}_0.distcp": bytearray() for p in range(parts)}, [], []
    for name, x in arrays.items():
        chunks, per = [], -(-x.shape[0] // parts)
        for p in range(parts):
            a, b = p * per, min((p + 1) * per, x.shape[0])
            if a >= b:
                continue
            part, file = x.rows(a, b), f"__{p}_0.distcp"
            at, zeros = len(files[file]), [0] * (len(x.shape) - 1)
            files[file] += w.save(as_torch(part))
            chunks.append(Build(new(META, "ChunkStorageMetadata"), {"offsets": size(a, *zeros), "sizes": size(*part.shape)}))
            stored.append((Build(new(META, "MetadataIndex"), {"fqn": prefix + name, "offset": size(a, *zeros), "index": p}),
                           Build(new(FS, "_StorageInfo"), {"relative_path": odd.get("path", file), "offset": odd.get("offset", at), "length": odd.get("length", len(files[file]) - at)})))
        properties = Build(new(META, "TensorProperties"), (Global("torch", DTYPES[x.dtype]), Call(("torch.serialization", "_get_layout"), "torch.strided"),
                                                           False, Call((META, "_MEM_FORMAT_ENCODING"), 0), False))
        listed.append((prefix + name, Build(new(META, "TensorStorageMetadata"), {"properties": properties, "size": size(*x.shape), "chunks": chunks})))
    listed.append((prefix + "decoder.layers.self_attention._extra_state/shard_0_1", new(META, "BytesStorageMetadata")))
    state = {"state_dict_metadata": Raw_dict(listed), "planner_data": None, "storage_data": Raw_dict(stored)}
    meta = w.Pickler(4).done(Build(new(META, "Metadata"), state))
    return {**{k: bytes(v) for k, v in files.items()}, ".metadata": meta, "common.pt": w.save({"x": 1}),
            "metadata.json": b'{"sharded_backend": "torch_dist", "sharded_backend_version": 1, "common_backend": "torch", "common_backend_version": 1}'}


class Raw_dict(dict):
    """Pairs whose keys cannot be hashed."""
    def __init__(self, pairs):
        self.pairs = pairs

    def items(self):
        return self.pairs


ZARR = {"F32": "<f4", "F16": "<f2", "BF16": "bfloat16"}


def zarr(arrays, chunk=lambda shape: shape, prefix="model.", order="C", **odd):
    files = {}
    for name, x in arrays.items():
        c, e = chunk(x.shape), w.BYTES[x.dtype]
        meta = {"chunks": c, "compressor": None, "dtype": ZARR[x.dtype], "fill_value": None, "filters": None, "order": order, "shape": x.shape, "zarr_format": 2, **odd}
        files[f"{prefix}{name}/.zarray"] = json.dumps(meta).encode()
        counts = [-(-a // b) for a, b in zip(x.shape, c)]
        for k in range(prod(counts)):
            number = unravel(k, counts)
            data = bytearray(prod(c) * e)
            for i in range(prod(c)):
                inside = unravel(i, c)
                at = [n * b + j for n, b, j in zip(number, c, inside)]
                if all(a < s for a, s in zip(at, x.shape)):
                    j = ravel(inside, c) if order == "C" else ravel(inside[::-1], c[::-1])
                    src = ravel(at, x.shape)
                    data[j * e:j * e + e] = x.data[src * e:src * e + e]
            files[f"{prefix}{name}/" + ".".join(map(str, number))] = bytes(data)
    return files


def prod(v):
    n = 1
    for x in v:
        n *= x
    return n


def unravel(k, shape):
    out = []
    for d in reversed(shape):
        out.insert(0, k % d)
        k //= d
    return out


def ravel(at, shape):
    n = 0
    for a, d in zip(at, shape):
        n = n * d + a
    return n


if __name__ == "__main__":
    config, tensors = read(sys.argv[1])
    tp, pp = (int(x) for x in sys.argv[3:5]) if len(sys.argv) > 4 else (1, 1)
    mega = megatron(config, tensors)
    with open(sys.argv[2], "wb") as f:
        f.write(nemo({"model_config.yaml": yaml_of(config).encode(), **rank_files(mega, config["num_hidden_layers"], tp, pp)}))
