"""Makes the JSON schema (draft 2020-12) of the configuration file, for editors and for the documentation.

The schema is made from the models. In addition it accepts what a file may contain: `${VAR}` in place of a number, a
boolean or a member of a closed set, and an empty section. `python -m gateway.config` prints it.
"""

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from gateway.config.choices import PolicySpec, PredictorSpec
from gateway.config.schema import ConfigFile

_Schema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_VARIABLE = {"type": "string", "pattern": r"\$\{[^}]+\}", "description": "Replaced from the environment."}
_KEPT_OUTSIDE = ("default", "description", "x-unit", "x-reload")


class SchemaGenerator(GenerateJsonSchema):
    """Writes the default of a policy or a predictor as in the file, and no titles, which would repeat the keys."""

    def encode_default(self, dft: Any) -> Any:
        """The default as a file would have it."""
        return str(dft) if isinstance(dft, PolicySpec | PredictorSpec) else super().encode_default(dft)

    def get_title_from_name(self, name: str) -> str:
        """No title."""
        return ""


def json_schema() -> dict[str, Any]:
    """The schema as plain Python values."""
    generated = ConfigFile.model_json_schema(schema_generator=SchemaGenerator)
    schema: _Schema = _admitting(generated)
    schema["$defs"] = {**schema["$defs"], "Variable": _VARIABLE}
    return {"$schema": _DIALECT, **schema, "title": "vtc-gateway configuration"}


def json_schema_text() -> str:
    """The text of the published schema file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _admitting(value: Any) -> Any:
    """`value`, changed so that a variable may stand for each scalar that is no free text, and null for a section."""
    match value:
        case list():
            return [_admitting(item) for item in value]
        case dict():
            inner = {key: _admitting(child) for key, child in value.items() if (key, child) != ("title", "")}
            if _is_closed_scalar(value):
                return _or(inner, {"$ref": "#/$defs/Variable"})
            if isinstance(value.get("default"), dict):
                return _or(inner, {"type": "null"})
            return inner
        case _:
            return value


def _is_closed_scalar(schema: _Schema) -> bool:
    if "const" in schema:
        return False
    return schema.get("type") in ("integer", "number", "boolean") or "enum" in schema or "pattern" in schema


def _or(schema: _Schema, other: _Schema) -> _Schema:
    core = {key: value for key, value in schema.items() if key not in _KEPT_OUTSIDE}
    return {"anyOf": [core, other], **{key: schema[key] for key in _KEPT_OUTSIDE if key in schema}}
