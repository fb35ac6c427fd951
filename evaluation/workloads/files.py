"""Reads a workload's YAML file. A wrong file gives every fault with file, line and remedy, as a configuration does.

`tenant_defaults` holds the values of every tenant that does not say otherwise. This module merges them in, key by key,
and reports a fault in them once, in the place where it stands.
"""

from pathlib import Path as FilePath

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from evaluation.workloads.schema import TenantFile, WorkloadFile
from gateway.config.document import Value, read_document, read_text
from gateway.config.explain import explain
from gateway.config.faults import FaultLog, Path, nearest


def read_workload_file(path: FilePath) -> WorkloadFile:
    """The description in `path`; raises `ConfigError` with every fault."""
    faults = FaultLog(str(path))
    text = read_text(path, faults)
    faults.raise_any()
    return parse(text or "", faults)


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
        for finding in explain(_telling(error), WorkloadFile, tag="kind"):
            path = _written(finding.path, merged)
            faults.add(_origin(path, value, defaults), finding.message, finding.remedy)
    faults.raise_any()
    raise AssertionError("a file that pydantic refuses has a fault")


def _check_defaults(defaults: Value, faults: FaultLog) -> None:
    place: Path = ("tenant_defaults",)
    if not isinstance(defaults, dict):
        faults.add(place, "must be a mapping of keys", "write for example `tenant_defaults: {prompt: 256}`")
        return
    known = [name for name in TenantFile.model_fields if name != "name"]
    for key in defaults:
        if key not in known:
            close = nearest(key, known)
            remedy = f"did you mean `{close}`?" if close else f"known here: {', '.join(known)}"
            faults.add((*place, key), "is not a known key", remedy)


def _with_defaults(value: dict[str, Value], defaults: dict[str, Value]) -> dict[str, Value]:
    tenants = value.get("tenants")
    if not isinstance(tenants, list):
        return value
    # A tenant whose keys are all commented out is null in YAML.
    filled = [{**defaults, **(each or {})} if each is None or isinstance(each, dict) else each for each in tenants]
    return {**value, "tenants": filled}


def _telling(error: ValidationError) -> list[ErrorDetails]:
    """The errors that are mistakes of their own.

    A list is not too short because its items are wrong, and a key is not missing because its name is misspelled.
    """
    found = [each for each in error.errors(include_url=False) if not _follows(each)]
    misspelled = {
        (*each["loc"][:-1], nearest(str(each["loc"][-1]), [str(other["loc"][-1])]))
        for each in found
        if each["type"] == "extra_forbidden"
        for other in found
        if other["type"] == "missing"
    }
    return [each for each in found if each["type"] != "missing" or each["loc"] not in misspelled]


def _follows(details: ErrorDetails) -> bool:
    return details["type"] == "too_short" and len(details["input"]) > details["ctx"]["actual_length"]


def _written(path: Path, value: Value) -> Path:
    """`path` as far as the file has it. A plain number stands for a fixed length and has no keys."""
    for place, step in enumerate(path):
        match value:
            case dict():
                value = value.get(str(step))
            case list() if isinstance(step, int) and step < len(value):
                value = value[step]
            case int() | float() | str():
                return path[:place]
    return path


def _origin(path: Path, value: dict[str, Value], defaults: dict[str, Value]) -> Path:
    """Where `path` of the merged values stands in the file."""
    match path:
        case ("tenants", int() as index, str() as key, *_):
            is_own = key not in defaults or key in (value["tenants"][index] or {})
            return path if is_own else ("tenant_defaults", *path[2:])
    return path
