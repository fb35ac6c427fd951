"""Translates pydantic's errors into an operator's words, each with its place in the file and a remedy.

No other module reads pydantic's error types. Values of secret keys are never repeated. For an unknown key and for a
wrong member of a closed set the message names the nearest right one.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from gateway.config.faults import Path, nearest

_SECRET_KEYS = {"sha256", "value", "env", "file", "keys", "key", "api_key", "environment"} | {
    *("store", "password_env", "password_file", "url_env", "url_file", "webhook")
}
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "list": "a list",
    "frozen": "a list",
    "set": "a list",
    "model": "a mapping of keys",
    "dict": "a mapping of keys",
}
_MEMBERS = "`key: value` for each setting, one in a line"
_BOUNDS = {"greater_than_equal": "at least", "greater_than": "more than", "less_than_equal": "at most"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake at `path`; if the value at `cut` were removed, the mistake would be gone."""

    path: Path
    cut: Path
    message: str
    remedy: str


def explain(errors: Iterable[ErrorDetails], root: type[BaseModel], *, tag: str) -> Iterator[Finding]:
    """Every mistake in `errors`, for a file of the model `root`; the key `tag` chooses the kind of a mapping."""
    for details in errors:
        path, field, models = _place(details["loc"], root, tag)
        message, remedy = _words(details, path, (field, models), tag)
        match details["type"]:
            case "missing":
                yield Finding(path, path[:-1], message, remedy)
            case "union_tag_invalid" if isinstance(details["input"], dict):
                yield Finding((*path, tag), path, message, remedy)
            case _:
                yield Finding(path, path, message, remedy)


def _place(
    loc: tuple[int | str, ...], root: type[BaseModel], tag: str
) -> tuple[Path, FieldInfo | None, list[type[BaseModel]]]:
    """The path in the file, the field there, and the models that were expected there or that have the field.

    Pydantic's location also contains the tag of the chosen member of a union; the file does not.
    """
    path: Path = ()
    field: FieldInfo | None = None
    models: list[type[BaseModel]] = [root]
    for step in loc:
        if isinstance(step, int):
            path = (*path, step)
        elif len(models) > 1:
            models = [model for model in models if _tag(model, tag) == step]
        elif field is not None and not list(_models(field.annotation)):
            break  # the tag of a number that may also be a word
        else:
            path = (*path, step)
            field = models[0].model_fields.get(step) if models else None
            if field is None:
                break
            models = list(_models(field.annotation)) or models
    return path, field, models


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _tag(model: type[BaseModel], tag: str) -> str:
    return str(get_args(model.model_fields[tag].annotation)[0])


def _words(  # noqa: C901 - a table of pydantic's kinds of errors
    details: ErrorDetails, path: Path, expected: tuple[FieldInfo | None, list[type[BaseModel]]], tag: str
) -> tuple[str, str]:
    """The message and the remedy; `expected` has the field and the models at the place."""
    field, models = expected
    kind, context = details["type"], details.get("ctx", {})
    shown = "" if _SECRET_KEYS.intersection(path) else _shown(details["input"])
    meaning = (field.description or "") if field else _MEMBERS
    match kind:
        case "extra_forbidden" | "invalid_key":
            return "is not a known key", _known_key(str(path[-1]), models)
        case "missing":
            return "is missing", f"add `{path[-1]}: ...` ({meaning.rstrip('.')})"
        case "union_tag_invalid":
            return _wrong_tag(details["input"], context, tag)
        case "union_tag_not_found":
            return f"does not say its {tag}", f"expected: {meaning}"
        case "enum" | "literal_error":
            return _wrong_member(details["input"], shown, str(context["expected"]))
        case "refused":
            return str(context["message"]), str(context["remedy"])
        case "string_pattern_mismatch":
            return f"does not have the right form{_colon(shown)}", f"expected: {meaning}"
        case "string_too_short":
            return "is empty", f"expected: {meaning}"
        case "too_long" | "string_too_long":
            return "is too long", f"at most {context['max_length']}"
        case "too_short":
            return "is too short", f"at least {context['min_length']}"
        case "greater_than_equal" | "greater_than" | "less_than_equal":
            bound = next(iter(context.values()))
            return (
                f"is out of bounds{_colon(shown)}",
                f"use {_BOUNDS[kind]} {bound:g}" if bound < 1e6 else f"use {_BOUNDS[kind]} {bound}",
            )
        case "finite_number":
            return f"is too large for a number{_colon(shown)}", f"expected: {meaning}"
        case "int_from_float":
            return f"must be a whole number{_not(shown)}", "leave off the fraction"
    return _wrong_kind(kind, shown, meaning)


def _known_key(key: str, models: list[type[BaseModel]]) -> str:
    known = [name for model in models for name in model.model_fields]
    close = nearest(key, known)
    return f"did you mean `{close}`?" if close else f"known here: {', '.join(known)}"


def _wrong_tag(given: object, context: dict[str, Any], tag: str) -> tuple[str, str]:
    members = str(context["expected_tags"])
    if not isinstance(given, dict):
        example = members.partition(",")[0].strip("'")
        return f"must be a mapping of keys{_not(_shown(given))}", f"write for example `{{{tag}: {example}}}`"
    chosen = given.get(tag)
    return _wrong_member(chosen, _shown(chosen), members)


def _wrong_member(given: object, shown: str, expected: str) -> tuple[str, str]:
    members = re.findall(r"'([^']*)'", expected)
    close = nearest(str(given).partition(":")[0], members)
    remedy = f"did you mean `{close}`? " if close else ""
    return f"is not one of the possible values{_colon(shown)}", f"{remedy}one of {', '.join(members)}"


def _wrong_kind(kind: str, shown: str, meaning: str) -> tuple[str, str]:
    expected = _KINDS.get(kind.partition("_")[0])
    if expected is None:
        return f"cannot be used{_colon(shown)}", f"expected: {meaning}"
    quote = "write it in quotes" if expected == "text" and shown else f"expected: {meaning}"
    return f"must be {expected}{_not(shown)}", quote


def _colon(shown: str) -> str:
    return f": {shown}" if shown else ""


def _not(shown: str) -> str:
    return f", not {shown}" if shown else ""


def _shown(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float() | str():
            text = ascii(value) if isinstance(value, str) and not value.isprintable() else str(value)
            return f"`{text[:60]}`"
        case None:
            return "null"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case _:
            return ""
