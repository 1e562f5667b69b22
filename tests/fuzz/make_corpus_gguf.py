"""Writes the saved inputs of fuzz_gguf into tests/fuzz/corpus/gguf: one tiny model that opens, and one file for every rule that
the reader must enforce. tests/cli/gguf.py reads GOOD and BAD from here and checks what `ingot inspect` says of each.
usage: make_corpus_gguf.py [FOLDER]"""
import os, struct, sys

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FORMS = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<B", U64: "<Q", I64: "<q", F64: "<d"}
TYPES = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q8_0": (8, 32, 34), "Q4_K": (12, 256, 144), "BF16": (30, 1, 2)}


class Raw(bytes):
    """Bytes that stand where a value would."""


def text(s):
    b = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(b)) + b


def value(kind, v):
    if isinstance(v, Raw):
        return bytes(v)
    if isinstance(v, list):
        return struct.pack("<IQ", kind, len(v)) + b"".join(value(kind, x) for x in v)
    return text(v) if kind == STRING else struct.pack(FORMS[kind], v)


def pair(key, kind, v):
    return text(key) + struct.pack("<I", ARRAY if isinstance(v, list) else kind) + value(kind, v)


def size_of(kind, dims):
    _, block, bytes_ = TYPES[kind]
    n = 1
    for d in dims:
        n *= d
    return n // block * bytes_


def gguf(pairs, tensors, version=3, magic=b"GGUF", align=32, n_tensors=None, n_pairs=None, data=None, tail=b"", big=False):
    """`pairs`: bytes or (key, kind, value); `tensors`: (name, kind, dims innermost first[, offset[, type number[, n_dims]]])."""
    head = b"".join(p if isinstance(p, bytes) else pair(*p) for p in pairs)
    infos, at = b"", 0
    for name, kind, dims, *more in tensors:
        offset, number, n_dims = (list(more) + [None] * 3)[:3]
        infos += text(name) + struct.pack("<I", len(dims) if n_dims is None else n_dims) + b"".join(struct.pack("<Q", d) for d in dims)
        infos += struct.pack("<IQ", TYPES[kind][0] if number is None else number, at if offset is None else offset)
        at += -(-min(size_of(kind, dims), 1 << 20) // align) * align
    form = ">" if big else "<"
    out = magic + struct.pack(form + "IQQ", version, len(tensors) if n_tensors is None else n_tensors, len(pairs) if n_pairs is None else n_pairs)
    out += head + infos
    out += bytes(-len(out) % align)
    return out + (bytes(range(1, 65)) * (at // 64 + 1))[:at] + tail if data is None else out + data


# 4 wide, 2 heads, 1 layer, 4 tokens
PAIRS = [("general.architecture", STRING, "llama"), ("llama.context_length", U32, 8), ("llama.embedding_length", U32, 4), ("llama.block_count", U32, 1),
         ("llama.feed_forward_length", U32, 4), ("llama.attention.head_count", U32, 2), ("llama.attention.head_count_kv", U32, 1),
         ("llama.attention.layer_norm_rms_epsilon", F32, 1e-5), ("llama.rope.freq_base", F32, 10000.0), ("tokenizer.ggml.model", STRING, "none")]
TENSORS = [("token_embd.weight", "F16", (4, 4)), ("blk.0.attn_norm.weight", "F32", (4,)), ("blk.0.attn_q.weight", "F16", (4, 4)), ("blk.0.attn_k.weight", "F16", (4, 2)),
           ("blk.0.attn_v.weight", "F16", (4, 2)), ("blk.0.attn_output.weight", "F16", (4, 4)), ("blk.0.ffn_norm.weight", "F32", (4,)), ("blk.0.ffn_gate.weight", "F16", (4, 4)),
           ("blk.0.ffn_up.weight", "F16", (4, 4)), ("blk.0.ffn_down.weight", "F16", (4, 4)), ("output_norm.weight", "F32", (4,)), ("output.weight", "F16", (4, 4))]


def but(pairs, key, *new):
    """The list with the pair of that key replaced, or removed without a new one."""
    return [q for p in pairs for q in ([*new] if p[0] == key else [p])]


def tensor(name, *new):
    return [q for t in TENSORS for q in ([*new] if t[0] == name else [t])]


def with_(*more):
    return gguf(PAIRS + list(more), TENSORS)


EVERY = [("a." + str(k), k, 1) for k in FORMS] + [("b." + str(k), k, [1, 0, 1]) for k in FORMS] + [("c", STRING, ["", "x"]), ("d", STRING, []), ("e", U8, [])]
TOKENIZER = but(PAIRS, "tokenizer.ggml.model", ("tokenizer.ggml.model", STRING, "gpt2"), ("tokenizer.ggml.pre", STRING, "gpt-2"),
                ("tokenizer.ggml.tokens", STRING, ["a", "b", "ab", "<s>"]), ("tokenizer.ggml.token_type", I32, [1, 1, 1, 3]),
                ("tokenizer.ggml.merges", STRING, ["a b"]), ("tokenizer.ggml.bos_token_id", U32, 3))
GOOD = {"good": gguf(PAIRS, TENSORS), "version_2": gguf(PAIRS, TENSORS, version=2), "every_type": with_(*EVERY),
        "alignment_64": gguf(PAIRS + [("general.alignment", U32, 64)], TENSORS, align=64), "tokenizer": gguf(TOKENIZER, TENSORS)}
SPM = but(PAIRS, "tokenizer.ggml.model", ("tokenizer.ggml.model", STRING, "llama"), ("tokenizer.ggml.tokens", STRING, ["<unk>", "<s>", "a", "[PAD3]"]),
          ("tokenizer.ggml.scores", F32, [0.0, 0.0, -1.0, 0.0]), ("tokenizer.ggml.token_type", I32, [2, 3, 1, 5]), ("tokenizer.ggml.bos_token_id", U32, 1))
GOOD["sentencepiece"] = gguf(SPM, TENSORS)
# What `ingot inspect` says: exit status and words.
BAD = {
    "nothing": (3, "too few bytes", b""), "short": (3, "too few bytes", b"GGUF\3\0\0\0"), "magic": (3, "not a GGUF file", gguf(PAIRS, TENSORS, magic=b"GGML")),
    "version_1": (4, "version 1", gguf(PAIRS, TENSORS, version=1)), "version_4": (4, "version 4", gguf(PAIRS, TENSORS, version=4)),
    "big_endian": (4, "big-endian", gguf(PAIRS, TENSORS, big=True)),
    "many_tensors": (3, "more than its", gguf(PAIRS, TENSORS, n_tensors=2**63)), "many_values": (3, "more than its", gguf(PAIRS, TENSORS, n_pairs=2**64 - 1)),
    "more_tensors": (3, "header", gguf(PAIRS, TENSORS, n_tensors=len(TENSORS) + 1)), "fewer_values": (3, "'", gguf(PAIRS, TENSORS, n_pairs=len(PAIRS) - 1)),
    "key_empty": (3, "a key of 0 bytes", with_(("", U8, 1))), "key_huge": (3, "a key of", with_(struct.pack("<Q", 2**64 - 1) + bytes(30))),
    "key_long": (3, "a key of 257", with_(("k" * 257, U8, 1))), "key_newline": (3, "not printable", with_(("a\nb", U8, 1))),
    "key_twice": (3, "twice", with_(("llama.block_count", U32, 1))), "type_unknown": (3, "type 13", with_(text("x") + struct.pack("<I", 13) + bytes(16))),
    "nested_array": (4, "array of arrays", with_(text("x") + struct.pack("<IIQ", ARRAY, ARRAY, 1) + bytes(24))),
    "array_wraps": (3, "cannot be counted", with_(("x", ARRAY, Raw(struct.pack("<IQ", U64, 2**61))))),
    "array_past_end": (3, "truncated", with_(("x", ARRAY, Raw(struct.pack("<IQ", U32, 2**40))))),
    "texts_past_end": (3, "more texts", with_(("x", ARRAY, Raw(struct.pack("<IQ", STRING, 2**60))))),
    "text_past_end": (3, "truncated", with_(("x", STRING, Raw(struct.pack("<Q", 2**63))))),
    "truth_2": (3, "neither 0 nor 1", with_(("x", BOOL, 2))),
    "no_architecture": (3, "general.architecture", gguf(PAIRS[1:], TENSORS)), "architecture_number": (3, "general.architecture", gguf([("general.architecture", U32, 1)] + PAIRS[1:], TENSORS)),
    "architecture_unknown": (4, "architecture 'gptj'", gguf([("general.architecture", STRING, "gptj")] + PAIRS[1:], TENSORS)),
    "alignment_0": (3, "general.alignment", with_(("general.alignment", U32, 0))), "alignment_24": (3, "general.alignment", with_(("general.alignment", U32, 24))),
    "alignment_huge": (3, "general.alignment", with_(("general.alignment", U32, 2**31))), "alignment_text": (3, "not a U32", with_(("general.alignment", STRING, "x"))),
    "layers_missing": (3, "block_count", gguf(but(PAIRS, "llama.block_count"), TENSORS)), "layers_many": (3, "block_count", gguf(but(PAIRS, "llama.block_count", ("llama.block_count", U32, 2**32 - 1)), TENSORS)),
    "layers_text": (3, "expected an integer", gguf(but(PAIRS, "llama.block_count", ("llama.block_count", STRING, "1")), TENSORS)),
    "layers_negative": (3, "found -1", gguf(but(PAIRS, "llama.block_count", ("llama.block_count", I32, -1)), TENSORS)),
    "heads_array": (3, "head_count", gguf(but(PAIRS, "llama.attention.head_count", ("llama.attention.head_count", U32, [2])), TENSORS)),
    "heads_3": (3, "heads", gguf(but(PAIRS, "llama.attention.head_count", ("llama.attention.head_count", U32, 3)), TENSORS)),
    "eps_nan": (3, "not finite", gguf(but(PAIRS, "llama.attention.layer_norm_rms_epsilon", ("llama.attention.layer_norm_rms_epsilon", F32, float("nan"))), TENSORS)),
    "eps_missing": (3, "layer_norm_rms_epsilon", gguf(but(PAIRS, "llama.attention.layer_norm_rms_epsilon"), TENSORS)),
    "rope_type": (4, "rope.scaling.type", with_(("llama.rope.scaling.type", STRING, "longrope"))),
    "not_utf8": (3, "not UTF-8", with_(("tokenizer.chat_template", STRING, b"\xff"))), "surrogate": (3, "not UTF-8", with_(("tokenizer.chat_template", STRING, b"\xed\xa0\x80"))),
    "nul_text": (3, "not UTF-8", with_(("tokenizer.chat_template", STRING, b"a\0b"))),
    "dims_0": (3, "0 dimensions", gguf(PAIRS, tensor("output.weight", ("output.weight", "F16", (4, 4), None, None, 0)))),
    "dims_5": (3, "5 dimensions", gguf(PAIRS, tensor("output.weight", ("output.weight", "F16", (1, 1, 1, 1, 1))))),
    "dims_huge": (3, "dimensions", gguf(PAIRS, tensor("output.weight", ("output.weight", "F16", (4, 4), None, None, 2**32 - 1)))),
    "dim_zero": (3, "a dimension is 0", gguf(PAIRS, tensor("output.weight", ("output.weight", "F16", (4, 0))))),
    "dims_wrap": (3, "product overflows", gguf(PAIRS, tensor("output.weight", ("output.weight", "F16", (2**32, 2**32, 2**32))))),
    "bytes_wrap": (3, "size overflows", gguf(PAIRS, tensor("output.weight", ("output.weight", "F32", (2**31, 2**31))))),
    "sum_wraps": (3, "truncated", gguf(PAIRS, [("a", "F16", (2**61,)), ("b", "F16", (2**61,)), ("c", "F16", (2**61,)), ("d", "F16", (2**61,))])),
    "tensor_type": (4, "type 77", gguf(PAIRS, tensor("output.weight", ("output.weight", "F16", (4, 4), None, 77)))),
    "blocks_cut": (3, "whole blocks of 32", gguf(PAIRS, tensor("output.weight", ("output.weight", "Q8_0", (4, 8))))),
    "offset_gap": (3, "begins at byte", gguf(PAIRS, tensor("output.weight", ("output.weight", "F16", (4, 4), 2**40)))),
    "offset_overlap": (3, "begins at byte", gguf(PAIRS, tensor("output.weight", ("output.weight", "F16", (4, 4), 0)))),
    "tensor_twice": (3, "twice", gguf(PAIRS, TENSORS + TENSORS[-1:])), "tensor_unknown": (3, "not part of the GGUF architecture", gguf(PAIRS, TENSORS + [("blk.0.magic", "F16", (4,))])),
    "tensor_missing": (3, "missing", gguf(PAIRS, TENSORS[:-3] + TENSORS[-2:])), "layer_beyond": (3, "not part of", gguf(PAIRS, TENSORS + [("blk.1.attn_q.weight", "F16", (4, 4))])),
    "layer_spelled_01": (3, "not part of", gguf(PAIRS, TENSORS + [("blk.00.attn_q.weight", "F16", (4, 4))])),
    "shape_wrong": (3, "expected shape [4, 4]", gguf(PAIRS, tensor("blk.0.ffn_up.weight", ("blk.0.ffn_up.weight", "F16", (4, 8))))),
    "q4_k": (3, "not a multiple of q4_k's block of 256", gguf(PAIRS, tensor("blk.0.ffn_up.weight", ("blk.0.ffn_up.weight", "Q4_K", (256, 4))))),
    "truncated": (3, "truncated", gguf(PAIRS, TENSORS)[:-40]), "trailing": (3, "the header describes", gguf(PAIRS, TENSORS, tail=bytes(33))),
    "header_only": (3, "truncated", gguf(PAIRS, TENSORS, data=b"")), "split_claim": (3, "number 1 of 3", with_(("split.no", U16, 0), ("split.count", U16, 3))),
    "split_half": (3, "only one is there", with_(("split.no", U16, 0))),
    "merge_one": (3, "not two parts", gguf(but(TOKENIZER, "tokenizer.ggml.merges", ("tokenizer.ggml.merges", STRING, ["ab"])), TENSORS)),
    "merges_numbers": (3, "expected text", gguf(but(TOKENIZER, "tokenizer.ggml.merges", ("tokenizer.ggml.merges", U32, [1])), TENSORS)),
    "spm_bos_beyond": (3, "bos_token_id' is 9", gguf(but(SPM, "tokenizer.ggml.bos_token_id", ("tokenizer.ggml.bos_token_id", U32, 9)), TENSORS)),
    "spm_scores_text": (3, "expected a number", gguf(but(SPM, "tokenizer.ggml.scores", ("tokenizer.ggml.scores", STRING, ["", "", "", ""])), TENSORS)),
    "tokens_one_text": (0, "", gguf(but(TOKENIZER, "tokenizer.ggml.tokens", ("tokenizer.ggml.tokens", STRING, "a")), TENSORS)),
    "bos_beyond": (0, "", gguf(but(TOKENIZER, "tokenizer.ggml.bos_token_id", ("tokenizer.ggml.bos_token_id", U32, 99)), TENSORS)),
}

if __name__ == "__main__":
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
    os.makedirs(root + "/gguf", exist_ok=True)
    for name, data in {**GOOD, **{k: v[2] for k, v in BAD.items()}}.items():
        with open(f"{root}/gguf/{name}", "wb") as f:
            f.write(data)
