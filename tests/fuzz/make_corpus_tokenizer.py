"""Writes the saved inputs of fuzz_tokenizer: a small tokenizer.json, a byte 0x1e, a text. The standard library alone;
running it again changes nothing. usage: make_corpus_tokenizer.py [tests/fuzz/corpus]"""
import json, os, sys

OUT = os.path.join(sys.argv[1] if len(sys.argv) > 1 else "tests/fuzz/corpus", "tokenizer")
TEXT = "ab  ab's 12345\n\n \u00e9e\u0301 \u4e00\U0001F642<s>ab <s> \x00x"
TOKENS = ["a", "b", "ab", " ", "<", "s", ">", "1", "\u00e9", "\u2581", "\u2581a", "<unk>", "<0x41>", "<0xC3>"]
LETTERS = {c: i for i, c in enumerate(TOKENS)}


def save(name, doc, text=TEXT):
    data = (doc if isinstance(doc, str) else json.dumps(doc, separators=(",", ":"))).encode()
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(data + b"\x1e" + (text if isinstance(text, bytes) else text.encode()))


def model(vocab=LETTERS, merges=(["a", "b"], ["\u2581", "a"]), **more):
    return {"version": "1.0", "model": dict({"type": "BPE", "vocab": vocab, "merges": list(merges)}, **more)}


def regex(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def token(i, content, **more):
    names = ["single_word", "lstrip", "rstrip", "normalized", "special"]
    return dict({"id": i, "content": content}, **dict({n: False for n in names}, **more))


os.makedirs(OUT, exist_ok=True)
LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
NEW = r"(?i:'s|'t|'ll)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
MARK = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
printable = {chr(b): b for b in range(33, 127)}
bytes_vocab = dict(printable, **{chr(0x100 + b): 200 + b for b in range(33)}, **{"\u0120a": 300, "ab": 301})
level = dict(model(bytes_vocab, (["\u0120", "a"], ["a", "b"])), pre_tokenizer=LEVEL, decoder={"type": "ByteLevel"})
save("plain", model())
save("joined", model(merges=("#version: 0.2", "a b", "\u2581 a")))
save("whole_words", model(ignore_merges=True))
save("fallback", model(byte_fallback=True, unk_token="<unk>", fuse_unk=True), "A\u00c1\u00e9zza")
save("unk_absent", model(unk_token="<x>"))
save("byte_level", level)
save("long_word", level, "ab" * 60)
save("new_pattern", dict(level, pre_tokenizer={"type": "Sequence", "pretokenizers": [regex(NEW), dict(LEVEL, use_regex=False)]}))
for b in ["Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]:
    save("split_" + b, dict(model(), pre_tokenizer=regex(r"\s|\d", b, b == "Contiguous")))
save("digits", dict(model(), pre_tokenizer={"type": "Digits", "individual_digits": True}))
save("metaspace", dict(model(), pre_tokenizer=MARK, decoder=MARK))
save("back_and_forth", dict(model(), pre_tokenizer=regex("(a|a)*[bx]")), "a" * 200 + "cb")
save("classes", dict(model(), pre_tokenizer=regex(r"(?<=a)[^\S\-b-z]{1,2}(?>x+)|(?!\P{Lu})\x{1F642}*?|^.$")))
save("normalize", dict(model(), normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}, REPLACE, {"type": "Prepend", "prepend": "\u2581"}]}))
added = [token(14, "<s>", special=True, lstrip=True), token(15, "<s>a", rstrip=True), token(0, "a", single_word=True), token(16, "b ", normalized=True)]
template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "s"}}, {"Sequence": {"id": "A"}}], "special_tokens": {"s": {"ids": [14]}}}
save("added", dict(model(), added_tokens=added, normalizer=REPLACE, post_processor={"type": "Sequence", "processors": [LEVEL, template]}))
steps = [REPLACE, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 2}]
save("decoders", dict(model(byte_fallback=True), decoder={"type": "Sequence", "decoders": steps}))
save("not_utf8", model(), b"ab\xed\xa0\x80")
save("bad_merge", model(merges=(["a", "x"],)))
save("bad_ids", model({"a": 0, "b": 4194304}))
save("bad_twice", '{"model":{"vocab":{"a":0,"\\u0061":1},"merges":[]}}')
save("bad_kind", dict(model(), decoder={"type": "WordPiece"}))
save("bad_nested", dict(model(), pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "Sequence", "pretokenizers": []}, 1]}))
