"""Makes requests.json, the conversations below, and goldens.jsonl: every template of templates/ with every one of them,
rendered by transformers (reference.py).
    python tests/vectors/chat/make_chat.py        (with transformers 5.23.0, Jinja2 3.1.6)
"fails" stands where transformers raises an exception."""
import glob, json, os, sys, warnings
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from reference import render
warnings.filterwarnings("ignore")
HERE = os.path.dirname(os.path.abspath(__file__))

TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": " The weather of a \"place\" <today> ", "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "Zürich, 東京"}, "unit": {"type": "string", "enum": ["c", "f"], "default": "c"}, "days": {"type": "array", "items": {"type": "integer"}},
        "note": {"type": ["string", "null"]}, "any": {"type": "array"}, "place": {"type": "object", "properties": {"x": {"type": "number"}, "y": {"oneOf": [{"type": "integer"}, {"type": "string"}]}}, "required": ["x"]}},
        "required": ["city"]}, "return": {"type": "string"}}},
    {"type": "function", "function": {"name": "nop", "description": "Nothing.", "parameters": {"type": "object", "properties": {}}, "strict": True}}]


def call(n, name, arguments):
    return {"id": "id%07d" % n, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(n, name, content):
    return {"role": "tool", "name": name, "tool_call_id": "id%07d" % n, "content": content}


SYSTEM = {"role": "system", "content": "Sei höflich.\n\n Immer. "}
USER = {"role": "user", "content": " Hello, 世界! <b>&\"it's\"\n"}
ANSWER = {"role": "assistant", "content": "Hi 😀\n"}
MORE = {"role": "user", "content": "And\tnow?"}
ASK = {"role": "assistant", "content": "", "tool_calls": [call(1, "get_weather", {"city": "Zürich", "days": [1, 2], "f": 1.5, "yes": True, "no": None, "deep": {"a": []}})]}
ASK_TWO = {"role": "assistant", "content": None, "reasoning_content": "Two of them.\n", "tool_calls": [call(1, "get_weather", {"city": "Bern"}), call(2, "nop", {})]}
ASK_TEXT = {"role": "assistant", "content": "Let me see", "tool_calls": [call(1, "get_weather", "{\"city\": \"Bern\"}")]}
THOUGHT = {"role": "assistant", "content": "<think>\nhmm\n</think>\n\nfinal"}
CONVERSATIONS = {
    "user": [USER],
    "system": [SYSTEM, USER],
    "turns": [SYSTEM, USER, ANSWER, MORE],
    "answered": [USER, ANSWER, MORE, dict(ANSWER, reasoning_content="because")],
    "thought": [USER, THOUGHT, MORE],
    "thinking": [SYSTEM, USER, dict(ANSWER, thinking="of it"), MORE, dict(ANSWER, reasoning="at last")],
    "empty": [{"role": "system", "content": ""}, {"role": "user", "content": ""}],
    "parts": [{"role": "system", "content": [{"type": "text", "text": "In parts. "}]}, {"role": "user", "content": [{"type": "text", "text": "Look "}, {"type": "image"}, {"type": "text", "text": "here"}]}, ANSWER, MORE],
    "no_think": [{"role": "system", "content": "Quick. /no_think"}, USER],
    "developer": [{"role": "developer", "content": "Do."}, USER],
    "call": [USER, ASK, result(1, "get_weather", "{\"t\": 21}"), ANSWER, MORE],
    "calls": [SYSTEM, USER, ASK_TWO, result(1, "get_weather", "21°"), result(2, "nop", ""), dict(ANSWER, reasoning_content="got it")],
    "open_call": [USER, ASK_TEXT, result(1, "get_weather", "warm")],
    "out_of_turn": [USER, MORE, {"role": "user", "content": "third"}],
    "stranger": [USER, {"role": "stranger", "content": "who?"}],
}
VARIANTS = {
    "prompt": {"add_generation_prompt": True, "variables": {}},
    "plain": {"variables": {"enable_thinking": False, "thinking": True, "reasoning_effort": "high", "builtin_tools": ["python", "browser"], "date_string": "14 Mar 2026", "preserve_thinking": True,
                            "tools_in_user_message": False, "contexts": ["one", "two"], "number_pictures": True}},
}

requests = {}
for name, messages in CONVERSATIONS.items():
    for variant, more in VARIANTS.items():
        if variant == "plain" and name in ("user", "system", "empty", "developer", "stranger", "out_of_turn"):
            continue
        case = {"messages": messages, "tokens": {"bos_token": "<s>", "eos_token": "</s>"}, "date": "2026-03-14 15:09:26", **more}
        if any(m["role"] == "tool" for m in messages) or (name == "system" and variant == "prompt"):
            case["tools"] = TOOLS
        requests[name + "/" + variant] = case
with open(os.path.join(HERE, "requests.json"), "w", encoding="utf-8") as out:
    json.dump(requests, out, ensure_ascii=False, indent=0, separators=(",", ":"))
with open(os.path.join(HERE, "goldens.jsonl"), "w", encoding="utf-8") as out:
    for path in sorted(glob.glob(os.path.join(HERE, "templates/*.jinja"))):
        text = open(path, encoding="utf-8", newline="").read()
        for name, case in requests.items():
            row = {"template": os.path.basename(path), "request": name}
            try:
                row["text"] = render({**case, "template": text})
            except Exception as e:
                row["fails"] = "%s: %s" % (type(e).__name__, e)
            out.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
