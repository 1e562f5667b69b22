"""Trains small tokenizers of every file format and writes them here with what the format's own library makes of awkward
texts: NAME/<the tokenizer's files> and NAME/golden.json (rows as in nano-hybrid.json). usage: make_models.py
(pip install tokenizers==0.23.3 sentencepiece==0.2.3 tiktoken==0.14.0 mistral_common==1.13.1)"""
import base64, json, os, tempfile
import sentencepiece as spm, tiktoken
from mistral_common.tokens.tokenizers.tekken import Tekkenizer, SpecialTokenPolicy
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
import texts

HERE = os.path.dirname(os.path.abspath(__file__))
MORE = ["[INST] hi [/INST]", "the<mask>ing the", "x <mask> ", "\u4e2d\u6587\u4e2d the  end", "\ufb01x\uff21\uff22 \u2460\u2003y", "<|im_end|>a<|reserved_token_400|>",
          "word" * 9 + " wor" * 9, "aaaa bbbb aaaa" * 5, "\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9", "zzzzzzz 00000000 ////////"]
TEXTS = list(dict.fromkeys(t for t in texts.TEXTS + MORE if len(t) < 200))
WORDS = """the a of to and in is it you that he was for on are with as his they at be this from have or by one had not but what
all were when we there can an your which their said if do will each about how up out them then she many some so
these would other into has more her two like him see time could no make than first been its who now people my made
over did down only way find use may water long little very after words called just where most know""".split()
CORPUS = [" ".join(WORDS[(i * k + k * k) % len(WORDS)] for i in range(12)).capitalize() + ". \u00c9t\u00e9 %d, na\u00efve caf\u00e9; \u4e2d\u6587\u5b57 %s" % (i * 37, w) for i in range(1, 9) for k, w in ((1, "don't"), (3, "we'll"), (5, "x=y+1;"), (7, "(aaaa)"))]
KIMI = "|".join([r"[\p{Han}]+", r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                 r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                 r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
TEKKEN = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# A few rules of every kind: one to two, two to one, to nothing, to a space, a longer and a shorter one.
RULES = {"\ufb01": "fi", "\u00e9": "e", "e\u0301": "e", "\u2003": " ", "\u00a0": " ", "\t": " ", "\n": " ", "\r\n": " ", "\u200b": "", "\uff21": "A", "\uff21\uff22": "X", "\u2460": "1 ", "\u00ad": ""}


def save(name, encode, special, decode, skip):
    rows = []
    for text in TEXTS:
        plain = encode(text)
        whole = special(plain, text)
        rows.append({"text": text, "ids": whole, "ids_no_special": plain, "decoded": decode(plain), "decoded_skip_special": skip(whole)})
    with open(os.path.join(HERE, name, "golden.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n")
    print(name, len(rows), "texts")


def folder(name):
    os.makedirs(os.path.join(HERE, name), exist_ok=True)
    return os.path.join(HERE, name)


def sentencepiece(name, **more):
    with tempfile.TemporaryDirectory() as tmp:
        rules = os.path.join(tmp, "rules.tsv")
        with open(rules, "w") as f:
            for a, b in RULES.items():
                f.write(" ".join("%X" % ord(c) for c in a) + "\t" + " ".join("%X" % ord(c) for c in b) + "\n")
        args = dict(vocab_size=480, character_coverage=1.0, hard_vocab_limit=False, minloglevel=2, num_threads=1)
        args.update(normalization_rule_tsv=rules) if "normalization_rule_name" not in more else None
        model = os.path.join(tmp, "m")
        spm.SentencePieceTrainer.train(sentence_iterator=iter(CORPUS), model_prefix=model, **args, **more)
        data = open(model + ".model", "rb").read()
    with open(os.path.join(folder(name), "tokenizer.model"), "wb") as f:
        f.write(data)
    sp = spm.SentencePieceProcessor(model_proto=data)
    save(name, sp.encode, lambda ids, text: [sp.bos_id()] + ids, sp.decode, sp.decode)
    return sp


def byte_ranks(pattern, size):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=size, show_progress=False, initial_alphabet=alphabet))
    plain = [b for b in range(256) if chr(b) in alphabet]
    chars = {chr(b): b for b in plain}
    chars.update({chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in plain)})
    tokens = [bytes([b]) for b in range(256)]
    for text in sorted(t.get_vocab(), key=t.get_vocab().get):
        token = bytes(chars[c] for c in text)
        if token not in tokens:
            tokens.append(token)
    return tokens


def kimi(name):
    ranks = byte_ranks(KIMI, 400)
    n = len(ranks)
    with open(os.path.join(folder(name), "tiktoken.model"), "wb") as f:
        f.write(b"".join(base64.b64encode(b) + b" %d\n" % i for i, b in enumerate(ranks)))
    names = {0: "[BOS]", 1: "[EOS]", 2: "<|im_end|>", 9: "<unk>", 255: "[PAD]"}
    flags = {k: False for k in ("lstrip", "normalized", "rstrip", "single_word")}
    config = {"added_tokens_decoder": {str(n + i): dict(flags, content=c, special=True) for i, c in names.items()},
              "auto_map": {"AutoTokenizer": ["tokenization_kimi.TikTokenTokenizer", None]}, "tokenizer_class": "TikTokenTokenizer"}
    json.dump(config, open(os.path.join(folder(name), "tokenizer_config.json"), "w"), indent=1)
    special = {names.get(i, "<|reserved_token_%d|>" % (n + i)): n + i for i in range(256)}
    enc = tiktoken.Encoding("kimi", pat_str=KIMI, mergeable_ranks={b: i for i, b in enumerate(ranks)}, special_tokens=special)
    save(name, lambda text: enc.encode(text, allowed_special="all"), lambda ids, text: ids, enc.decode,
         lambda ids: enc.decode([i for i in ids if i < n]))


def tekken(name):
    ranks = byte_ranks(TEKKEN, 400)
    vocab = [{"rank": i, "token_bytes": base64.b64encode(b).decode(), "token_str": b.decode() if b.isascii() else None} for i, b in enumerate(ranks)]
    specials = [{"rank": i, "token_str": s, "is_control": True} for i, s in enumerate(["<unk>", "<s>", "</s>", "[INST]", "[/INST]"])]
    config = {"pattern": TEKKEN, "num_vocab_tokens": len(ranks), "default_vocab_size": len(ranks) - 20 + 8, "default_num_special_tokens": 8, "version": "v11"}
    path = os.path.join(folder(name), "tekken.json")
    json.dump({"config": config, "vocab": vocab, "special_tokens": specials}, open(path, "w"), separators=(",", ":"))
    t = Tekkenizer.from_file(path)
    save(name, lambda text: t.encode(text, False, False), lambda ids, text: [t.bos_id] + ids,
         lambda ids: t.decode(ids, SpecialTokenPolicy.KEEP), lambda ids: t.decode(ids, SpecialTokenPolicy.IGNORE))


def hugging_face(name, t):
    t.save(os.path.join(folder(name), "tokenizer.json"), pretty=False)
    t = Tokenizer.from_file(os.path.join(folder(name), "tokenizer.json"))
    save(name, lambda text: t.encode(text, add_special_tokens=False).ids, lambda ids, text: t.encode(text).ids,
         lambda ids: t.decode(ids, skip_special_tokens=False), lambda ids: t.decode(ids, skip_special_tokens=True))


def pieces(sp):
    return [(sp.id_to_piece(i), sp.get_score(i)) for i in range(sp.get_piece_size())]


def unigram(name, sp, charsmap):
    t = Tokenizer(models.Unigram(pieces(sp), sp.unk_id(), False))
    t.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap), normalizers.Replace(Regex(" {2,}"), "\u2581")])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    t.decoder = decoders.Metaspace()
    t.add_special_tokens(["<s>", "</s>", AddedToken("<mask>", lstrip=True)])
    t.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", t.token_to_id("</s>"))])
    hugging_face(name, t)


def gemma(name, sp):
    vocab, merges = {p: i for i, (p, _) in enumerate(pieces(sp))}, []
    for p, score in pieces(sp):
        parts = [(p[:i], p[i:], score) for i in range(1, len(p)) if p[:i] in vocab and p[i:] in vocab]
        merges += sorted(parts, key=lambda m: (vocab[m[0]], vocab[m[1]]))
    merges.sort(key=lambda m: (m[2], len(m[0]), len(m[1])), reverse=True)
    t = Tokenizer(models.BPE(vocab, [m[:2] for m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Replace(" ", "\u2581")
    t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    t.add_special_tokens(["<s>", "</s>", "<unk>"])
    t.add_tokens([AddedToken("\n\n", normalized=False), AddedToken("\u2581\u2581", normalized=False)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", t.token_to_id("<s>"))])
    hugging_face(name, t)


def norm(name, sp):
    vocab = {p: i for i, (p, _) in enumerate(pieces(sp))}
    t = Tokenizer(models.BPE(vocab, [], unk_token="<unk>", byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip(), normalizers.NFKC()])
    t.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    hugging_face(name, t)


def charsmap_of(data):
    """The member precompiled_charsmap (2) of normalizer_spec (3)."""
    def number(at):
        v = shift = 0
        while True:
            c = data[at]
            at += 1
            v |= (c & 127) << shift
            shift += 7
            if c < 128:
                return v, at
    def member(at, end, wanted):
        while at < end:
            key, at = number(at)
            size, start = number(at) if key & 7 in (0, 2) else ({5: 4, 1: 8}[key & 7], at)
            if key == wanted << 3 | 2:
                return start, start + size
            at = start + (0 if key & 7 == 0 else size)
    start, end = member(*member(0, len(data), 3), 2)
    return data[start:end]


USER = dict(user_defined_symbols=["<mask>", "  ", "the", "ing", "\u4e2d", " x ", "\u2581\u2581\u2581"], control_symbols=["[INST]"])
bpe = sentencepiece("spm_bpe", model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, allow_whitespace_only_pieces=True)
sentencepiece("spm_bpe_user", model_type="bpe", byte_fallback=True, add_dummy_prefix=False, **USER)
sentencepiece("spm_bpe_rules", model_type="bpe", split_by_whitespace=False, unk_surface="<?>")
sentencepiece("spm_unigram_user", model_type="unigram", byte_fallback=True, remove_extra_whitespaces=False, **USER)
rules = sentencepiece("spm_unigram_suffix", model_type="unigram", treat_whitespace_as_suffix=True)
plain = sentencepiece("spm_unigram", model_type="unigram")
kimi("kimi")
tekken("tekken")
unigram("json_unigram", plain, charsmap_of(plain.serialized_model_proto()))
gemma("json_gemma", bpe)
norm("json_normalizers", bpe)
