"""Random templates through chat_tool and through transformers; by hand, needs transformers:
    python tests/vectors/chat/random_chat.py build/release/tests/tools/chat_tool [SEED] [COUNT]
A difference is a text that is not the same, or an error on one side only. Where we say "not supported" or hit a bound,
nothing is compared; how often that was is printed."""
import json, os, random, subprocess, sys, warnings
sys.path.insert(0, os.path.dirname(__file__))
from reference import render
from collections import Counter
warnings.filterwarnings("ignore")

R = random.Random()
TEXTS = ["", " ", "a", "Hello World", "  x y  ", "a,b,,c", "é", "ß", "İstanbul ΑΣ", "日本語", "a\nb\r\nc\n", "<b>&\"'", "42", " -7 ", "3.5", "1e3",
         "\t", "abcabc", "\U0001f600x", "it's", 'say "x"', "\x7f\u200b", "0x1f", "1_000", "nan", "<think>a</think>b", "%s", "{}"]
NUMBERS = ["0", "1", "2", "-1", "3", "7", "10", "1.5", "0.1", "-2.5", "1e16", "1e-5", "100000.0", "2.0", "0.0", "1234567.891"]
CONTEXT = {"s": "Hello World", "u": "Привет, мир! ÉÀ", "e": "", "n": 5, "z": 0, "f": 2.5, "t": True, "no": None,
           "l": [3, 1, 2], "ls": ["b", "A", "a", "C", "b"], "le": [], "d": {"a": 1, "b": [1, 2], "items": "I", "Z": None},
           "de": {}, "objs": [{"k": "x", "v": 1, "in": {"q": "Q"}}, {"k": "Y", "v": 3}, {"k": "a", "v": 2, "t": True}],
           "mixed": [1, "a", None, True, 2.5, [1], {"z": 1}], "nested": {"x": {"y": {"z": "deep"}}}}
NAMES = list(CONTEXT) + ["messages", "tools", "missing", "v1", "v2"]
FILTERS = ["upper", "lower", "capitalize", "title", "trim", "trim('ab ')", "length", "count", "string", "list", "first", "last", "join", "join(',')",
           "join('-', attribute='k')", "int", "float", "int(9)", "abs", "round", "round(1)", "round(1, 'floor')", "round(method='ceil')", "tojson", "tojson(indent=2)",
           "tojson(separators=(',', ':'))", "tojson(ensure_ascii=true)", "tojson(sort_keys=true)", "replace('a', 'XY')", "replace('', '.')", "replace('l', '', 1)",
           "default('D')", "default('D', true)", "d(1)", "reverse", "reverse|list", "sort", "sort(reverse=true)", "sort(attribute='v')", "sort(case_sensitive=true)",
           "sort(attribute='k')", "unique|list", "map('upper')|list", "map(attribute='k')|list", "map(attribute='in.q', default='-')|list", "map('length')|list",
           "select|list", "reject|list", "select('string')|list", "reject('none')|list", "selectattr('t')|list", "selectattr('v', '>', 1)|list",
           "selectattr('k', 'equalto', 'x')|list", "rejectattr('v', 'in', [1, 2])|list", "selectattr('t', 'defined')|list", "items|list", "dictsort", "dictsort(true)",
           "dictsort(by='value')", "indent", "indent(2)", "indent('> ', true)", "indent(2, blank=true)", "safe", "escape", "e", "batch(2)|list", "batch(2, 0)|list",
           "sum", "sum(attribute='v')", "min", "max", "center(20)", "truncate(8)", "truncate(5, true)", "truncate(6, false, '~', 0)", "format", "attr('upper')", "wordcount|int"]
TESTS = ["defined", "undefined", "none", "string", "mapping", "sequence", "iterable", "number", "integer", "float", "boolean", "true", "false", "odd", "even",
         "divisibleby(2)", "divisibleby 3", "eq 1", "equalto('a')", "==(5)", "ne(1)", "in([1, 2, 'a'])", "in 'Hello'", "lower", "upper", "callable", "sameas none",
         "gt(2)", "lessthan(2)", ">=(1)", "escaped", "filter", "test"]
METHODS = ["upper()", "lower()", "title()", "capitalize()", "strip()", "strip('a ')", "lstrip()", "rstrip('\\n')", "split()", "split(',')", "split('a', 1)", "split(None, 1)",
           "rsplit('a', 1)", "rsplit()", "splitlines()", "splitlines(true)", "startswith('a')", "startswith(('H', 'a'))", "endswith('d')", "replace('a', 'b')", "replace('l', 'L', 1)",
           "find('a')", "find('o', 5)", "rfind('o')", "index('o')", "count('a')", "count('')", "join(['x', 'y'])", "join(ls)", "items()|list", "keys()|list", "values()|list", "items()",
           "keys()", "get('a')", "get('q', 'dflt')", "isdigit()", "isalpha()", "isupper()", "isspace()", "isalnum()", "partition('o')", "rpartition('o')", "zfill(6)", "ljust(8)", "rjust(8, '.')",
           "center(9, '*')", "removeprefix('He')", "removesuffix('d')", "swapcase()", "append(1)", "pop()", "update({})", "copy()", "index(2)", "format(1, 2)", "format('x', a=3)", "nothing()"]
OPS = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", ">", "<=", ">=", "in", "not in", "and", "or"]


def quote(s):
    out = "".join({"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(c, c) for c in s)
    return "'" + out + "'"


def expr(depth):
    k = R.random()
    if depth <= 0 or k < 0.18:
        k = R.random()
        if k < 0.5: return R.choice(NAMES)
        if k < 0.72: return quote(R.choice(TEXTS))
        if k < 0.92: return R.choice(NUMBERS)
        return R.choice(["true", "false", "none", "True", "None", "[]", "{}", "()"])
    sub = lambda: expr(depth - 1)
    return R.choice([
        lambda: "%s|%s" % (atom(depth - 1), R.choice(FILTERS)),
        lambda: "%s|%s" % (atom(depth - 1), R.choice(FILTERS)),
        lambda: "%s is %s%s" % (atom(depth - 1), R.choice(["", "", "not "]), R.choice(TESTS)),
        lambda: "%s.%s" % (atom(depth - 1), R.choice(METHODS)),
        lambda: "%s.%s" % (atom(depth - 1), R.choice(METHODS)),
        lambda: "%s %s %s" % (sub(), R.choice(OPS), sub()),
        lambda: "(%s) %s (%s)" % (sub(), R.choice(OPS), sub()),
        lambda: "%s %s %s" % (R.choice(NUMBERS), R.choice(OPS[:13]), R.choice(NUMBERS)),
        lambda: "%s%s" % (R.choice(["not ", "-", "+"]), atom(depth - 1)),
        lambda: "%s if %s else %s" % (sub(), sub(), sub()),
        lambda: "%s if %s" % (sub(), sub()),
        lambda: "[%s]" % ", ".join(sub() for _ in range(R.randrange(4))),
        lambda: "(%s,)" % ", ".join(sub() for _ in range(R.randrange(1, 3))),
        lambda: "{%s}" % ", ".join("%s: %s" % (R.choice(["'a'", "'b'", "1", "none", "1.5", "'items'"]), sub()) for _ in range(R.randrange(4))),
        lambda: "%s.%s" % (atom(depth - 1), R.choice(["a", "b", "x", "k", "items", "keys", "missing", "0", "1"])),
        lambda: "%s[%s]" % (atom(depth - 1), sub()),
        lambda: "%s[%s:%s]" % (sliced(), R.choice(["", "1", "-2", "n", "10"]), R.choice(["", "2", "-1", "0", "100"])),
        lambda: "%s[%s:%s:%s]" % (sliced(), R.choice(["", "1", "-1", "5"]), R.choice(["", "0", "-3"]), R.choice(["", "2", "-1", "-2"])),
        lambda: "range(%s)" % ", ".join(str(R.randrange(-3, 9)) for _ in range(R.randrange(1, 4))),
        lambda: "dict(a=%s)" % sub(),
        lambda: "%s %% %s" % (quote(R.choice(["%s", "%d", "%5.2f|", "%-6s|", "%05d", "%x", "%r", "%s %s", "%%", "%(a)s", "%+d", "%e", "%g", "%c", "%.2s"])), atom(depth - 1)),
        lambda: "%s.format(%s)" % (quote(R.choice(["{}", "{0}-{0}", "{:>6}|", "{:05d}", "{:.2f}", "{a}", "{{}}", "{:<8}|", "{:^7}|", "{:x}", "{} {}", "{:+}"])), sub()),
    ])()


def sliced():
    """No constant: Jinja folds a slice of one with other rules than the ones it runs with."""
    return R.choice(NAMES + ["(s|list)", "(u ~ 'x')", "(l + [n])", "range(n)", "(ls, l)"])


def atom(depth):
    e = expr(depth)
    return e if e.replace("_", "").isalnum() and not e[0].isdigit() else "(%s)" % e


def stmts(depth, loop):
    out = []
    for _ in range(R.randrange(1, 4)):
        o, c = R.choice([("{%", "%}"), ("{%-", "%}"), ("{%", "-%}"), ("{%-", "-%}"), ("{%+", "%}"), ("{%", "+%}")])
        po, pc = R.choice([("{{", "}}"), ("{{-", "}}"), ("{{", "-}}")])
        body = lambda inner=loop: stmts(depth - 1, inner) if depth > 0 else R.choice(["x", "\n", " y\n"])
        tag = lambda s: "%s %s %s" % (o, s, c)
        out.append(R.choice([
            lambda: R.choice(["text", "\n", "  \n  ", "a\n\n b", " ", "\n    "]),
            lambda: "%s %s %s" % (po, expr(2), pc),
            lambda: "%s %s %s" % (po, expr(3), pc),
            lambda: tag("if " + expr(2)) + body() + R.choice(["", tag("elif " + expr(1)) + body()]) + R.choice(["", tag("else") + body()]) + tag("endif"),
            lambda: tag("for %s in %s%s" % (R.choice(["v1", "v2"]), R.choice(["l", "ls", "objs", "mixed", "d", "range(4)", "s", "missing", expr(1), "messages", "ls|map('upper')"]),
                                            R.choice(["", "", " if " + expr(1)]))) + body(True) +
                R.choice(["", "", tag("else") + body()]) + tag("endfor"),
            lambda: tag("for v1, v2 in %s" % R.choice(["d.items()", "d|items", "d|dictsort", "[(1, 2), (3, 4)]", expr(1)])) + body(True) + tag("endfor"),
            lambda: tag("set %s = %s" % (R.choice(["v1", "v2"]), expr(2))),
            lambda: tag("set v1, v2 = %s" % R.choice(["(1, 2)", "'ab'", "[[], {}]"])),
            lambda: tag("set ns = namespace(a=%s)" % expr(1)) + tag("set ns.a = %s" % expr(1)) + "{{ ns.a }}{{ ns.b is defined }}",
            lambda: tag("set v1" + R.choice(["", " | upper", " | trim | length"])) + body(False) + tag("endset"),
            lambda: tag("macro m%d(a, b=%s)" % (depth, expr(1))) + "{{ a }}|{{ b }}" + body(False) + tag("endmacro") + "{{ m%d(%s) }}" % (depth, R.choice(["1", "1, 2", "b=3", "a='x', b='y'", "", "1, 2, 3"])),
            lambda: tag("macro w()") + "[{{ caller() }}]" + tag("endmacro") + tag("call w()") + body(False) + tag("endcall"),
            lambda: tag("filter " + R.choice(["upper", "trim", "replace('a', 'b')|title"])) + body(False) + tag("endfilter"),
            lambda: tag("with v1 = %s" % expr(1)) + body() + tag("endwith"),
            lambda: tag("generation") + body(False) + tag("endgeneration"),
            lambda: R.choice(["{# c #}", "{#- c -#}", "{# c\n#}\n", "  {# c #}\n"]),
            lambda: tag("raw") + "{{ x }} {% y %}\n" + tag("endraw"),
            lambda: (("{%% if %s %%}" % expr(1)) + tag(R.choice(["break", "continue"])) + "{% endif %}") if loop else "",
            lambda: R.choice(["{{ loop.index }}", "{{ loop.last }}", "{{ loop.first }}{{ loop.length }}", "{{ loop.revindex0 }}", "{{ loop.previtem }}", "{{ loop.nextitem is defined }}", "{{ loop.cycle('a', 'b') }}", "{{ loop.changed(v1) }}"]) if loop else "",
        ])())
    return "".join(out)


def main():
    seed, count = int(sys.argv[2]) if len(sys.argv) > 2 else 1, int(sys.argv[3]) if len(sys.argv) > 3 else 2000
    R.seed(seed)
    messages = [{"role": "system", "content": "Sei nett."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]
    cases = []
    for i in range(count):
        cases.append({"template": "{{ %s }}" % expr(3) if i % 2 else stmts(2, False), "messages": messages, "variables": CONTEXT, "tokens": {"bos_token": "<s>"},
                      "date": "2026-03-14 15:09:26"})
    data = "".join(json.dumps(c) + "\n" for c in cases)
    out = subprocess.run([sys.argv[1]], input=data.encode(), stdout=subprocess.PIPE, check=True).stdout
    kinds, shown = Counter(), 0
    for case, line in zip(cases, out.split(b"\n")):
        got = json.loads(line)
        try:
            want = render(case)
            json.dumps(want).encode()
        except Exception as e:
            want = e
        if isinstance(want, str) and (" at 0x" in want):
            kinds["prints an address"] += 1
            continue
        if got.get("error") == "unsupported" and "is not supported" not in got["text"]: kind = "bound"
        elif got.get("error") == "unsupported": kind = "unsupported"
        elif "error" in got and not isinstance(want, str): kind = "both fail"
        elif got == {"text": want}: kind = "same"
        else: kind = "DIFFERENT"
        kinds[kind] += 1
        if kind == "DIFFERENT" and shown < 25:
            shown += 1
            print("%r\n   got  %r\n   want %r" % (case["template"], got.get("text") if "error" not in got else got, want))
    print(dict(kinds))


main()
