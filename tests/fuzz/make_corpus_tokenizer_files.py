"""Writes the saved inputs of fuzz_tokenizer_files: a letter, a tokenizer's file, 0x1e, tokenizer_config.json, 0x1e, a
text. The standard library alone; running it again changes nothing.
usage: make_corpus_tokenizer_files.py [tests/fuzz/corpus]"""
import base64, json, os, struct, sys

OUT = os.path.join(sys.argv[1] if len(sys.argv) > 1 else "tests/fuzz/corpus", "tokenizer_files")
TEXT = "ab  abc's 12345\n\n \u00e9e\u0301 \u4e00\U0001F642<s>ab <x> \x00xx\u2581"
CONFIG = {"add_eos_token": True, "added_tokens_decoder": {"300": {"content": "<x>", "lstrip": True, "special": True}}}
os.makedirs(OUT, exist_ok=True)


def save(name, letter, data, config=CONFIG, text=TEXT):
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(letter + data + b"\x1e" + (json.dumps(config).encode() if config is not None else b"") + b"\x1e")
        f.write(text if isinstance(text, bytes) else text.encode())


def varint(v):
    out = b""
    while v > 127:
        out += bytes([v & 127 | 128])
        v >>= 7
    return out + bytes([v])


def member(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def number(n, v):
    return varint(n << 3) + varint(v)


def piece(text, score=-1.0, kind=1):
    data = member(1, text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score) + (number(3, kind) if kind != 1 else b"")
    return member(1, data)


PIECES = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3)
WORDS = b"".join(piece(p, -i) for i, p in enumerate(["\u2581a", "ab", "bc", "abc", "\u2581", "a", "c", "1", "12", "\u00e9", "x"]))
BYTES = b"".join(piece("<0x%02X>" % i, 0, 6) for i in range(256))
USER = piece("xx", 0, 4) + piece("  ", 0, 4)


def charsmap(rules):
    """A double array of one block per state, in the layout of darts-clone, with rules of one or two bytes."""
    units, texts = [0xffffffff] * 2048, b""
    def value(text):
        nonlocal texts
        at = len(texts)
        texts += text.encode() + b"\0"
        return 1 << 31 | at
    units[0] = 256 << 10
    block = 512
    for key, text in rules.items():
        key, at = key.encode(), 256
        for i, byte in enumerate(key):
            leaf = i == len(key) - 1
            at ^= byte
            units[at] = byte | (256 if leaf else 0) | (at ^ block) << 10
            at, block = block, block + 256
        units[at] = value(text)
    return struct.pack("<I", 4 * len(units)) + struct.pack("<%dI" % len(units), *units) + texts


def model(kind, pieces, bytes_too=False, **norm):
    spec = b"".join(number(n, norm[k]) for n, k in ((3, "prefix"), (4, "remove"), (5, "escape")) if k in norm)
    spec = (member(2, norm["map"]) if "map" in norm else b"") + spec
    return pieces + member(2, number(3, kind) + number(35, bytes_too) + number(24, norm.get("suffix", 0))) + member(3, spec)


MAP = charsmap({"\u00e9": "e", "1": " ", "ab": ""})
for name, kind in (("bpe", 2), ("unigram", 1)):
    save(name, b"m", model(kind, PIECES + WORDS))
    save(name + "_bytes", b"m", model(kind, PIECES + WORDS + BYTES, True, prefix=0, remove=0))
    save(name + "_user", b"m", model(kind, PIECES + WORDS + USER, remove=0), None)
    save(name + "_rules", b"m", model(kind, PIECES + WORDS, map=MAP, escape=0), None)
    save(name + "_suffix", b"m", model(kind, PIECES + WORDS, suffix=1), {})
save("unused", b"m", model(1, PIECES + WORDS + piece("q", 0, 5)))
save("bad_word_model", b"m", model(3, PIECES + WORDS))
save("bad_twice", b"m", model(2, PIECES + WORDS + WORDS))
save("bad_cut", b"m", model(2, PIECES + WORDS)[:-9])
save("bad_length", b"m", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
save("bad_map", b"m", model(2, PIECES + WORDS, map=MAP[:40]))
save("bad_config", b"m", model(2, PIECES + WORDS), {"added_tokens_decoder": {"-1": {}}})
TOKENS = [bytes([i]) for i in range(256)] + [b"ab", b"abab", b" a", b"\xe4\xb8", b"12"]
lines = b"".join(base64.b64encode(t) + b" %d\n" % i for i, t in enumerate(TOKENS))
save("kimi", b"t", lines)
save("kimi_crlf", b"t", lines.replace(b"\n", b"\r\n"), None, "\u4e00\u4e8c a\u0300 " + "b" * 300)
save("bad_kimi_base64", b"t", lines.replace(b"YWI=", b"YWJ="))
save("bad_kimi_rank", b"t", lines.replace(b" 7\n", b" 99999999\n"))
save("bad_kimi_twice", b"t", lines + lines)
vocab = [{"rank": i, "token_bytes": base64.b64encode(t).decode(), "token_str": None} for i, t in enumerate(TOKENS)]
config = {"pattern": r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", "default_vocab_size": 262, "default_num_special_tokens": 4, "version": "v11"}
special = [{"rank": i, "token_str": s, "is_control": True} for i, s in enumerate(["<unk>", "<s>", "</s>"])]
save("tekken", b"k", json.dumps({"config": config, "vocab": vocab, "special_tokens": special}).encode())
save("tekken_classes", b"k", json.dumps({"config": dict(config, pattern=r"[\p{L}&&[^ab]]+|^.$|."), "vocab": vocab, "special_tokens": special}).encode())
save("bad_tekken_size", b"k", json.dumps({"config": dict(config, default_vocab_size=900), "vocab": vocab, "special_tokens": special}).encode())
save("bad_tekken_rank", b"k", json.dumps({"config": config, "vocab": vocab[::-1], "special_tokens": special}).encode())
save("bad_tekken_old", b"k", json.dumps({"config": config, "vocab": vocab}).encode())
