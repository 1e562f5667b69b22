"""Writes nano-hybrid.json: awkward texts and what Hugging Face `tokenizers` makes of them with a tokenizer.json.
usage: make_tokenizer.py TOKENIZER.JSON OUT.JSON"""
import json, sys
import tokenizers
from texts import TEXTS


def row(t, text):
    whole, plain = t.encode(text).ids, t.encode(text, add_special_tokens=False).ids
    return {"text": text, "ids": whole, "ids_no_special": plain, "decoded": t.decode(plain, skip_special_tokens=False),
            "decoded_skip_special": t.decode(whole, skip_special_tokens=True)}


t = tokenizers.Tokenizer.from_file(sys.argv[1])
specials = [a.content for a in t.get_added_tokens_decoder().values()]
texts = TEXTS + specials + ["x%sy" % s for s in specials] + [" %s \n%s" % (s, s) for s in specials]
rows = [row(t, text) for text in dict.fromkeys(texts)]
with open(sys.argv[2], "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n")
print(len(rows), "texts, tokenizers", tokenizers.__version__)
