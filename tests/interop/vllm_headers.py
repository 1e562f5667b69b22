"""The headers of a folder's safetensors files: name -> {dtype, shape}."""
import json, os, struct


def headers(folder):
    out = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            with open(os.path.join(folder, name), "rb") as f:
                head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
            out.update({k: v for k, v in head.items() if k != "__metadata__"})
    return out
