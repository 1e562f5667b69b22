"""Chat templates against transformers' own rendering: the templates and conversations of tests/vectors/chat (goldens made by
make_chat.py), and the templates of the shared fixtures, whose texts are simple enough to be written out here."""
import glob, json, os, subprocess, sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
HERE = os.path.join(ROOT, "tests/vectors/chat")
TOOL = os.path.join(os.environ["INGOT_TOOLS"], "chat_tool")
INGOT = os.environ["INGOT"]


def ask(cases):
    data = "".join(json.dumps(c) + "\n" for c in cases)
    out = subprocess.run([TOOL], input=data.encode(), stdout=subprocess.PIPE, check=True).stdout
    answers = [json.loads(line) for line in out.split(b"\n") if line]
    assert len(answers) == len(cases)
    return answers


with open(os.path.join(HERE, "requests.json"), encoding="utf-8") as f:
    requests = json.load(f)
with open(os.path.join(HERE, "goldens.jsonl"), encoding="utf-8") as f:
    rows = [json.loads(line) for line in f.read().split("\n") if line]
for path in sorted(glob.glob(os.path.join(HERE, "templates/*.jinja"))):
    name = os.path.basename(path)
    with open(path, encoding="utf-8", newline="") as f:
        text = f.read()
    mine = [r for r in rows if r["template"] == name]
    bad = 0
    for row, got in zip(mine, ask([{**requests[r["request"]], "template": text} for r in mine])):
        good = got == {"text": row["text"]} if "text" in row else got.get("error") == "bad-input"
        if not good:
            bad += 1
            print("FAIL %s, %s: %r, expected %r" % (name, row["request"], got, row.get("text", row.get("fails"))))
    if not mine:
        print("FAIL %s: no goldens; run make_chat.py" % name)
    elif not bad:
        print("ok %s: %d conversations" % (name, len(mine)))

SHARED = os.environ.get("INGOT_SHARED")
if not SHARED:
    print("skip the templates of the fixtures: no shared folder")
    sys.exit(0)
messages = [{"role": "system", "content": "Sei nett."}, {"role": "user", "content": " <b> 世界\n"}]
chatml = "".join("<|im_start|>%s\n%s<|im_end|>\n" % (m["role"], m["content"]) for m in messages)
nano = "".join("<|im_start|>%s\n%s<|im_end|>" % (m["role"], m["content"]) for m in messages)
file = os.path.join(os.environ.get("TMPDIR", "/tmp"), "ingot-chat-%d.json" % os.getpid())
with open(file, "w", encoding="utf-8") as f:
    json.dump(messages, f)
checked, bad = 0, 0
for folder in sorted(glob.glob(os.path.join(SHARED, "fixtures/*/"))):
    if not os.path.exists(folder + "tokenizer_config.json"):
        continue
    name = os.path.basename(folder.rstrip("/"))
    for flags, want in ((["--no-generation-prompt"], (chatml, nano)), ([], (chatml + "<|im_start|>assistant\n", nano + "<|im_start|>assistant\n<think></think>"))):
        out = subprocess.run([INGOT, "render", folder, "-m", file, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        expected = want[name.startswith("nano-")]
        checked += 1
        if out.stdout.decode() != expected or out.returncode:
            bad += 1
            print("FAIL fixture %s: %r %r, expected %r" % (name, out.stdout, out.stderr, expected))
os.unlink(file)
print("ok fixtures: %d renderings" % checked if checked and not bad else "FAIL fixtures: %d of %d differ" % (bad, checked))
