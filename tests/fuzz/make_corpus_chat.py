"""Writes the saved inputs of fuzz_chat: a template, and for some a byte 0x1e and messages. The templates are those of
tests/vectors/chat and small ones of one rule each. The standard library alone; running it again changes nothing.
usage: make_corpus_chat.py [tests/fuzz/corpus]"""
import glob, os, sys

OUT = os.path.join(sys.argv[1] if len(sys.argv) > 1 else "tests/fuzz/corpus", "chat")
VECTORS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../vectors/chat/templates/*.jinja")


def save(name, template, messages=None):
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(template.encode() + (b"" if messages is None else b"\x1e" + messages.encode()))


os.makedirs(OUT, exist_ok=True)
for path in sorted(glob.glob(VECTORS)):
    with open(path, encoding="utf-8", newline="") as f:
        save(os.path.basename(path)[:-6], f.read())
for name, template in {
    "literals": "{{ 'a\\n\\x41\\u00e9\\'' ~ \"b\" 'c' }}{{ 0x1f + 0b1 + 0o7 + 1_000 + 00 }}{{ 1.5e3 }}{{ [1, (2,), {'k': none}] }}{{ '\\é' }}",
    "operators": "{{ 1 + 2 * 3 ** 2 // 4 % 5 - -6 / 7 ~ 'x' }}{{ 1 < 2 <= 3 != 4 in [5] }}{{ not n or f and e }}{{ 'a' if n else 'b' }}",
    "slices": "{{ s[1:3] }}{{ s[::-1] }}{{ l[-2:] }}{{ l[5] }}{{ messages[0]['role'] }}{{ d.items }}{{ d['items'] }}{{ s.0 }}{{ range(9)[::2]|list }}",
    "loops": "{% for a in l %}{% if a == 1 %}{% continue %}{% endif %}{{ loop.index }}{{ loop.previtem }}{{ loop.last }}{{ loop.cycle('x', 'y') }}{% else %}none{% endfor %}{% for k, v in d.items() if v %}{{ k }}{% break %}{% endfor %}",
    "macros": "{% macro m(a, b=a) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{{ caller() if caller }}{% endmacro %}{{ m(1, 2, 3, c=4) }}{% call m(5) %}in{% endcall %}",
    "recursion": "{% macro m(a) %}{{ a }}{{ m(a + 1) }}{% endmacro %}{{ m(0) }}",
    "sets": "{% set a, b = 1, 2 %}{% set n = namespace(x=1) %}{% set n.x = n.x + a %}{% set t | upper %}x{{ b }}{% endset %}{{ t }}{{ n.x }}{% with c = 3 %}{{ c }}{% endwith %}{% filter trim %} y {% endfilter %}",
    "filters": "{{ l|map('string')|join(',') }}{{ messages|selectattr('role', 'equalto', 'user')|list|length }}{{ d|dictsort }}{{ s|indent(2, true) }}{{ messages|tojson(indent=1) }}{{ s|replace('l', '')|title }}",
    "methods": "{{ s.split('l', 1) }}{{ s.rsplit('l', 1) }}{{ s.find('o') }}{{ ' a '.strip() }}{{ s.startswith(('H', 'x')) }}{{ 'a,b'.partition(',') }}{{ d.get('z', 1) }}{{ l.index(1) }}{{ '{:>5}'.format(s) }}{{ '%05.1f' % f }}",
    "white_space_signs": "a\n  {%- if n -%}  \n b {%+ endif +%}\n {{- s -}} \n{# c -#}\n{% raw -%} {{ x }} {%- endraw %}\r\n\r",
    "nested": "{{ " + "[" * 100 + "]" * 100 + " }}",
    "deep": "{{ 1" + "|abs" * 300 + " }}",
    "open_block": "{% if 1 %}x",
    "bad_escape": "{{ '\\ud800' }}",
    "large_integer": "{{ 9223372036854775807 + 1 }}",
    "lazy": "{% set x = [1, none]|map('length') %}{{ x|first }}",
    "sort": "{{ l|sort }}{{ [[1], [2]]|sort(reverse=true) }}{{ ['b', 'A']|sort }}",
    "namespace_in_itself": "{% set n = namespace() %}{% set n.n = n %}{{ n }}",
}.items():
    save(name, template)
save("messages", "{{ messages }}{{ messages[0].reasoning_content }}", '[{"role":"u","content":null,"reasoning":"r"},{"a":[1,1e300,{"b":"\\u0000"}]}]')
save("no_messages", "{{ messages }}", "[]")
