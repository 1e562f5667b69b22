#!/usr/bin/env python3
"""Byte tokens in GGUF: of a vocabulary with byte fallback, exactly the pieces "<0x00>" to "<0xFF>" are bytes (type 6). What only looks like one
("<0x-1>", "<0x+1>", "<0x 1>", "<0xG0>") is an ordinary token, as in llama.cpp's converter. The model is made by bench/make_checkpoint, the tokenizer is tests/vectors/tokenizer/json_gemma with a few pieces renamed."""
import glob, json, os, struct, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
MAKE = next(iter(sorted(glob.glob(ROOT + "/build/*/bench/make_checkpoint"))), None)
sys.path.insert(0, ROOT + "/tests/golden")
from gguf_scales import FAMILIES, SIZES  # noqa: E402


def arrays(path):
    """The arrays of texts and of I32."""
    b, at, out = open(path, "rb").read(), 24, {}
    size = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def text():
        nonlocal at
        n = struct.unpack_from("<Q", b, at)[0]
        at += 8 + n
        return b[at - n:at].decode()

    for _ in range(struct.unpack_from("<Q", b, 16)[0]):
        key, kind = text(), struct.unpack_from("<I", b, at)[0]
        at += 4
        if kind == 8:
            text()
        elif kind == 9:
            kind, n = struct.unpack_from("<IQ", b, at)
            at += 12
            if kind == 8:
                out[key] = [text() for _ in range(n)]
            else:
                out[key] = struct.unpack_from(f"<{n}i", b, at) if kind == 5 else None
                at += n * size[kind]
        else:
            at += size[kind]
    return out


if not MAKE:
    print("skip gguf_bytes: build/*/bench/make_checkpoint is not built (make test-programs)")
    sys.exit(0)
ODD = ["<0x-1>", "<0x+1>", "<0x 1>", "<0xG0>", "<0x1>>", "<0x001>", "<0X01>", "0x01>>"]
with tempfile.TemporaryDirectory() as tmp:
    with open(tmp + "/c.json", "w") as f:
        json.dump({**SIZES, **FAMILIES["gemma3"][0]}, f)
    subprocess.run([MAKE, tmp + "/m", tmp + "/c.json"], check=True, capture_output=True)
    doc = json.load(open(ROOT + "/tests/vectors/tokenizer/json_gemma/tokenizer.json"))
    vocab = doc["model"]["vocab"]
    free = [t for t in vocab if t.endswith(",") and len(t) > 1][:len(ODD)]  # numbers with a comma, which merges make
    doc["model"]["merges"] = [m for m in doc["model"]["merges"] if not set(free) & {"".join(m), *m}]
    doc["model"]["vocab"] = {ODD[free.index(t)] if t in free else t: i for t, i in vocab.items()}
    with open(tmp + "/m/tokenizer.json", "w") as f:
        json.dump(doc, f)
    with open(tmp + "/m/tokenizer_config.json", "w") as f:
        json.dump({"tokenizer_class": "GemmaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, f)
    p = subprocess.run([INGOT, "convert", tmp + "/m", "--to", "gguf", "-o", tmp + "/m.gguf", "-q"], capture_output=True, text=True)
    check("a vocabulary with odd pieces is written", p.returncode == 0, p.stderr)
    if p.returncode == 0:
        a = arrays(tmp + "/m.gguf")
        of = dict(zip(a["tokenizer.ggml.tokens"], a["tokenizer.ggml.token_type"]))
        check("256 pieces are bytes, and no other", {t for t, k in of.items() if k == 6} == {f"<0x{i:02X}>" for i in range(256)}, {t: k for t, k in of.items() if k == 6 and t in ODD})
        check("what only looks like one is ordinary", all(of.get(t) == 1 for t in ODD), {t: of.get(t) for t in ODD})
finish()
