"""Recorded traffic: reads a trace file into a workload, and writes one.

A trace is in our own format, CSV or JSON lines, or it is the JSON log of a gateway. The header or the first JSON object
shows which. Every bad row, up to a limit, is reported with its line and remedy. A row that is not a request with an
answer is counted and left out. Rows need not be in the order of time. The workload is as long as the trace, in whole
seconds. Weights are 1, because a trace has none. A written workload gives the same requests when it is read.
"""

import csv
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

import orjson
from pydantic import ConfigDict, ValidationError, model_validator

from evaluation.requests import Request
from evaluation.workloads.arrivals import MAX_SECONDS
from evaluation.workloads.lengths import MAX_LENGTH_TOKENS, refused
from evaluation.workloads.schema import MAX_REQUESTS
from evaluation.workloads.workload import Workload
from gateway.config.explain import explain
from gateway.config.faults import ConfigError, Fault, dotted
from gateway.config.section import Count, Quantity, Section, setting

REQUIRED = ("arrival_seconds", "tenant", "prompt_tokens", "output_tokens")
OPTIONAL = ("key", "max_output_tokens", "leaves_after_tokens", "prefix_ids")
_PRINTABLE = r"^[^\p{C}\p{Zl}\p{Zp}]+$"


def _length(meaning: str, default: Any = ...) -> Any:
    return setting(default, meaning, ge=1, le=MAX_LENGTH_TOKENS)


def _name(meaning: str, default: Any = ...) -> Any:
    return setting(default, meaning, pattern=_PRINTABLE, max_length=200)


class OwnRow(Section):
    """A row of our own format, as CSV (texts, of which an empty one is none) or as JSON; `client` means the tenant."""

    arrival_seconds: Quantity = setting(..., "Seconds from the start, 0 or more.", ge=0)
    tenant: str = _name("At most 200 characters that can be printed.")
    prompt_tokens: Count = _length("A whole number of tokens.")
    output_tokens: Count = _length("A whole number of tokens.")
    key: str = _name("At most 200 characters that can be printed.", "")
    max_output_tokens: Count | None = _length("At least what is generated.", None)
    leaves_after_tokens: Count | None = _length("Fewer than are generated; empty for a client that stays.", None)
    prefix_ids: tuple[Count, ...] = setting((), "Whole numbers, in CSV parted by spaces.", max_length=100_000)

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, values: dict[str, Any]) -> dict[str, Any]:
        if {"client", "tenant"} <= values.keys():
            raise refused("has both client and tenant", "keep one of the two: they mean the same")
        given = {"tenant" if name == "client" else name: value for name, value in values.items()}
        if isinstance(ids := given.get("prefix_ids"), str):
            given["prefix_ids"] = ids.split()
        return {name: value for name, value in given.items() if value not in ("", None)}

    @model_validator(mode="after")
    def _consistent(self) -> "OwnRow":
        if self.max_output_tokens is not None and self.max_output_tokens < self.output_tokens:
            raise refused("has max_output_tokens below output_tokens", "state at least what is generated")
        if self.leaves_after_tokens is not None and self.leaves_after_tokens >= self.output_tokens:
            raise refused("has leaves_after_tokens not below output_tokens", "leave it empty for a client that stays")
        return self

    def request(self) -> Request:
        """What was recorded; its time is that of the file."""
        return Request(**dict(self))


class LoggedRow(Section):
    """A request's line of the gateway's JSON log, which is stamped at its end."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    timestamp: datetime = setting(..., "A date and time of ISO 8601; without a zone it is UTC.")
    duration_seconds: Quantity = setting(..., "Seconds, 0 or more.", ge=0)
    tenant: str = _name("At most 200 characters that can be printed.")
    key_id: str = ""
    prompt_tokens: Count = setting(..., "A whole number of tokens.", ge=0, le=MAX_LENGTH_TOKENS)
    output_tokens: Count = setting(..., "A whole number of tokens.", ge=0, le=MAX_LENGTH_TOKENS)

    def request(self) -> Request | None:
        """The recorded request, with its time since 1970; None if it has no prompt or no answer."""
        if not self.prompt_tokens or not self.output_tokens:
            return None
        ended = self.timestamp if self.timestamp.tzinfo else self.timestamp.replace(tzinfo=UTC)
        began_at = ended.timestamp() - self.duration_seconds
        return Request(began_at, self.tenant, self.prompt_tokens, self.output_tokens, key=self.key_id)


MAX_FAULTS = 20
MAX_LINE_BYTES = 1 << 20
_DIGITS = 6
_LOGGED = {"event", "level", "timestamp"}
_NEAR = 2  # of our own names: a file that has as many was meant to be a trace
_KNOWN = "docs/workloads.md describes the formats; name one with --format"
_NOTHING = ("", None, ())


class TraceFormat(Enum):
    """The formats; the value is the name on the command line."""

    CSV = "csv"
    JSONL = "jsonl"
    GATEWAY_LOG = "gateway-log"


def read_trace(path: Path, trace_format: TraceFormat | None = None, seconds: float = math.inf) -> Workload:
    """The trace in `path`, its first `seconds`; raises `ConfigError` with what is wrong with it."""
    try:
        reader = _Reader(path, trace_format, seconds)
        reader.read()
    except OSError as error:
        _refuse(path, 1, f"cannot be read: {error.strerror}", "name a readable file")
    except UnicodeDecodeError:
        _refuse(path, 1, "is not UTF-8 text", "save it as UTF-8")
    except csv.Error as error:
        _refuse(path, 1, f"is not CSV: {error}", _KNOWN)
    return reader.workload()


class _Reader:
    """One file being read."""

    def __init__(self, path: Path, trace_format: TraceFormat | None, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._format = trace_format or _recognise(path)
        self._requests: list[Request] = []
        self._latest = (-1.0, 1)  # the latest moment, and its line
        self._faults: list[Fault] = []
        self._left_out = 0
        self._is_cut = False
        self._start: float | None = None

    def read(self) -> None:
        """Read all rows; raises if one is bad or none is there."""
        for line, values in self._csv_records() if self._format is TraceFormat.CSV else self._json_records():
            self._take(line, values)
            if len(self._faults) >= MAX_FAULTS:
                break
            if len(self._requests) > MAX_REQUESTS:
                _refuse(self._path, line, f"has more than {MAX_REQUESTS} requests", "cut it with --seconds")
        if self._faults:
            raise ConfigError(tuple(self._faults))
        if not self._requests:
            _refuse(self._path, 1, "holds no request with an answer", _KNOWN)

    def workload(self) -> Workload:
        """What was read."""
        notes = [f"read as {self._format.value}"]
        if self._left_out:
            notes.append(f"{self._left_out} rows are no requests with an answer and are left out")
        found = sorted(self._requests, key=lambda request: request.arrival_seconds)
        origin = self._origin(found[0].arrival_seconds)
        if origin and self._format is not TraceFormat.GATEWAY_LOG:
            notes.append(f"its times begin at {origin:.0f} s: they are counted from the first request")
        if (seconds := found[-1].arrival_seconds - origin) > MAX_SECONDS:
            message = f"comes {seconds:.6g} s after the start; a trace lasts {MAX_SECONDS:.0f} s at most"
            _refuse(self._path, self._latest[1], message, "mend its time, or cut the trace with --seconds")
        requests = tuple(replace(each, arrival_seconds=round(each.arrival_seconds - origin, _DIGITS)) for each in found)
        length = self._seconds if self._is_cut else float(max(1, math.ceil(requests[-1].arrival_seconds)))
        weights = dict.fromkeys(sorted({each.tenant for each in requests}), 1.0)
        description = f"Recorded requests of {self._path.name}."
        return Workload(self._path.stem, description, length, weights, requests, notes=tuple(notes))

    def _take(self, line: int, values: Any) -> None:
        if not isinstance(values, dict):
            self._fault(line, "", "is not a JSON object", "write one object in each line")
            return
        row = LoggedRow if self._format is TraceFormat.GATEWAY_LOG else OwnRow
        try:
            is_none = row is LoggedRow and (values.get("event") != "request" or not values.get("tenant"))
            request = None if is_none else row.model_validate(values).request()
        except ValidationError as error:
            for found in explain(error.errors(include_url=False), row, tag=""):
                self._fault(line, dotted(found.path), found.message, found.remedy)
            return
        if request is None:
            self._left_out += 1
        elif self._is_late(request.arrival_seconds):
            self._is_cut = True
        else:
            self._requests.append(request)
            self._latest = max(self._latest, (request.arrival_seconds, line))

    def _is_late(self, at: float) -> bool:
        """True if it comes after the wanted part, counted from the first row."""
        if self._start is None:
            self._start = self._origin(at)
        return at - self._start >= self._seconds

    def _origin(self, first: float) -> float:
        """The moment that counts as 0: the first request's, unless times count from the start of a run."""
        return first if self._format is TraceFormat.GATEWAY_LOG or first > MAX_SECONDS else 0.0

    def _fault(self, line: int, field: str, message: str, remedy: str) -> None:
        self._faults.append(Fault(str(self._path), line, field, message, remedy))

    def _csv_records(self) -> Iterator[tuple[int, Any]]:
        with self._path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or ()
            if doubled := sorted(name for name, count in Counter(names).items() if count > 1):
                _refuse(self._path, 1, f"has the column {doubled[0]!r:.60} twice", "give each column its own name")
            if missing := sorted(set(REQUIRED) - _named(names)):
                _refuse(self._path, 1, f"has no column {missing[0]}", _KNOWN)
            for values in reader:
                if values.pop(None, None) is None:  # where what has no column stands
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


def _recognise(path: Path) -> TraceFormat:  # noqa: RET503 -- what is not recognised is refused
    """The format of a file by its header or its first JSON object."""
    with path.open("rb") as file:
        first = file.readline(MAX_LINE_BYTES).decode("utf-8-sig").strip()
    try:
        value = orjson.loads(first)
        names, ours = list(value) if isinstance(value, dict) else [], TraceFormat.JSONL
    except orjson.JSONDecodeError:
        names, ours = next(csv.reader([first]), []), TraceFormat.CSV
    missing = sorted(set(REQUIRED) - _named(names))
    if not missing:
        return ours
    if ours is TraceFormat.JSONL and set(names) >= _LOGGED:
        return TraceFormat.GATEWAY_LOG
    if len(REQUIRED) - len(missing) >= _NEAR:
        kind = "column" if ours is TraceFormat.CSV else "field"
        message = f"has no {kind} {missing[0]}, which the format {ours.value} needs"
    else:
        message = f"is in no known format: {first!r:.60}"
    _refuse(path, 1, message, _KNOWN)


def _named(names: Collection[str]) -> set[str]:
    """`names`, with `tenant` where there is a `client`: the word of the paper and of its data."""
    return {*names, "tenant"} if "client" in names else set(names)


def _refuse(path: Path, line: int, message: str, remedy: str) -> NoReturn:
    raise ConfigError((Fault(str(path), line, "", message, remedy),))


# -- writing


def write_csv(requests: Iterable[Request], path: Path) -> None:
    """One row for each request, under a header; optional fields where at least one request uses them."""
    requests = tuple(requests)
    fields = _fields(requests)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(fields)
        for request in requests:
            values = (getattr(request, field) for field in fields)
            writer.writerow([" ".join(map(str, value)) if isinstance(value, tuple) else value for value in values])


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
