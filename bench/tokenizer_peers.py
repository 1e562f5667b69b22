"""Speed of tokenizing beside the library that each file format comes from, one thread, in turns in one run: MB/s of the
best round and the ratio. Loading is apart. Peers that Python does not have are skipped.
usage: tokenizer_peers.py BENCH_TOKENIZER TEXTFILE FOLDER... [--rounds N]   (pip install tokenizers sentencepiece tiktoken
mistral_common)"""
import base64, os, subprocess, sys, time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
UPPER, LOWER = (r"[\p{L%s}\p{L%s}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]" % p for p in (("u", "t"), ("l", "l")))
BEFORE, ENDING = r"[^\r\n\p{L}\p{N}]?", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
KIMI = "|".join([r"[\p{Han}]+", BEFORE + UPPER + "*" + LOWER + "+" + ENDING, BEFORE + UPPER + "+" + LOWER + "*" + ENDING,
                 r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])


def hugging_face(path):
    import tokenizers
    t = tokenizers.Tokenizer.from_file(path)
    return "tokenizers " + tokenizers.__version__, lambda text: t.encode(text, add_special_tokens=False).ids


def sentencepiece(path):
    import sentencepiece
    t = sentencepiece.SentencePieceProcessor(model_file=path)
    return "sentencepiece " + sentencepiece.__version__, t.encode


def tekken(path):
    import mistral_common
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer
    t = Tekkenizer.from_file(path)
    return "mistral_common " + mistral_common.__version__, lambda text: t.encode(text, False, False)


def tiktoken(path):
    import tiktoken
    ranks = {base64.b64decode(a): int(b) for a, b in (line.split() for line in open(path, "rb"))}
    t = tiktoken.Encoding("kimi", pat_str=KIMI, mergeable_ranks=ranks, special_tokens={})
    # The published code cuts texts; that is not what is compared here.
    return "tiktoken " + tiktoken.__version__, lambda text: [i for at in range(0, len(text), 400000)
                                                              for i in t.encode(text[at:at + 400000])]


PEERS = (("tokenizer.json", hugging_face), ("tekken.json", tekken), ("tiktoken.model", tiktoken), ("tokenizer.model", sentencepiece))


def ours(bench, folder, path):
    out = subprocess.run([bench, folder, path, "3"], stdout=subprocess.PIPE, check=True, text=True).stdout
    words = out.split("tokenize")[1].split()
    return float(words[0]) / 1e3, int(words[-2])


def compare(bench, path, folder, rounds):
    name, make = next((n, f) for n, f in PEERS if os.path.exists(os.path.join(folder, n)))
    text = open(path, encoding="utf-8", newline="").read()
    size = len(text.encode())
    try:
        peer, encode = make(os.path.join(folder, name))
    except ImportError as e:
        print("skip %s: %s" % (folder, e))
        return
    best, best_peer, n, n_peer = 1e9, 1e9, 0, 0
    for _ in range(rounds):
        t, n = ours(bench, folder, path)
        best = min(best, t)
        for _ in range(2):
            start = time.perf_counter()
            n_peer = len(encode(text))
            best_peer = min(best_peer, time.perf_counter() - start)
    print("%-24s %-15s %7.1f MB/s   %-22s %7.1f MB/s   ratio %5.1f   %d tokens%s" % (
        os.path.basename(os.path.abspath(folder)), name, size / best * 1e-6, peer, size / best_peer * 1e-6, best_peer / best, n,
        "" if n == n_peer else ", the peer %d" % n_peer), flush=True)


args, rounds = sys.argv[1:], 4
if "--rounds" in args:
    at = args.index("--rounds")
    rounds = int(args[at + 1])
    del args[at:at + 2]
if len(args) < 3:
    sys.exit(__doc__)
for folder in args[2:]:
    compare(args[0], args[1], folder, rounds)
