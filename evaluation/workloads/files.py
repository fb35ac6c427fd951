"""Reads a workload's YAML file: all of it right, or every fault with file, line and remedy.

`tenant_defaults` holds what every tenant has that does not say otherwise; it is merged in here, key by key, and a
fault in it is told once, where it stands. The text of the YAML is read as a configuration's is, without variables.
"""

import re
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from evaluation.workloads.arrivals import EvenlySpaced, OnOff, Phase, Phases, Poisson, Ramp, Scattered, Silent
from evaluation.workloads.lengths import Choices, Fixed, Lognormal, Quantiles, Uniform
from evaluation.workloads.schema import Disconnects, TenantFile, WorkloadFile
from gateway.config.document import MAX_BYTES, Value, read_document
from gateway.config.faults import FaultLog, Path, nearest

_BOUNDS = {
    "greater_than_equal": "at least",
    "greater_than": "more than",
    "less_than_equal": "at most",
    "too_short": "at least",
    "too_long": "at most",
}
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a number",
    "string": "text",
    "tuple": "a list",
}
_MODELS = (
    *(WorkloadFile, TenantFile, Disconnects),
    *(OnOff, EvenlySpaced, Poisson, Ramp, Scattered, Silent, Phase, Phases),
    *(Fixed, Uniform, Lognormal, Choices, Quantiles),
)
_KEYS = sorted({name for model in _MODELS for name in model.model_fields})


def read_workload_file(path: FilePath) -> WorkloadFile:
    """The description in `path`; raises `ConfigError` with every fault."""
    faults = FaultLog(str(path))
    text = _text(path, faults)
    faults.raise_any()
    return parse(text, faults)


def parse(text: str, faults: FaultLog) -> WorkloadFile:
    """The description that `text` holds; what is wrong is noted in `faults` and raised as `ConfigError`."""
    value = read_document(text, {}, faults)
    if not isinstance(value, dict):
        faults.add((), "is not a mapping of keys", "begin with `name: ...`")
    faults.raise_any()
    defaults = value.pop("tenant_defaults", None)
    defaults = {} if defaults is None else defaults
    _check_defaults(defaults, faults)
    faults.raise_any()
    merged = _with_defaults(value, defaults)
    try:
        return WorkloadFile.model_validate(merged)
    except ValidationError as error:
        for details in _telling(error):
            path = _place(details["loc"], merged)
            message, remedy = _words(details, path)
            faults.add(_origin(path, value, defaults), message, remedy)
    faults.raise_any()
    raise AssertionError("a file that pydantic refuses has a fault")


def _text(path: FilePath, faults: FaultLog) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) <= MAX_BYTES:
            return content.decode("utf-8-sig")
        faults.add((), f"is larger than {MAX_BYTES} bytes", "use a smaller file")
    except OSError as error:
        faults.add((), f"cannot be read: {error.strerror}", "name a readable file")
    except UnicodeDecodeError:
        faults.add((), "is not UTF-8 text", "save it as UTF-8")
    return ""


def _check_defaults(defaults: Value, faults: FaultLog) -> None:
    place: Path = ("tenant_defaults",)
    if not isinstance(defaults, dict):
        faults.add(place, "must be a mapping of keys", "write for example `tenant_defaults: {prompt: 256}`")
        return
    known = [name for name in TenantFile.model_fields if name != "name"]
    for key in defaults:
        if key not in known:
            faults.add((*place, key), "is not a known key here", _known_key(key, known))


def _with_defaults(value: dict[str, Value], defaults: dict[str, Value]) -> dict[str, Value]:
    tenants = value.get("tenants")
    if not isinstance(tenants, list):
        return value
    # A tenant whose keys are all commented out is null in YAML.
    filled = [{**defaults, **(each or {})} if each is None or isinstance(each, dict) else each for each in tenants]
    return {**value, "tenants": filled}


def _telling(error: ValidationError) -> list[ErrorDetails]:
    """The errors that are mistakes of their own, unknown keys first.

    A list is not too short because its items are wrong, and a key is not missing because its name is misspelled.
    """
    found = [each for each in error.errors(include_url=False) if not _follows(each)]
    misspelled = {
        (*each["loc"][:-1], nearest(str(each["loc"][-1]), _KEYS)) for each in found if each["type"] == "extra_forbidden"
    }
    return [each for each in found if each["type"] != "missing" or each["loc"] not in misspelled]


def _follows(details: ErrorDetails) -> bool:
    return details["type"] == "too_short" and len(details["input"]) > details["ctx"]["actual_length"]


def _origin(path: Path, value: dict[str, Value], defaults: dict[str, Value]) -> Path:
    """Where `path` of the merged values stands in the file."""
    match path:
        case ("tenants", int() as index, str() as key, *_):
            is_own = key not in defaults or key in (value["tenants"][index] or {})
            return path if is_own else ("tenant_defaults", *path[2:])
    return path


def _place(loc: tuple[int | str, ...], value: Value) -> Path:
    """Pydantic's location without the kinds that it names on the way and the file does not."""
    path: Path = ()
    for step in loc:
        if isinstance(value, dict) and step not in value and value.get("kind") == step:
            continue
        # A plain number stands for a fixed length; what is wrong with it is wrong with the number.
        if isinstance(value, int) and step in ("fixed", "tokens"):
            continue
        path = (*path, step)
        value = _child(value, step)
    return path


def _child(value: Value, step: int | str) -> Value:
    match value:
        case dict():
            return value.get(step)
        case list() if isinstance(step, int) and step < len(value):
            return value[step]
    return None


def _words(details: ErrorDetails, path: Path) -> tuple[str, str]:
    """Message and remedy."""
    kind, context = details["type"], details.get("ctx", {})
    shown = _shown(details["input"])
    match kind:
        case "extra_forbidden":
            return "is not a known key here", _known_key(str(path[-1]), _KEYS)
        case "missing":
            return "is missing", f"add `{path[-1]}: ...`"
        case "union_tag_not_found":
            return f"does not say its kind{shown}", "write for example `{kind: ...}`, or a plain number for a length"
        case "union_tag_invalid":
            return f"has no kind {context['tag']!r}", _known_kind(str(context["tag"]), context)
        case "model_attributes_type" | "model_type":
            return (
                f"must be a mapping of keys{shown}",
                "write for example `{kind: ...}`; a length can be a whole number",
            )
        case "refused":
            return str(context["message"]), str(context["remedy"])
        case "string_pattern_mismatch":
            return f"does not have the right form{shown}", "letters, digits, `.`, `_`, `-`, not beginning with `_`"
    if kind in _BOUNDS:
        bound = context.get("min_length", context.get("max_length", next(iter(context.values()))))
        return f"is out of bounds{shown}", f"use {_BOUNDS[kind]} {bound}"
    expected = _KINDS.get(kind.partition("_")[0], "another value")
    return f"must be {expected}{shown}", "docs/workloads.md shows an example of every key"


def _known_kind(tag: str, context: dict[str, Any]) -> str:
    return _known_key(tag, re.findall(r"'([^']*)'", str(context["expected_tags"])))


def _known_key(key: str, known: list[str]) -> str:
    close = nearest(key, known)
    return f"did you mean `{close}`?" if close else f"one of {', '.join(known)}"


def _shown(value: object) -> str:
    return f": {value!r:.60}" if isinstance(value, int | float | str) else ""
