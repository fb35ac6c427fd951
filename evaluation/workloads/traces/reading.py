"""Reads a trace file into a workload; every bad row, up to a limit, is told with its line and remedy.

The format is recognised by the header of a CSV file or the first JSON object. Rows need not be in the order of
time. The workload's length is that of the trace in whole seconds; weights are 1, a trace has none.
"""

import csv
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import orjson

from evaluation.requests import Request
from evaluation.workloads.arrivals import MAX_SECONDS
from evaluation.workloads.schema import MAX_REQUESTS
from evaluation.workloads.traces.formats import LAYOUTS, Layout, TraceFormat, named, nearest, recognise
from evaluation.workloads.traces.row import Fields, Row, RowFault
from evaluation.workloads.traces.tenants import TenantMapping
from evaluation.workloads.workload import Workload
from gateway.config.faults import ConfigError, Fault

MAX_FAULTS = 20
# One run of the VTC artifact is one line: 300 KB in its repository.
MAX_LINE_BYTES = 64 * 1024 * 1024
_DIGITS = 6
_KNOWN = "docs/workloads.md describes the formats; name one with --format"


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace as a workload, the format it was in, and what the reader had to decide, in words."""

    workload: Workload
    format: TraceFormat
    notes: tuple[str, ...] = ()


def read_trace(
    path: Path,
    trace_format: TraceFormat | None = None,
    mapping: TenantMapping | None = None,
    seconds: float = math.inf,
) -> Trace:
    """The trace in `path`, its first `seconds`; raises `ConfigError` with what is wrong with it.

    `mapping` gives tenants to a trace that has none.
    """
    try:
        reader = _Reader(path, trace_format, seconds)
        reader.read()
    except OSError as error:
        _refuse(path, 1, f"cannot be read: {error.strerror}", "name a readable file")
    except UnicodeDecodeError:
        _refuse(path, 1, "is not UTF-8 text", "save it as UTF-8")
    except csv.Error as error:
        _refuse(path, 1, f"is not CSV: {error}", _KNOWN)
    return reader.trace(mapping or TenantMapping())


class _Reader:
    """One file being read."""

    def __init__(self, path: Path, trace_format: TraceFormat | None, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._format = trace_format or _recognise(path)
        self._layout: Layout = LAYOUTS[self._format]
        self._rows: list[Row] = []
        self._latest = (-1.0, 1)  # the latest moment, and its line
        self._faults: list[Fault] = []
        self._left_out = 0
        self._is_cut = False
        self._start: float | None = None

    def read(self) -> None:
        """Read all rows; raises where one is bad or none is there."""
        for line, values in self._records():
            self._take(line, values)
            if len(self._faults) >= MAX_FAULTS:
                break
            if len(self._rows) > MAX_REQUESTS:
                _refuse(self._path, line, f"has more than {MAX_REQUESTS} requests", "cut it with --seconds")
        if self._faults:
            raise ConfigError(tuple(self._faults))
        if not self._rows:
            _refuse(self._path, 1, "holds no request with an answer", _KNOWN)

    def trace(self, mapping: TenantMapping) -> Trace:
        """What was read."""
        notes = []
        if self._left_out:
            notes.append(f"{self._left_out} rows are no requests with an answer and are left out")
        rows = sorted(self._rows, key=lambda row: row.at)
        origin = self._origin(rows[0].at)
        if origin and self._layout.starts_at_zero:
            notes.append(f"its times begin at {origin:.0f} s: they are counted from the first request")
        if rows[-1].at - origin > MAX_SECONDS:
            self._refuse_length(rows[-1].at - origin)
        if all(row.tenant for row in rows):
            tenants = [row.tenant for row in rows]
        else:
            tenants = mapping.tenants_of(rows)
            notes.append(f"the trace has no tenants: {mapping.words}")
        requests = tuple(_request(row, tenant, origin) for row, tenant in zip(rows, tenants, strict=True))
        length = self._seconds if self._is_cut else float(max(1, math.ceil(requests[-1].arrival_seconds)))
        weights = dict.fromkeys(sorted(set(tenants)), 1.0)
        description = f"Recorded requests of {self._path.name}."
        return Trace(Workload(self._path.stem, description, length, weights, requests), self._format, tuple(notes))

    def _take(self, line: int, values: Any) -> None:
        if not isinstance(values, dict):
            self._fault(line, "", "is not a JSON object", "write one object in each line")
            return
        try:
            row = self._layout.row(Fields(values))
        except RowFault as fault:
            self._fault(line, fault.field, fault.message, fault.remedy)
            return
        if row is None:
            self._left_out += 1
        elif self._is_late(row):
            self._is_cut = True
        else:
            self._rows.append(row)
            self._latest = max(self._latest, (row.at, line))

    def _is_late(self, row: Row) -> bool:
        """True where it comes after the part that is wanted, counted from the first row."""
        if self._start is None:
            self._start = self._origin(row.at)
        return row.at - self._start >= self._seconds

    def _origin(self, first: float) -> float:
        """The moment that counts as 0: the first request's too where times count from no start of a run."""
        return 0.0 if self._layout.starts_at_zero and first <= MAX_SECONDS else first

    def _refuse_length(self, seconds: float) -> NoReturn:
        message = f"comes {seconds:.6g} s after the start; a trace lasts {MAX_SECONDS:.0f} s at most"
        _refuse(self._path, self._latest[1], message, "mend its time, or cut the trace with --seconds")

    def _fault(self, line: int, field: str, message: str, remedy: str) -> None:
        self._faults.append(Fault(str(self._path), line, field, message, remedy))

    def _records(self) -> Iterator[tuple[int, Any]]:
        if self._layout.is_csv:
            return self._csv_records()
        if self._format is TraceFormat.VTC_ARTIFACT:
            return self._responses()
        return self._json_records()

    def _csv_records(self) -> Iterator[tuple[int, Any]]:
        with self._path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            doubled = sorted(name for name, count in Counter(reader.fieldnames or ()).items() if count > 1)
            if doubled:
                _refuse(self._path, 1, f"has the column {doubled[0]!r:.60} twice", "give each column its own name")
            missing = sorted(self._layout.names - named(reader.fieldnames or ()))
            if missing:
                _refuse(self._path, 1, f"has no column {missing[0]}", _KNOWN)
            for values in reader:
                if values.pop(None, None) is None:
                    yield reader.line_num, values
                else:
                    self._fault(reader.line_num, "", "has more fields than the header", "mend or remove the row")

    def _json_records(self) -> Iterator[tuple[int, Any]]:
        with self._path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), start=1):
                if not line.strip():
                    continue
                try:
                    values = orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    self._fault(number, "", f"is not JSON: {error}", "mend or remove the line")
                else:
                    yield number, values

    def _responses(self) -> Iterator[tuple[int, Any]]:
        """The responses of the one run in the file."""
        for index, (number, run) in enumerate(self._json_records()):
            if index:
                _refuse(self._path, number, "holds a second run", "keep one line of the file: each is a run")
            result = run.get("result") if isinstance(run, dict) else None
            responses = result.get("responses") if isinstance(result, dict) else None
            if not isinstance(responses, list):
                _refuse(self._path, number, "has no result.responses", _KNOWN)
            yield from ((number, response) for response in responses)


def _request(row: Row, tenant: str, origin: float) -> Request:
    return Request(
        arrival_seconds=round(row.at - origin, _DIGITS),
        tenant=tenant,
        prompt_tokens=row.prompt_tokens,
        output_tokens=row.output_tokens,
        key=row.key,
        max_output_tokens=row.max_output_tokens,
        leaves_after_tokens=row.leaves_after_tokens,
        prefix_ids=row.prefix_ids,
    )


def _recognise(path: Path) -> TraceFormat:
    with path.open("rb") as file:
        first = file.readline(MAX_LINE_BYTES).decode("utf-8-sig").strip()
    try:
        value = orjson.loads(first)
        names, is_csv = list(value) if isinstance(value, dict) else [], False
    except orjson.JSONDecodeError:
        names, is_csv = next(csv.reader([first]), []), True
    found = recognise(names, is_csv=is_csv)
    if found is None:
        near = nearest(names, is_csv=is_csv)
        if near is not None:
            kind = "column" if is_csv else "field"
            _refuse(path, 1, f"has no {kind} {near.missing}, which the format {near.format} needs", _KNOWN)
        _refuse(path, 1, f"is in no known format: {first!r:.60}", _KNOWN)
    return found


def _refuse(path: Path, line: int, message: str, remedy: str) -> NoReturn:
    raise ConfigError((Fault(str(path), line, "", message, remedy),))
