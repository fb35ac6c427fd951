"""Recorded traffic: reads a trace file into a workload, and writes one.

A trace is in our own format, CSV or JSON lines, or it is the JSON log of a gateway; the header or the first JSON object
tells which. Every bad row, up to a limit, is told with its line and remedy; a row that is no request with an answer is
counted and left out. Rows need not be in the order of time. The workload's length is that of the trace in whole
seconds; weights are 1, a trace has none. Reading what was written gives the same requests.
"""

import csv
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

import orjson

from evaluation.requests import Request
from evaluation.workloads.arrivals import MAX_SECONDS
from evaluation.workloads.lengths import MAX_LENGTH_TOKENS
from evaluation.workloads.schema import MAX_REQUESTS
from evaluation.workloads.workload import Workload
from gateway.config.faults import ConfigError, Fault

REQUIRED = ("arrival_seconds", "tenant", "prompt_tokens", "output_tokens")
OPTIONAL = ("key", "max_output_tokens", "leaves_after_tokens", "prefix_ids")
MAX_NAME_CHARACTERS = 200
MAX_PREFIX_BLOCKS = 100_000


class RowFault(Exception):
    """A field that cannot be used; `field` is empty where the row as a whole cannot."""

    def __init__(self, field: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.field, self.message, self.remedy = field, message, remedy


def own_request(values: Mapping[str, Any]) -> Request:
    """The request of a row of our own format; its time is that of the file."""
    fields = Fields(values)
    unknown = sorted(set(map(str, values)) - {*REQUIRED, *OPTIONAL, "client"})
    if unknown:
        raise RowFault(unknown[0], "is not a known field", f"known: {', '.join((*REQUIRED, *OPTIONAL))}")
    if fields.has("client") and fields.has("tenant"):
        raise RowFault("client", "stands beside tenant", "keep one of the two: they mean the same")
    request = Request(
        arrival_seconds=fields.seconds("arrival_seconds"),
        tenant=fields.text("client" if "client" in values else "tenant"),
        prompt_tokens=fields.tokens("prompt_tokens"),
        output_tokens=fields.tokens("output_tokens"),
        key=fields.text("key") if fields.has("key") else "",
        max_output_tokens=fields.tokens("max_output_tokens") if fields.has("max_output_tokens") else None,
        leaves_after_tokens=fields.tokens("leaves_after_tokens") if fields.has("leaves_after_tokens") else None,
        prefix_ids=fields.ids("prefix_ids"),
    )
    if request.max_output_tokens is not None and request.max_output_tokens < request.output_tokens:
        raise RowFault("max_output_tokens", "is below output_tokens", "state at least what is generated")
    if request.leaves_after_tokens is not None and request.leaves_after_tokens >= request.output_tokens:
        raise RowFault("leaves_after_tokens", "is not below output_tokens", "leave it empty for a client that stays")
    return request


def logged_request(values: Mapping[str, Any]) -> Request | None:
    """The request of a line of the gateway's JSON log, which is stamped at its end; its time is since 1970."""
    fields = Fields(values)
    if values.get("event") != "request" or not fields.has("tenant"):
        return None
    if not all(fields.tokens(name, at_least=0) for name in ("prompt_tokens", "output_tokens")):
        return None
    return Request(
        arrival_seconds=fields.moment("timestamp") - fields.seconds("duration_seconds"),
        tenant=fields.text("tenant"),
        prompt_tokens=fields.tokens("prompt_tokens"),
        output_tokens=fields.tokens("output_tokens"),
        key=fields.text("key_id") if fields.has("key_id") else "",
    )


@dataclass(frozen=True, slots=True)
class Fields:
    """The named values of a row: texts from CSV, values from JSON."""

    values: Mapping[str, Any]

    def has(self, name: str) -> bool:
        """True where the field is there and not empty."""
        return self.values.get(name) not in (None, "")

    def seconds(self, name: str) -> float:
        """A time or a duration: finite, not negative."""
        number = self._number(name)
        if not 0 <= number < math.inf:
            raise RowFault(name, f"is no time: {number}", "use seconds from the start, 0 or more")
        return number

    def moment(self, name: str) -> float:
        """A date and time of ISO 8601 as seconds since 1970; without a zone it is UTC."""
        text = str(self._required(name))
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            remedy = "write it as 2023-11-16 18:15:46.680"
            raise RowFault(name, f"is no date and time: {text!r:.60}", remedy) from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

    def tokens(self, name: str, at_least: int = 1) -> int:
        """A length: a whole number within bounds."""
        number = self._number(name)
        if number != int(number) or not at_least <= number <= MAX_LENGTH_TOKENS:
            remedy = f"use a whole number from {at_least} to {MAX_LENGTH_TOKENS}"
            raise RowFault(name, f"is no number of tokens: {number:g}", remedy)
        return int(number)

    def text(self, name: str) -> str:
        """A name: printable, not empty."""
        text = str(self._required(name))
        if not text.isprintable() or len(text) > MAX_NAME_CHARACTERS:
            raise RowFault(name, "is no name", f"use at most {MAX_NAME_CHARACTERS} characters that can be printed")
        return text

    def ids(self, name: str) -> tuple[int, ...]:
        """Whole numbers: a list in JSON, separated by spaces in CSV; none where the field is missing or empty."""
        given = self.values.get(name) or ()
        items = given.split() if isinstance(given, str) else given
        if not isinstance(items, list | tuple) or len(items) > MAX_PREFIX_BLOCKS:
            raise RowFault(name, "is no list of numbers", f"use at most {MAX_PREFIX_BLOCKS} whole numbers")
        try:
            return tuple(int(str(item)) for item in items)
        except ValueError:
            raise RowFault(name, f"holds what is no whole number: {given!r:.60}", "use whole numbers") from None

    def _required(self, name: str) -> Any:
        if not self.has(name):
            raise RowFault(name, "is missing", "give every row a value, or take the row out")
        return self.values[name]

    def _number(self, name: str) -> float:
        value = self._required(name)
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise RowFault(name, f"is no number: {value!r:.60}", "use a plain number")
        return number


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


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace as a workload, the format it was in, and what the reader had to decide, in words."""

    workload: Workload
    format: TraceFormat
    notes: tuple[str, ...] = ()


def read_trace(path: Path, trace_format: TraceFormat | None = None, seconds: float = math.inf) -> Trace:
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
    return reader.trace()


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
        """Read all rows; raises where one is bad or none is there."""
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

    def trace(self) -> Trace:
        """What was read."""
        notes = []
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
        return Trace(Workload(self._path.stem, description, length, weights, requests), self._format, tuple(notes))

    def _take(self, line: int, values: Any) -> None:
        if not isinstance(values, dict):
            self._fault(line, "", "is not a JSON object", "write one object in each line")
            return
        try:
            request = logged_request(values) if self._format is TraceFormat.GATEWAY_LOG else own_request(values)
        except RowFault as fault:
            self._fault(line, fault.field, fault.message, fault.remedy)
            return
        if request is None:
            self._left_out += 1
        elif self._is_late(request.arrival_seconds):
            self._is_cut = True
        else:
            self._requests.append(request)
            self._latest = max(self._latest, (request.arrival_seconds, line))

    def _is_late(self, at: float) -> bool:
        """True where it comes after the part that is wanted, counted from the first row."""
        if self._start is None:
            self._start = self._origin(at)
        return at - self._start >= self._seconds

    def _origin(self, first: float) -> float:
        """The moment that counts as 0: that of the first request where times count from no start of a run."""
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
