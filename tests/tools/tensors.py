"""What a safetensors file holds, read and written without any library; for the scripts in tests/cli and tests/golden."""
import glob, json, os, struct


def files(path):
    return sorted(glob.glob(path + "/*.safetensors")) if os.path.isdir(path) else [path]


def header(path):
    """Of one file: its JSON, and where the data begins."""
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        return json.loads(f.read(n)), 8 + n


def tensors(path, prefix=""):
    """name without the prefix -> (dtype, shape, bytes), of a file or of a folder's; of the names that begin with the prefix."""
    out = {}
    for file in files(path):
        head, data = header(file)
        with open(file, "rb") as f:
            for k, t in head.items():
                if k != "__metadata__" and k.startswith(prefix):
                    f.seek(data + t["data_offsets"][0])
                    out[k[len(prefix):]] = (t["dtype"], t["shape"], f.read(t["data_offsets"][1] - t["data_offsets"][0]))
    return out


def save(path, all_tensors):
    """name -> (dtype, shape, bytes) into one file; in a folder that has others, instead of them."""
    head, at = {}, 0
    for k, (dtype, shape, raw) in all_tensors.items():
        head[k] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    if os.path.isdir(path):
        for old in glob.glob(path + "/*.safetensors*"):
            os.remove(old)
        path += "/model.safetensors"
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, _, raw in all_tensors.values():
            f.write(raw)
