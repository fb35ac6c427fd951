"""The rows of docs/configuration.md as the models say them: one for each key that holds a value.

Run as a program it prints the rows of the sections that it is given, for pasting into the documentation.
"""

import sys
from collections.abc import Iterator
from typing import Any

from gateway.config.choices import PolicySpec, PredictorSpec
from gateway.config.export import SchemaGenerator
from gateway.config.schema import ConfigFile

Schema = dict[str, Any]

HEADER = "| key | type | default | unit | change | meaning |"


def rows() -> list[str]:
    """A Markdown row for each key, in the order of the schema; what tenants share with their defaults once."""
    whole = ConfigFile.model_json_schema(schema_generator=SchemaGenerator)
    leaves = dict(_leaves("", whole, whole["$defs"]))
    shared = {path.replace("tenant_defaults.", "tenants[].") for path in leaves if path.startswith("tenant_defaults.")}
    return [_row(path, leaf) for path, leaf in leaves.items() if path not in shared]


def _leaves(path: str, schema: Schema, definitions: Schema) -> Iterator[tuple[str, Schema]]:
    for name, child in schema["properties"].items():
        place = f"{path}.{name}" if path else name
        if "x-reload" in child:
            required = name in schema.get("required", ())
            yield (
                place,
                _resolved(child, definitions) | ({} if "default" in child or not required else {"required": True}),
            )
            continue
        members, suffix = _members(child, definitions)
        for member in members:
            tag = member.get("properties", {}).get("function", {}).get("const")
            inside = f"{place}{suffix}" + (f"({tag})" if tag else "")
            yield from _leaves(inside, member, definitions)


def _members(schema: Schema, definitions: Schema) -> tuple[list[Schema], str]:
    """The mappings that may stand here, and `[]` where they stand in a list."""
    if schema.get("type") == "array":
        return [definitions[_name(schema["items"])]], "[]"
    options = schema.get("oneOf") or schema.get("anyOf") or [schema]
    return [definitions[_name(option)] for option in options if "$ref" in option], ""


def _name(schema: Schema) -> str:
    return str(schema["$ref"]).rsplit("/", 1)[1]


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    """The schema with references and the null of an optional key folded in."""
    flat = dict(schema)
    for option in schema.get("anyOf", schema.get("oneOf", [schema] if "$ref" in schema else [])):
        if option.get("type") == "null":
            flat["nullable"] = True
        elif "oneOf" in option:
            flat = {**_resolved(option, definitions), **flat}
        elif "const" in option:
            flat["word"] = option["const"]
        else:
            target = definitions[_name(option)] if "$ref" in option else option
            flat = {**target, **flat}
    if "$ref" in flat.get("items", {}):
        flat["items"] = definitions[_name(flat["items"])]
    return flat


def _row(path: str, leaf: Schema) -> str:
    cells = (f"`{path}`", _type(leaf), _default(leaf), leaf.get("x-unit", ""), leaf["x-reload"], leaf["description"])
    # Every cell is free of `|`, which would end it.
    assert not any("|" in cell for cell in cells)
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def _type(leaf: Schema) -> str:
    if "enum" in leaf:
        return ", ".join(f"`{member}`" for member in leaf["enum"])
    if "const" in leaf:
        return f"`{leaf['const']}`"
    if leaf.get("type") == "array":
        items = leaf["items"]
        return f"list of {_type(items)}" if "enum" in items else "list of texts"
    words = {"integer": "integer", "number": "number", "boolean": "true or false", "string": "text"}
    kind = words[leaf["type"]] + _bounds(leaf) + (f", or `{leaf['word']}`" if "word" in leaf else "")
    return f"{kind}, or null" if leaf.get("nullable") else kind


def _bounds(leaf: Schema) -> str:
    low, above, high = leaf.get("minimum"), leaf.get("exclusiveMinimum"), leaf.get("maximum")
    if high is None:
        return ""
    return f", {low:g} to {_plain(high)}" if above is None else f", more than {above:g}, to {_plain(high)}"


def _plain(number: float) -> str:
    return str(int(number))


def _default(leaf: Schema) -> str:
    if leaf.get("required"):
        return "required"
    default = leaf.get("default")
    match default:
        case None:
            return "null"
        case bool():
            return f"`{str(default).lower()}`"
        case int() | float():
            return f"`{default:g}`" if default < 1e5 else f"`{default}`"
        case PolicySpec() | PredictorSpec():
            return f"`{default}`"
        case list() if not default:
            return "`[]`"
        case list():
            return "`[" + ", ".join(f'"{item}"' for item in default) + "]`"
    return f"`{default}`"


if __name__ == "__main__":
    sections = sys.argv[1:]
    for row in rows():
        if not sections or any(row.startswith(f"| `{section}") for section in sections):
            sys.stdout.write(row + "\n")
