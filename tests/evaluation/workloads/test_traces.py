"""Every trace format is read, our own formats survive a round trip, and bad rows are reported."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evaluation.requests import Request
from evaluation.workloads import ConfigError, load, names
from evaluation.workloads.traces import TraceFormat, read_trace, write_csv, write_jsonl
from gateway.events import RequestFinished
from gateway.outcomes import Outcome
from gateway.telemetry.observers import request_fields

OURS = "arrival_seconds,tenant,prompt_tokens,output_tokens\n"

JSON_ROW = '{"arrival_seconds": 1, "tenant": "a", "prompt_tokens": 3, "output_tokens": 7}\n'

NAMES = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1, max_size=20).filter(
    lambda text: text.isprintable()
)
MOMENTS = st.integers(0, 10**10).map(lambda microseconds: microseconds / 1e6)


@st.composite
def _requests(draw: st.DrawFn) -> tuple[Request, ...]:
    made = []
    for at in sorted(draw(st.lists(MOMENTS, min_size=1, max_size=20))):
        output = draw(st.integers(2, 10**6))
        request = Request(
            arrival_seconds=at,
            tenant=draw(NAMES),
            prompt_tokens=draw(st.integers(1, 10**6)),
            output_tokens=output,
            key=draw(st.just("") | NAMES),
            max_output_tokens=draw(st.none() | st.integers(output, 10**7)),
            leaves_after_tokens=draw(st.none() | st.integers(1, output - 1)),
            prefix_ids=tuple(draw(st.lists(st.integers(0, 10**12), max_size=5))),
        )
        made.append(request)
    return tuple(made)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_requests())
def test_writing_and_reading_gives_the_same(
    tmp_path_factory: pytest.TempPathFactory, requests: tuple[Request, ...]
) -> None:
    """Both of our formats hold every field of every request exactly."""
    folder = tmp_path_factory.mktemp("trace")
    write_csv(requests, folder / "a.csv")
    write_jsonl(requests, folder / "a.jsonl")
    for file, trace_format in (("a.csv", TraceFormat.CSV), ("a.jsonl", TraceFormat.JSONL)):
        trace = read_trace(folder / file)
        assert trace.notes == (f"read as {trace_format.value}",)
        assert trace.requests == requests


@pytest.mark.parametrize("name", names())
def test_a_workload_survives_a_file(name: str, tmp_path: Path) -> None:
    """Every workload of the catalogue, written and read again, has the same requests; it ends with the last second."""
    workload = load(name)
    write_csv(workload.requests, tmp_path / f"{name}.csv")
    read = read_trace(tmp_path / f"{name}.csv")
    assert read.requests == workload.requests
    assert read.seconds == math.ceil(workload.requests[-1].arrival_seconds) <= workload.seconds


def _write(tmp_path: Path, text: str, name: str = "trace") -> Path:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return file


def _log_line(outcome: Outcome, at: str, seconds: float, tokens: int) -> str:
    event = RequestFinished(
        *("id", "/v1/completions", "alice", "k1", "pool", "model", "worker", outcome, 200, True, 1),
        *(31, 0, tokens, 1.0, 0.1, 0.2, 0.01, 0.02, 0.001, seconds),
    )
    return json.dumps({"event": "request", "level": "info", "timestamp": at, **request_fields(event)}) + "\n"


LOG_LINE = _log_line(Outcome.COMPLETED, "2026-01-01T00:00:09.5Z", 5.5, 7)

CASES = {
    "csv": (TraceFormat.CSV, f"{OURS}0.5,a,3,4\n0.25,b,5,6\n", [(0.25, "b", 5, 6), (0.5, "a", 3, 4)]),
    "csv with clients": (
        TraceFormat.CSV,
        "arrival_seconds,client,prompt_tokens,output_tokens\n0.5,client-13,3,4\n",
        [(0.5, "client-13", 3, 4)],
    ),
    "jsonl": (
        TraceFormat.JSONL,
        '{"arrival_seconds": 1, "tenant": "a", "prompt_tokens": 3, "output_tokens": 4}\n\n',
        [(1.0, "a", 3, 4)],
    ),
    "gateway log": (
        TraceFormat.GATEWAY_LOG,
        '{"event": "listening", "level": "info", "timestamp": "2026-01-01T00:00:00Z"}\n'
        + _log_line(Outcome.COMPLETED, "2026-01-01T00:00:09.5Z", 5.5, 7)
        + _log_line(Outcome.COMPLETED, "2026-01-01T00:00:08.5Z", 2.0, 9),
        [(0.0, "alice", 31, 7), (2.5, "alice", 31, 9)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_format_is_recognised_and_read(case: str, tmp_path: Path) -> None:
    """Times begin at zero, lengths are the file's, and naming the format changes nothing."""
    expected_format, text, expected = CASES[case]
    file = _write(tmp_path, text)
    trace = read_trace(file)
    assert trace.notes[0] == f"read as {expected_format.value}"
    assert read_trace(file, expected_format) == trace
    read = [
        (request.arrival_seconds, request.tenant, request.prompt_tokens, request.output_tokens)
        for request in trace.requests
    ]
    assert [(at, prompt, output) for at, _, prompt, output in read] == [
        (pytest.approx(at, abs=1e-6), prompt, output) for at, _, prompt, output in expected
    ]
    for (_, tenant, _, _), (_, wanted, _, _) in zip(read, expected, strict=True):
        assert tenant == wanted
    assert set(trace.tenants.values()) == {1.0}


def test_a_byte_order_mark_and_other_columns_order_are_no_matter(tmp_path: Path) -> None:
    """Spreadsheets write a byte order mark, and people move columns."""
    text = "\ufeffoutput_tokens,tenant,arrival_seconds,prompt_tokens\r\n4,a,0.5,3\r\n"
    assert read_trace(_write(tmp_path, text)).requests == (Request(0.5, "a", 3, 4),)


@pytest.mark.parametrize(
    ("text", "left_out"),
    [
        (
            _log_line(Outcome.COMPLETED, "2026-01-01T00:00:09Z", 1.0, 7)
            + _log_line(Outcome.TENANT_QUEUE_FULL, "2026-01-01T00:00:09Z", 0.0, 0),
            1,
        ),
    ],
)
def test_rows_without_an_answer_are_left_out_and_counted(text: str, left_out: int, tmp_path: Path) -> None:
    """Failed and refused requests say nothing about what they would have generated."""
    trace = read_trace(_write(tmp_path, text))
    assert len(trace.requests) == 1
    assert f"{left_out} rows are no requests with an answer" in trace.notes[1]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (f"{OURS}0.5,a,3\n", 2, "output_tokens: is missing"),
        (f"{OURS}0.5,a,3,4\nsoon,a,3,4\n", 3, "arrival_seconds: must be a number, not `soon`"),
        (f"{OURS}-1,a,3,4\n", 2, "arrival_seconds: is out of bounds: `-1`; use at least 0"),
        (f"{OURS}nan,a,3,4\n", 2, "arrival_seconds: is too large for a number"),
        (f"{OURS}1,a,0,4\n", 2, "prompt_tokens: is out of bounds: `0`; use at least 1"),
        (f"{OURS}1,a,3.5,4\n", 2, "prompt_tokens: must be a whole number, not `3.5`"),
        (f"{OURS}1,a,3,99999999999\n", 2, "output_tokens: is out of bounds"),
        (f"{OURS}1,,3,4\n", 2, "tenant: is missing"),
        (f"{OURS}1,a\x1b[31m,3,4\n", 2, "tenant: does not have the right form"),
        (f"{OURS}1,a,3,4,5\n", 2, "more fields than the header"),
        (f"{OURS[:-1]},kay\n1,a,3,4,5\n", 2, "kay: is not a known key; did you mean `key`?"),
        (f"{OURS[:-1]},prefix_ids\n1,a,3,4,5 x\n", 2, "prefix_ids[1]: must be a whole number, not `x`"),
        (f"{OURS[:-1]},max_output_tokens\n1,a,3,4,3\n", 2, "has max_output_tokens below output_tokens"),
        (f"{OURS[:-1]},leaves_after_tokens\n1,a,3,4,4\n", 2, "has leaves_after_tokens not below output_tokens"),
        (OURS, 1, "no request with an answer"),
        ("", 1, "no known format"),
        ("a,b\n1,2\n", 1, "no known format: 'a,b'"),
        ('{"a": 1}\n', 1, "no known format"),
        ("[1]\n", 1, "no known format"),
        (JSON_ROW + "{\n", 2, "is not JSON"),
        (JSON_ROW + "[1]\n", 2, "is not a JSON object"),
        (JSON_ROW.replace("7}", '7, "prefix_ids": 7}'), 1, "prefix_ids: must be a list"),
        (JSON_ROW.replace("3,", "true,"), 1, "prompt_tokens: must be a whole number, not true"),
        (LOG_LINE.replace("2026-01-01T00:00:09.5Z", "yesterday"), 1, "timestamp: cannot be used: `yesterday`"),
    ],
)
def test_a_bad_row_is_reported_with_line_and_remedy(text: str, line: int, words: str, tmp_path: Path) -> None:
    """The message has the file, the line, the field, what is wrong and what to do."""
    file = _write(tmp_path, text)
    with pytest.raises(ConfigError) as raised:
        read_trace(file)
    fault = raised.value.faults[0]
    assert (fault.file, fault.line) == (str(file), line)
    assert words in f"{fault.path}: {fault.message}; {fault.remedy}" and fault.remedy


def test_bad_rows_are_reported_together_up_to_a_limit(tmp_path: Path) -> None:
    """A file that is wrong throughout does not fill the screen."""
    with pytest.raises(ConfigError) as raised:
        read_trace(_write(tmp_path, OURS + "x,a,1,1\n" * 500))
    assert [fault.line for fault in raised.value.faults] == list(range(2, 22))


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    """The file is absent, is no text, or has another format than was named."""
    with pytest.raises(ConfigError, match="cannot be read"):
        read_trace(tmp_path / "absent.csv")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\n")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_trace(tmp_path / "binary")
    with pytest.raises(ConfigError, match="has no column arrival_seconds"):
        read_trace(_write(tmp_path, LOG_LINE), TraceFormat.CSV)


def test_only_the_first_seconds_are_read(tmp_path: Path) -> None:
    """World-clock times count from the first request, and the workload is as long as was asked for."""
    rows = "".join(f"{1_700_000_000 + second},a,5,6\n" for second in range(40))
    workload = read_trace(_write(tmp_path, OURS + rows), seconds=7.5)
    assert [request.arrival_seconds for request in workload.requests] == [float(second) for second in range(8)]
    assert workload.seconds == 7.5


EPOCH = OURS + "1700000000.5,a,10,5\n1700000060.25,b,10,5\n"


def test_epoch_seconds_count_from_the_first_request(tmp_path: Path) -> None:
    """Times too large for a run are those of a clock, and the reader says what it did with them."""
    path = tmp_path / "epoch.csv"
    path.write_text(EPOCH)
    trace = read_trace(path)
    assert [request.arrival_seconds for request in trace.requests] == [0.0, 59.75]
    assert trace.seconds == 60
    assert any("counted from the first request" in note for note in trace.notes)
    assert len(read_trace(path, seconds=30).requests) == 1


@pytest.mark.parametrize("late", ["1e300", "1700000000", "10000001"])
def test_a_trace_longer_than_any_run_is_refused_at_its_line(tmp_path: Path, late: str) -> None:
    """A time out of all proportion is reported with its line and does not fill the memory."""
    path = tmp_path / "late.csv"
    path.write_text(OURS + f"0,a,10,5\n{late},a,10,5\n1,b,10,5\n")
    with pytest.raises(ConfigError) as refused:
        read_trace(path)
    (fault,) = refused.value.faults
    assert fault.line == 3 and "--seconds" in fault.remedy


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("arrival_seconds,tenant,tenant,prompt_tokens,output_tokens\n0,a,b,1,1\n", "has the column 'tenant' twice"),
        ("arrival_seconds,tenant,client,prompt_tokens,output_tokens\n0,a,b,1,1\n", "has both client and tenant"),
        ("arrival_seconds,tenant,prompt_tokens\n0,a,1\n", "has no column output_tokens, which the format csv needs"),
        ("tenant,output_tokens\na,4\n", "has no column arrival_seconds"),
        ('{"arrival_seconds": 0, "tenant": "a", "output_tokens": 3}\n', "has no field prompt_tokens"),
        ("colour,shape\nred,round\n", "is in no known format"),
    ],
)
def test_a_header_that_is_nearly_right_names_what_is_wrong(tmp_path: Path, text: str, complaint: str) -> None:
    """The message names the column too many or too few; only a header like none of the formats has no format."""
    path = tmp_path / "trace"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        read_trace(path)
    assert complaint in str(refused.value.faults[0])
