"""Writes a workload as a trace of our own format: CSV, or JSON lines.

Optional fields are written where at least one request uses them. Reading the file gives the same requests; a
workload's name, weights and tenants that send nothing are not part of a trace.
"""

import csv
from collections.abc import Iterable
from pathlib import Path

import orjson

from evaluation.requests import Request
from evaluation.workloads.traces.formats import OPTIONAL, REQUIRED

_NOTHING = ("", None, ())


def write_csv(requests: Iterable[Request], path: Path) -> None:
    """One row for each request, under a header."""
    requests = tuple(requests)
    fields = _fields(requests)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(fields)
        for request in requests:
            writer.writerow([_cell(getattr(request, field)) for field in fields])


def write_jsonl(requests: Iterable[Request], path: Path) -> None:
    """One JSON object for each request."""
    requests = tuple(requests)
    fields = _fields(requests)
    with path.open("wb") as file:
        for request in requests:
            values = {field: getattr(request, field) for field in fields}
            kept = {field: value for field, value in values.items() if value not in _NOTHING}
            file.write(orjson.dumps(kept, option=orjson.OPT_APPEND_NEWLINE))


def _fields(requests: Iterable[Request]) -> tuple[str, ...]:
    used = (field for field in OPTIONAL if any(getattr(request, field) not in _NOTHING for request in requests))
    return (*REQUIRED, *used)


def _cell(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, tuple) else value
