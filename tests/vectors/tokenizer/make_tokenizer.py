"""Writes nano-hybrid.json: awkward texts and what Hugging Face `tokenizers` makes of them with a tokenizer.json.
usage: make_tokenizer.py TOKENIZER.JSON OUT.JSON"""
import json, sys
import tokenizers

SPACES = "".join(map(chr, [9, 10, 11, 12, 13, 32, 0x85, 0xA0, 0x1680, 0x180E, *range(0x2000, 0x200C), 0x2028, 0x2029,
                           0x202F, 0x205F, 0x2060, 0x3000, 0xFEFF]))
TEXTS = [
    "", " ", "  ", "   a", "a   ", "a b", "a  b", "\n", "\n\n", " \n ", "\r\n\r\n", "\t\tx\t", "a \n\n  b",
    "\x0b\x0c",
    SPACES, "".join("a" + s for s in SPACES), "x" + SPACES[::-1] + "y",
    "The model keeps what it needs.", "It's they'll WE'RE i'M he'D you'Ve don't 's", "don\u2019t \u2018quote\u2019",
    "0", "12", "123", "1234", "12345678901234567890", "3.14159e-10", "2024-12-31T10:45:30Z",
    "\u0661\u0662\u0663 \u096a\u096b",
    "\u00bd \u2167 \u00b2 \u2460 \U0001D7D8", "1\u20443", "$42.50 & 100% #7",
    "def f(a, b):\n    return a ** b  # power\n", "\tif (x != NULL) {\n\t\tfree(x);\r\n\t}\n",
    "for(;;){a[i]^=~b[i]&0xFF;}",
    "{\"key\": [1, 2.5, null, \"\\u00e9\\n\"]}", "SELECT * FROM t WHERE a<>'b';--", "<html>&nbsp;</html>",
    "a/b\\c//d\n//e",
    "https://example.org/a/b?c=d&e=f#g", "CamelCase snake_case kebab-case SCREAMING", "....!!!???---", "(((]]]{{{>>>",
    "\u706f\u53f0\u306f\u5cac\u306e\u4e0a\u306b\u7acb\u3063\u3066\u3044\u308b\u3002",
    "\u6a21\u578b\u8bfb\u53d6\u6570\u636e\uff0c\u7136\u540e\u3002",
    "\uc548\ub155\ud558\uc138\uc694", "\u1112\u1161\u11ab\u1100\u1173\u11af", "\U00020000\U0002A6D6\u3400",
    "\U0001F642", "\U0001F469\u200D\U0001F680", "\U0001F468\u200D\U0001F469\u200D\U0001F467\u200D\U0001F466",
    "\U0001F44D\U0001F3FD", "\U0001F3F3\uFE0F\u200D\U0001F308", "\U0001F1E9\U0001F1EA\U0001F1EB", "1\uFE0F\u20E3",
    "cafe\u0301 caf\u00e9", "q\u0307\u0323 q\u0323\u0307", "x\u0301\u0302\u0303y", "\u0301", " \u0301",
    "A\u030A \u00C5 \u212B",
    "Z\u0351\u036B\u0343\u036A\u0302\u036B\u033D\u034F\u0334\u0319\u0324\u031E\u0349\u035A\u032F\u031E\u0320\u034DA",
    "\ufb01\ufb02 \ufdfa", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0643", "\u05e9\u05c1\u05dc\u05d5\u05dd",
    "\u202eabc\u202c \u2067x\u2069",
    "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\u041f\u0440\u0438\u0432\u0435\u0442 \u0391\u03b1",
    "\u0130\u0131 \u00df\u1e9e \u01c5", "\x00", "a\x00b", "\x00\x01\x1b[31m\x7f\x80\x9f",
    "\u200b\u200c\u200d\u2060\ufeff",
    "\ud7ff\ue000\ufdd0\ufffd\uffff", "\U0010FFFF\U000E0041", "<s>", "</s>", "<unk>", "a<s>b", "a <s> b",
    "<s><s></s>", " <unk> ",
    "<s", "<s >", "< s>", "<S>", "text</s>more <unk>x", "<<s>>", "<0x0A><0xFF>", "\u2581already\u2581",
    "\u0120a\u010a",
    "a" * 300, "ab" * 40, " " * 67, "\n" * 33, "\u00e9" * 50, "\U0001F642" * 9, "a " * 30,
]


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
