#!/usr/bin/env python3
"""Writes the saved inputs of fuzz_regex into tests/fuzz/corpus/regex: a pattern, then names, a line each. usage: make_corpus_regex.py [FOLDER]"""
import os, sys

ROOT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
NAMES = "\nlm_head\nmodel.layers.0.mlp.up_proj\nmodel.layers.12.mlp.experts.3.down_proj\n\xe9.a-b\n"
out = {
    "layers": ".*layers\\.(?!0\\.).*", "counts": "(a{2,3}|\\w{,2}|.{4}){1,}b{0}", "braces": "{a{x}{,3}{", "sets": "[]a-c\\d-][^]\\w.][^\\D]", "places": "^\\b.*\\B.\\b$|\\A.\\Z",
    "behind": ".*(?<=mlp\\.)(?<!experts\\.)up", "nested_looks": "(?=(?!(?<=a)b)(?:(?=c)|d)*)", "loops": "((a*)*|(b?)+)*c", "empty": "(|)*(?:)+()", "lazy": "a*?b+?c??d{1,2}?", "named": "(?P<a_1>x)(?P<b>y)",
    "escapes": "\\.\\n\\t\\ \\[\\-", "backreference": "(a)\\1", "flags": "(?i)a", "atomic": "(?>a)", "possessive": "a++", "condition": "(a)?(?(1)b)", "comment": "(?#a)", "bad_range": "[z-a]", "open": "((a)",
    "closed": "a)", "nothing_to_repeat": "*a", "multiple_repeat": "a{2}{3}", "behind_ragged": "(?<=a|bc)", "big_count": "(a{999}){999}", "many_looks": "(?=a)" * 40, "deep": "(" * 70 + ")" * 70, "trailing": "a\\", "utf8": "\xe9[^a]\xe9{2}|.",
}
for name, pattern in out.items():
    os.makedirs(ROOT + "/regex", exist_ok=True)
    with open(f"{ROOT}/regex/{name}", "wb") as f:
        f.write((pattern + NAMES).encode())
with open(ROOT + "/regex/broken_utf8", "wb") as f:
    f.write(b".\xc3(?<=..)\xe2\x82|[^a]*\xff\xf0\x9f\n\xc3\xc3\xa9\xe2\x82\n\xff\x80\x80\n\xf0\x9f\x98\n\xc0\x80a\n")
