#!/usr/bin/env python3
"""Expressions of recipes and configurations against Python's re.match: random patterns on random names, patterns by hand with what is refused
of them, and patterns that are an enemy's. Nothing here is an expected value of ours: python3's own re says what fits."""
import os, random, re, subprocess, sys, time, warnings

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOL = os.environ.get("INGOT_TOOLS", ROOT + "/build/release/tests/tools") + "/regex_tool"
warnings.simplefilter("ignore")  # Python's about sets that may mean more one day
bad = 0


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print(("ok " if ok else "FAIL ") + name + ("" if ok else ": " + str(detail)[:600]), flush=True)


def ask(rows):
    """rows: (pattern, names). The answers: a text of 0 and 1, or "- why"."""
    text = "".join(" ".join("x" + t.encode().hex() for t in [p] + names) + "\n" for p, names in rows)
    p = subprocess.run([TOOL], input=text, stdout=subprocess.PIPE, text=True, timeout=60)
    assert p.returncode == 0 and p.stdout.count("\n") == len(rows), p
    return p.stdout.split("\n")[:-1]


def python(pattern, names):
    try:
        r = re.compile(pattern, re.ASCII)  # \\w and \\b: names beyond ASCII are nobody's (formats/regex.h)
    except (re.error, OverflowError):
        return None
    return "".join("01"[r.match(n) is not None] for n in names)


# ---- random ones ----

rng = random.Random(20261122)
ATOMS = ["a", "b", "ab", ".", "\\.", "[ab]", "[^a]", "\\d", "\\w", "\\W", "\\D", "\\s", "[a-c.]", "[\\d_]", "[^\\w.]", "1", "_", "\\b", "\\B", "^", "$", "\\A", "\\Z", "x", "é", "[]a]", "[^]b]", "[a-]", "{", "}", "a{", "b{,x}", "\\n", "[\\n.]"]
REPEATS = ["*", "+", "?", "*?", "+?", "??", "{2}", "{1,3}", "{,2}", "{2,}", "{0}", "{1,2}?", "{,}", "{0,1}", "{3,4}"]
GROUPS = ["(", "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?P<n%d>"]


def pattern(depth):
    global named
    out = []
    for _ in range(rng.randrange(1, 5)):
        if depth and rng.random() < 0.4:
            g = rng.choice(GROUPS)
            if "%d" in g:
                named += 1
                g %= named
            inside = rng.choice(["a", "b", ".", "\\.", "\\d", "ab", "a|b", "\\w\\.", "[^.]", "a{2}", "(?=a)b"]) if g in ("(?<=", "(?<!") and rng.random() < 0.8 else pattern(depth - 1)
            piece = g + inside + ")"
        else:
            piece = rng.choice(ATOMS)
        out.append(piece + (rng.choice(REPEATS) if rng.random() < 0.35 else ""))
        if rng.random() < 0.12:
            out.append("|")
    return "".join(out)


def name():
    return "".join(rng.choice("aabb..1_x2c \né-{}") for _ in range(rng.randrange(1, 14)))


rows, want, refused_by_python = [], [], 0
while len(rows) < 6000:
    named = 0
    p, names = pattern(3), [name() for _ in range(8)]
    fits = python(p, names)
    rows.append((p, names))
    want.append(fits)
    refused_by_python += fits is None
got = ask(rows)
wrong = [(p, n, w, g) for (p, n), w, g in zip(rows, want, got) if (g != w if w is not None else not g.startswith("- "))]
check(f"{len(rows)} random patterns on 8 names each mean what Python makes of them", not wrong, (len(wrong), wrong[:3]))
some = sum(w is not None and "0" in w and "1" in w for w in want)
check("of which enough are good, fit some names and not others", some > 800 and refused_by_python > 200, (some, refused_by_python))

# ---- broken ones: letters left out, doubled, put elsewhere ----

SEEDS = ["re.*layers\\.(?!0\\.).*", "model\\.layers\\.(?:[0-9]|1[0-5])\\..*(q|k|v)_proj$", ".*\\b(up|gate)_proj\\b", "(?<!shared_)experts\\.\\d{1,3}\\.", "[^]a-z\\d]{2,}?|(?P<x>y)*", "(a|b)(?=c)[]-]"]
rows = []
for _ in range(3000):
    p = list(rng.choice(SEEDS))
    for _ in range(rng.randrange(1, 4)):
        i = rng.randrange(len(p))
        p[i:i + rng.randrange(2)] = rng.choice(["", "(", ")", "[", "]", "{", "}", "\\", "*", "?", "+", "|", "-", "2", ",", "^", "$", "a", "(?"])
    p = "".join(p)
    if p:
        rows.append((p, ["model.layers.1.q_proj", "a", "experts.12.", "[[", "(a"]))
got = ask(rows)
NOT_READ = "- (of escapes|references|flags|atomic|conditions|comments|possessive|in brackets)"
wrong = []
for (p, names), g in zip(rows, got):
    fits = python(p, names)
    if g != fits and not (fits is None and g.startswith("- ")) and not re.match(NOT_READ, g):
        wrong.append((p, fits, g))
check(f"{len(rows)} broken patterns mean what Python makes of them, or are refused", len(rows) > 2900 and not wrong, wrong[:3])

# ---- by hand ----

MODULES = ["model.layers.0.mlp.up_proj", "model.layers.10.mlp.up_proj", "model.layers.3.self_attn.q_proj", "model.layers.3.mlp.shared_experts.up_proj",
           "model.layers.3.mlp.experts.7.up_proj", "model.layers.61.mlp.gate", "lm_head", "backbone.layers.5.mixer.in_proj", "layers.1"]
rows = [(p, MODULES) for p in (".*layers\\.(?!0\\.).*", ".*layers\\.\\d{2}\\.", ".*\\.mlp\\.(?!(shared_)?experts).*", ".*(?<!shared_)experts\\..*", "(?=.*up_proj)(?!.*experts).*", "\\w{2,4}_\\b",
                               ".*\\bmlp\\b.*_proj$", "model\\.layers\\.([0-9]|1[0-5])\\b", ".*(?<=self_attn\\.)[qkv]_proj", "^(?!lm_head).*", "(?P<top>model|backbone)\\.", ".*\\.\\d+\\.(?:mlp|mixer)\\.(?!.*shared).*_proj\\Z",
                               "", "(?:)*", "(?:a*)*$", "((a*)*)*lm", "(?:(?=l)*lm)", "(?<=)lm", "[[:alpha:]]*", "lm[_-]head", "lm.head(?=$)", "(?!)", "(?<!x|y)lm")]
got = ask(rows)
for (p, names), g in zip(rows, got):
    check(f"re:{p}", g == python(p, names), (g, python(p, names)))

for p, why in (("(a)\\1", "references to groups"), ("(?P<x>a)(?P=x)", "references to groups"), ("(?i)a", "flags"), ("(?i:a)", "flags"), ("(?>a)", "atomic groups"), ("a*+", "possessive repeats"), ("a{2}+", "possessive repeats"),
               ("(a)?(?(1)b|c)", "conditions"), ("(?#x)a", "comments"), ("\\x41", "of escapes"), ("\\N{DIGIT ONE}", "of escapes"), ("[é]", "in brackets only letters of ASCII"), ("(?<=a*)b", "no one width"),
               ("(?<=a|bc)d", "no one width"), ("(", "no regular expression"), ("a**", "no regular expression"), ("*", "no regular expression"), ("a)", "no regular expression"), ("[b-a]", "no regular expression"),
               ("{2}", "no regular expression"), ("^*", "no regular expression"), ("a{3,2}", "no regular expression"), ("a\\", "no regular expression"), ("[a", "no regular expression"), ("(?<a)", "no regular expression"),
               ("(?P<1>a)", "no regular expression"), ("a{5000}", "repeats make it too long"), ("((((a{99}){99}){99}){99}){99}", "repeats make it too long"), ("(" * 65 + ")" * 65, "groups in too many groups"),
               ("(?=a)" * 33, "in too many places"), ("a" * 4097, "it is too long")):
    g = ask([(p, ["a"])])[0]
    check(f"refused: {p[:40]}", g.startswith("- ") and why in g, g)

# ---- an enemy's: Python would not live to see their end ----

LONG = "a" * 2000
rows = [("(a*)*b", [LONG]), ("(a|a)*b", [LONG]), ("(a|aa)+$", [LONG + "!"]), ("(.*)*(.*)*(.*)*(.*)*x", [LONG]), ("(?:(?=(a*)*b)a)*b", [LONG]), ("(?=.*(?=.*(?=.*(?=.*(?=.*x)))))", [LONG]), ("a{0,1000}a{0,1000}b", [LONG]),
        ("(" * 20 + "a*" + ")*" * 20 + "b", [LONG]), ("(?!(((a*)*)*)*b)" * 32 + "a", [LONG]), ("(?<=" + "(?=a)" * 31 + ")", [LONG])]
start = time.time()
got = ask(rows)
spent = time.time() - start
check("patterns on which Python would never end", got == ["0", "0", "0", "0", "0", "0", "0", "0", "1", "1"], got)
check("in time that counts their length once", spent < 10, spent)
check("looking around in a name of 5,000 letters fits nothing, and ends", ask([("(?=a)a", ["a" * 5000, "a" * 4095])]) == ["01"])
sys.exit(bad > 0)
