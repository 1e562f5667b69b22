"""Our token ids and texts against those of the reference libraries: for the texts of tests/vectors/tokenizer with the
tokenizer of the example and small ones of every file format, and for every string of the shared goldens."""
import json, os, subprocess, sys

SHARED = os.environ.get("INGOT_SHARED")
TOOL = os.path.join(os.environ["INGOT_TOOLS"], "tokenizer_tool")


def ask(folder, lines):
    data = "".join(json.dumps(line) + "\n" for line in lines)
    out = subprocess.run([TOOL, folder], input=data.encode(), stdout=subprocess.PIPE, check=True).stdout
    answers = [json.loads(line) for line in out.split(b"\n") if line]
    assert len(answers) == len(lines)
    return answers


def check(name, folder, strings, rows):
    bad = 0
    for i, (s, row, got) in enumerate(zip(strings, rows, ask(folder, [{"text": s} for s in strings]))):
        if got != {"ids": row["ids"], "no_special": row["ids_no_special"]}:
            bad += 1
            print("FAIL %s: string %d %r: ids %s, expected %s" % (name, i, s, got, row))
    plain = ask(folder, [{"ids": row["ids_no_special"]} for row in rows])
    special = ask(folder, [{"ids": row["ids"]} for row in rows])
    for i, (row, a, b) in enumerate(zip(rows, plain, special)):
        if a.get("text") != row["decoded"] or b.get("skip") != row["decoded_skip_special"]:
            bad += 1
            print("FAIL %s: string %d: text %r and %r, expected %s" % (name, i, a, b, row))
    if not bad:
        print("ok %s: %d strings, ids and texts" % (name, len(strings)))


ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
VECTORS = os.path.join(ROOT, "tests/vectors/tokenizer")
rows = json.load(open(os.path.join(VECTORS, "nano-hybrid.json")))
check("nano-hybrid", os.path.join(ROOT, "examples/nano-hybrid/model"), [row["text"] for row in rows], rows)
folders = [name for name in sorted(os.listdir(VECTORS)) if os.path.exists(os.path.join(VECTORS, name, "golden.json"))]
assert len(folders) >= 11, folders
for name in folders:
    rows = json.load(open(os.path.join(VECTORS, name, "golden.json")))
    check(name, os.path.join(VECTORS, name), [row["text"] for row in rows], rows)

if not SHARED:
    print("skip the goldens of the tokenizers: no shared folder")
    sys.exit(0)
base = os.path.join(SHARED, "fixtures")
golden = json.load(open(os.path.join(base, "tokenizers/golden.json")))
for name, rows in sorted(golden["tokenizers"].items()):
    check(name, os.path.join(base, "tokenizers", name), golden["strings"], rows)
