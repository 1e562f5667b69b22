"""JSON Schema as far as the schemas in tests/data use it, so that they are checked where no library is installed. Anything else in a
schema is an error, not a pass."""
import re

TYPES = {"object": dict, "array": list, "string": str}
SILENT = {"$schema", "$comment", "$defs"}


def faults(value, schema, root=None, at=""):
    """What of the value is not as the schema says: a list of sentences, empty when all is well."""
    root = root or schema
    out = []
    for key, rule in schema.items():
        if key in SILENT or key == "properties" and not isinstance(value, dict):
            continue
        if key == "$ref":
            node = root
            for name in rule.removeprefix("#/").split("/"):
                node = node[name]
            out += faults(value, node, root, at)
        elif key == "type":
            out += [] if isinstance(value, TYPES[rule]) else [f"{at}: not of type {rule}"]
        elif key == "const":
            out += [] if value == rule else [f"{at}: not {rule}"]
        elif key == "required":
            out += [f"{at}: no {name}" for name in rule if isinstance(value, dict) and name not in value]
        elif key == "properties":
            for name in set(rule) & set(value):
                out += faults(value[name], rule[name], root, f"{at}/{name}")
        elif key == "additionalProperties":
            for name in set(value) - set(schema.get("properties", {})) if isinstance(value, dict) else ():
                out += [f"{at}: {name} is not a member"] if rule is False else faults(value[name], rule, root, f"{at}/{name}")
        elif key == "items":
            for i, v in enumerate(value if isinstance(value, list) else ()):
                out += faults(v, rule, root, f"{at}/{i}")
        elif key == "minItems":
            out += [f"{at}: fewer than {rule}"] if isinstance(value, list) and len(value) < rule else []
        elif key == "minProperties":
            out += [f"{at}: fewer than {rule}"] if isinstance(value, dict) and len(value) < rule else []
        elif key == "minLength":
            out += [f"{at}: shorter than {rule}"] if isinstance(value, str) and len(value) < rule else []
        elif key == "pattern":
            out += [f"{at}: {value!r} does not match"] if isinstance(value, str) and not re.search(rule, value) else []
        elif key == "allOf":
            for part in rule:
                out += faults(value, part, root, at)
        elif key == "anyOf":
            out += [] if any(not faults(value, part, root, at) for part in rule) else [f"{at}: none of {len(rule)}"]
        else:
            raise ValueError(f"schema: '{key}' is not understood")
    return out
