#!/usr/bin/env python3
"""The manual against the program: pages and commands, options both ways, the exit status table, keys of files, members of
JSON; the examples of the pages are run; pointers from the source into docs/ lead somewhere."""
import glob, json, os, re, shutil, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
from fake_hub import Hub
from fake_registry import FakeRegistry

MAN = ROOT + "/docs/man/"
WORK = tempfile.mkdtemp()


def ingot(*args):
    return subprocess.run([INGOT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=WORK)


def source(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


pages = {os.path.basename(p): source(p) for p in sorted(glob.glob(MAN + "*.[15]"))}


def section(page, title):
    return re.search(rf"^\.Sh {title}\n(.*?)(?=^\.Sh |\Z)", pages[page], re.M | re.S).group(1)


def plain(mdoc):
    """A page's words, without the macros."""
    text = re.sub(r"\\&|\\e|\\\(dq", "", mdoc)
    return set(re.findall(r"[A-Za-z0-9_.@-]*[A-Za-z0-9_]", text))


# ---- commands and pages ----
commands = re.findall(r"^  ([a-z-]+) +\S", ingot("--help").stdout, re.M)
have = sorted(re.fullmatch(r"ingot-(.*)\.1", p).group(1) for p in pages if re.fullmatch(r"ingot-.*\.1", p))
check("every command has a page and every page a command", commands and sorted(commands) == have, set(commands) ^ set(have))
check("ingot.1 names every command", set(re.findall(r"^\.It Xr ingot-([\w-]+) 1", pages["ingot.1"], re.M)) == set(commands))
for page, text in pages.items():
    name, sec = page.rsplit(".", 1)
    check(f"{page}: names itself", f"\n.Dt {name.upper()} {sec}\n" in text and f"\n.Nm {name}\n" in text)
    lost = [f"{n}.{s}" for n, s in re.findall(r"Xr (ingot[a-z-]*) (\d)", text) if f"{n}.{s}" not in pages]
    check(f"{page}: what it points to is there", not lost, lost)

# ---- options ----
OPTION = r"^\.It (?:Fl (\w) , )?Fl Fl ([a-z-]+)(?: (Ar .*))?$"


def helped(command):
    """(letter, name, placeholder) of each option that --help prints."""
    out = ingot(command, "--help").stdout
    rows = re.findall(r"^  (?:-(\w), |    )--([a-z-]+)(?: ((?! )\S+))? ", out.split("\noptions:\n")[1], re.M)
    return set(rows)


for c in commands:
    page = f"ingot-{c}.1"
    if page not in pages:
        continue
    options = {(letter, name, value.replace("Ar ", "")) for letter, name, value in re.findall(OPTION, section(page, "OPTIONS"), re.M)}
    shown = helped(c)
    check(f"{page}: its options are those of --help", shown and options == shown, sorted(options ^ shown))
    mentioned = set(re.findall(r"Fl Fl ([a-z-]+)", section(page, "SYNOPSIS")))
    check(f"{page}: the synopsis has no other options", mentioned <= {name for _, name, _ in options}, mentioned)
    for letter, name, value in sorted(options):
        for word in ([f"--{name}"] if not letter else [f"--{name}", f"-{letter}"]):
            p = ingot(c, word, *(["1"] if value else []), "--help")
            check(f"{c} {word} is accepted", p.returncode == 0 and p.stdout.startswith(f"usage: ingot {c} "), p.stderr)
    check(f"{c}: an option that the page does not have is refused", ingot(c, "--no-such-option", "--help").returncode == 2)

# ---- exit status ----
table = {int(n): word for n, word in re.findall(r"^\.It (\d+) Ta ([a-z-]+) Ta \S", section("ingot.1", "EXIT STATUS"), re.M)}
rows = re.findall(r'\[(ERR_\w+)\] = \{"([a-z-]+)", (\d+)\}', source(ROOT + "/core/error.c"))
codes = re.findall(r"^    (ERR_\w+),", source(ROOT + "/core/error.h"), re.M)
check("ingot.1 has the exit statuses of core/error.c", {int(n): word for _, word, n in rows} == table, table)
check("core/error.c has a row per code of core/error.h", sorted(code for code, _, _ in rows) == sorted(set(codes) - {"ERR_CODE_COUNT"}), codes)
p = ingot("inspect", "no-such-folder", "--json")
e = json.loads(p.stdout)["error"]
check("the error object is as ingot-json.5 says", p.returncode == e["status"] == 3 and e["code"] == table[3] and e["message"] in p.stderr, e)
for c in commands:
    page = f"ingot-{c}.1"
    told = {int(n) for line in re.findall(r"^([\d, or]+):", section(page, "EXIT STATUS"), re.M) for n in re.findall(r"\d+", line)}
    check(f"{page}: tells of statuses that there are", told and told <= set(table), told)

# ---- keys of the files that people write: the program lists them when one is wrong ----
os.symlink(ROOT + "/examples/nano-hybrid/model", WORK + "/model")


def known_keys(name, text, *args):
    with open(f"{WORK}/{name}", "w") as f:
        f.write(text)
    p = ingot(*args)
    found = re.search(r"unknown key 'no-such-key'; known are (.*)", p.stderr)
    return found.group(1).split(", ") if found else [p.stderr]


release = "name: x\nsource: model\nrecipe: copy\n"
for page, what, keys in (
    ("ingot-recipe.5", "a recipe", known_keys("r.yaml", "no-such-key: 1\n", "plan", "model", "-r", "r.yaml")),
    ("ingot-recipe.5", "a rule", known_keys("r.yaml", "name: x\nrules: [{no-such-key: 1}]\n", "plan", "model", "-r", "r.yaml")),
    ("ingot-recipe.5", "inputs", known_keys("r.yaml", "name: x\nrules: [{role: mlp, inputs: {no-such-key: 1}}]\n", "plan", "model", "-r", "r.yaml")),
    ("ingot-release.5", "a release", known_keys("l.yaml", "no-such-key: 1\n", "build", "l.yaml")),
    ("ingot-release.5", "calibration", known_keys("l.yaml", release + "calibration: {no-such-key: 1}\n", "build", "l.yaml")),
    ("ingot-release.5", "a profile", known_keys("l.yaml", release + "profiles: [{no-such-key: 1}]\n", "build", "l.yaml")),
    ("ingot-release.5", "a key", known_keys("l.yaml", release + "key: {no-such-key: 1}\n", "build", "l.yaml")),
    # The policy is read once there is a package: the examples below make one.
):
    words = plain(pages[page])
    check(f"{page} has the keys of {what}", keys and all(k in words for k in keys), [k for k in keys if k not in words])
for page, words in (("ingot-recipe.5", "nvfp4 fp8 none off max mse single modelopt-cpu modelopt-cuda error layer_max fp8_cast"), ("ingot-list.1", " ".join(json.loads(ingot("list", "--json").stdout)))):
    lost = set(words.split()) - plain(pages[page])
    check(f"{page} has the words", not lost, lost)

# ---- the examples, on fewer texts, in one folder and in this order ----
os.makedirs(WORK + "/bin")
os.makedirs(WORK + "/run/examples")
os.symlink(INGOT, WORK + "/bin/ingot")
shutil.copytree(ROOT + "/examples/nano-hybrid", WORK + "/run/examples/nano-hybrid")
for name in ("calibration.jsonl", "evaluation.jsonl"):
    path = f"{WORK}/run/examples/nano-hybrid/{name}"
    lines = source(path).splitlines(keepends=True)[:6]
    with open(path, "w") as f:
        f.writelines(lines)
env = {**os.environ, "PATH": WORK + "/bin:" + os.environ["PATH"]}
env.pop("INGOT_KEY_PASSPHRASE", None)
registry = FakeRegistry().__enter__()  # stands for that of the examples; ends with this program
model = ROOT + "/examples/nano-hybrid/model"
hub = Hub({n: open(f"{model}/{n}", "rb").read() for n in os.listdir(model)})
env.update(HF_HOME=WORK + "/hub")


def shell(text):
    text = text.replace("localhost:5000", registry.host).replace("http://localhost:5001", hub.url)
    return subprocess.run(["sh", "-ec", text], cwd=WORK + "/run", env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def examples(page):
    return [re.sub(r"\\e$", r"\\", t, flags=re.M).replace("\\&", "") for t in re.findall(r"^\.Bd -literal[^\n]*\n(.*?)^\.Ed", section(page, "EXAMPLES"), re.M | re.S)]


printed = {}
for page in ["ingot.1"] + [f"ingot-{c}.1" for c in commands] + ["ingot-plan.5", "ingot-json.5"]:
    for number, text in enumerate(examples(page), 1):
        p = shell(text)
        check(f"{page}: example {number} works", "ingot" in text and p.returncode == 0, (text, p.stderr[-400:]))
    if page == "ingot.1":
        shutil.copytree(WORK + "/run/examples/nano-hybrid/model", WORK + "/run/build/demo/original")
        check("ingot-json.5: its example says what it should", shell(examples("ingot-json.5")[0]).stdout == "signature\n")
words = plain(pages["ingot-policy.5"])
with open(WORK + "/run/p.yaml", "w") as f:
    f.write("parity: {no-such-key: 1}\n")
keys = re.search("known are (.*)", shell("ingot verify build/demo/package --policy p.yaml || :").stderr).group(1).split(", ")
check("ingot-policy.5 has the keys of parity", all(k in words for k in keys), keys)
for page, name in (("ingot-policy.5", "policy.yaml"), ("ingot-release.5", "release.yaml")):
    body = "".join(line + "\n" for line in source(f"{ROOT}/examples/nano-hybrid/{name}").splitlines() if not line.startswith("#"))
    check(f"{page}: its example is that of the tree", examples(page) == [body], examples(page))
with open(WORK + "/run/mine.yaml", "w") as f:
    f.write(examples("ingot-recipe.5")[0] + examples("ingot-recipe.5")[1])
p = shell("ingot plan examples/nano-hybrid/model -r mine.yaml")
check("ingot-recipe.5: its example works", p.returncode == 0 and "matches nothing" not in p.stdout, p.stderr)

# ---- members of JSON: every one that comes out stands in the page ----
M = "examples/nano-hybrid/model"
for page, part, command in (
    ("ingot-json.5", "inspect", f"ingot inspect {M} --json"),
    ("ingot-json.5", "convert", f"ingot convert {M} --to safetensors -o j/c --json"),
    ("ingot-json.5", "calibrate", f"ingot calibrate {M} -r nvfp4-super -d examples/nano-hybrid/calibration.jsonl -o j/s.safetensors --json"),
    ("ingot-json.5", "quantize", f"ingot quantize {M} -r nvfp4-super -s j/s.safetensors -o j/q --json"),
    ("ingot-json.5", "pack", "ingot pack j/q -o oci:j/p:t --json"),
    ("ingot-json.5", "profiles", "ingot profiles build/demo/package --json"),
    ("ingot-json.5", "mount-map", "ingot mount-map build/demo/package --json"),
    ("ingot-json.5", "thin", "ingot thin build/demo/package -o j/thin --json"),
    ("ingot-json.5", "merge", "ingot merge build/demo/package --from j/thin --json"),
    ("ingot-json.5", "keygen", "ingot keygen -o j/k --json"),
    ("ingot-json.5", "sign", "ingot sign j/p -k j/k.key --json"),
    ("ingot-json.5", "attest", "ingot attest j/p -k j/k.key --json"),
    ("ingot-json.5", "push", "ingot push j/p localhost:5000/j:t --plain-http --json"),
    ("ingot-json.5", "pull", "ingot pull localhost:5000/j:t -o oci:j/pulled --plain-http --json"),
    ("ingot-json.5", "fetch", "ingot fetch hf://nvidia/nano --endpoint http://localhost:5001 --plain-http --json"),
    ("ingot-json.5", "verify", "ingot verify build/demo/package -k build/demo/release.pub -a build/demo/original -d examples/nano-hybrid/evaluation.jsonl --sample 2 -s build/demo/stats.safetensors --json"),
    ("ingot-json.5", "build", "ingot build examples/nano-hybrid -o build/demo --json"),
    ("ingot-json.5", "list", "ingot list --json"),
    ("ingot-json.5", "logits", f"ingot logits {M} --ids ids.json -o j/l.safetensors --json"),
    ("ingot-json.5", "eval", f"ingot eval {M} --ids ids.json --json"),
    ("ingot-json.5", "generate", f"ingot generate {M} -p x -n 1 --json"),
    ("ingot-json.5", "render", f"ingot render {M} -p x --json"),
    ("ingot-json.5", "tokenize", f"ingot tokenize {M} --text x --json"),
    ("ingot-json.5", "detokenize", f"ingot detokenize {M} --ids 5 --json"),
    ("ingot-plan.5", None, f"ingot plan {M} -r nvfp4-super --json"),
    ("ingot-profile.5", None, "ingot profile j/q -e vllm@0.17.1 -g b200:2 -o j/profiles --json"),
):
    p = shell(command)
    text = pages[page] if not part else re.search(rf"^\.Ss {part}\n(.*?)(?=^\.S[sh] |\Z)", pages[page], re.M | re.S).group(1)
    keys = set()
    for line in p.stdout.splitlines():
        doc = json.loads(line)
        keys |= set(doc)
        for inner in ("checks", "items", "roles", "recipes", "images", "profiles") if part != "list" else ("recipes",):
            keys |= {k for row in doc.get(inner, []) for k in row}
        for inner in ("parity", "encoded_again", "package", "engine", "gpu", "precision", "sizes", "source"):
            keys |= set(doc[inner]) if isinstance(doc.get(inner), dict) else set()
    lost = sorted(keys - plain(text))
    check(f"{page}: members of {command.split()[1]} --json", p.returncode == 0 and keys and not lost, lost or p.stderr)

# ---- pointers from the source into docs/ ----
tree = [f for d in "backends calibrate cli convert core engine formats models numeric pack plan quantize verify tests bench".split() for f in glob.glob(f"{ROOT}/{d}/**/*.[ch]", recursive=True)]
n = 0
for path in tree + glob.glob(ROOT + "/tests/**/*.py", recursive=True) + glob.glob(ROOT + "/tests/**/*.sh", recursive=True) + [ROOT + "/Makefile"]:
    if path == os.path.abspath(__file__):
        continue
    text = re.sub(r"\n\s*(\*|#|//)? *", " ", source(path))
    for target, where in re.findall(r"\b(docs/[\w./-]+\.(?:md|[15]))\b(?:(?:, | \()\"?([\w .-]+?)\"?(?=[).;:,*]| \*/))?", text):
        n += 1
        here = os.path.relpath(path, ROOT)
        if not os.path.isfile(f"{ROOT}/{target}"):
            check(f"{here} points to {target}", False, "it is not there")
            continue
        headings = " | ".join(re.findall(r"^(?:#+|\.S[hs]) (.*)", source(f"{ROOT}/{target}"), re.M)).lower()
        if where:
            check(f"{here} points to {target}, {where}", where.lower() in headings, headings)
check("the source points into docs/", n > 20, n)

# ---- docs/adding.md: the rooms and doors are those of the lint script, the files it names are there ----
adding = source(ROOT + "/docs/adding.md")
lint = source(ROOT + "/tests/lint/lint.sh")
rooms = {}
for names, may in re.findall(r"^    ([a-z |]+)\) echo *([A-Za-z ]*) *;;", lint, re.M):
    for room in names.split(" | "):
        rooms[room] = set(may.replace("ANY", "anything").split()) or {"nothing"}
said = {room: set(may.split()) for room, may in re.findall(r"^\| `([a-z]+)` \| .*? \| ([a-z ]+) \|$", adding, re.M)}
check("docs/adding.md: rooms as in lint.sh", len(rooms) > 10 and rooms == said, {r for r in set(rooms) | set(said) if rooms.get(r) != said.get(r)})
doors = sorted(re.findall(r"^door '[^']+' (.*)$", lint, re.M))
check("docs/adding.md: doors as in lint.sh", doors and doors == sorted(d.replace("`", "").replace(",", "") for d in re.findall(r"^\| \w+ \| (`.*`) \|$", adding, re.M) if "." in d), doors)
for page in sorted(glob.glob(ROOT + "/docs/*.md")):
    named = set(re.findall(r"`((?:[a-z]+/)+[\w.*-]+\.\w+|Makefile|(?:[a-z]+/)+)`", source(page)))
    lost = sorted(f for f in named if not glob.glob(f"{ROOT}/{f}") and not f.startswith(("blobs/", "models/config.json", "profiles/NAME", "build/", "application/")) and not re.search("NAME|ENGINE|WHAT", f))
    check(f"{os.path.basename(page)}: the files it names are there", not lost, lost)
for name, where in re.findall(r"`([a-z_]+\[\])`(?:[^`]*?\(`([a-z/_]+\.[ch])`\))?", adding):
    texts = [source(f"{ROOT}/{where}")] if where else [source(f) for f in tree]
    check(f"adding.md: {name} is there", any(name[:-2] + "[" in t for t in texts), where)

# ---- mandoc ----
if shutil.which("mandoc"):
    for page in pages:
        p = subprocess.run(["mandoc", "-Tlint", "-W", "warning", MAN + page], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        check(f"{page}: mandoc has nothing to say", p.returncode == 0 and not p.stdout, p.stdout)
else:
    print("skip mandoc lint of the manual: mandoc is not installed")
shutil.rmtree(WORK)
finish()
