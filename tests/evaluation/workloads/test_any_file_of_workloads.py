"""Any file is either a workload or has its faults reported; no other exception comes out."""

import copy
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from evaluation.workloads import ConfigError, file_of, names
from evaluation.workloads.files import parse
from evaluation.workloads.traces import TraceFormat, read_trace
from evaluation.workloads.workload import generate
from gateway.config.document import read_document
from gateway.config.faults import FaultLog

ODD = (
    st.none() | st.booleans() | st.integers(-5, 10**20) | st.floats() | st.text(max_size=8) | st.just([]) | st.just({})
)
KEYS = st.sampled_from(["kind", "name", "tenants", "prompt", "arrivals", "parts", "points", "on_off", "x"])
VALUES = st.recursive(
    ODD, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=12
)


@functools.cache
def _documents() -> list[dict[str, Any]]:
    found = []
    for name in names():
        value = read_document(file_of(name).read_text(), {}, FaultLog(name))
        found.append({**value, "tenants": value["tenants"][:2]})
    return found


def _places(value: Any, set_there: Callable[[Any], None]) -> list[Callable[[Any], None]]:
    """Return functions that each set another value at one place of `value`."""
    found = [set_there]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        found += _places(child, lambda other, key=key: value.__setitem__(key, other))
    return found


@st.composite
def _damaged(draw: st.DrawFn) -> str:
    """Draw a file of the catalogue in which some values are replaced."""
    document = {"whole": copy.deepcopy(draw(st.sampled_from(_documents())))}
    for _ in range(draw(st.integers(1, 3))):
        places = _places(document["whole"], lambda other: document.__setitem__("whole", other))
        draw(st.sampled_from(places))(draw(VALUES))
    return json.dumps(document["whole"])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_damaged() | VALUES.map(json.dumps) | st.text(max_size=60))
@example("tenants: [{name: a, prompt: {kind: [1]}}]")
@example("tenants: {a: 1}\ntenant_defaults: {prompt: {}}")
@example("tenants: [null, 3]\ntenant_defaults: {prompt: 0}")
def test_any_text_is_a_workload_or_has_faults(text: str) -> None:
    """Every fault has words, a remedy and a line of the text."""
    try:
        file = parse(text, FaultLog("any.yaml"))
    except ConfigError as error:
        lines = text.count("\n") + 1
        assert all(fault.message and fault.remedy and 1 <= fault.line <= lines for fault in error.faults)
        return
    if file.seconds <= 1000:
        generate(file)


LINES = st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from(
    [
        "arrival_seconds,tenant,prompt_tokens,output_tokens",
        "TIMESTAMP,ContextTokens,GeneratedTokens",
        "Timestamp,Session ID,Request tokens,Response tokens",
        "0,a,1,2",
        "2023-11-16 18:15:46,1,2",
        '{"timestamp": 1, "input_length": 2, "output_length": 3, "hash_ids": [[1], {}]}',
        '{"timestamp": 1, "input_length": 2, "output_length": 3, "hash_ids": [1]}',
        '{"event": "request", "level": "info", "timestamp": 3, "tenant": [], "prompt_tokens": 1, "output_tokens": 2}',
        '{"config": 1, "result": {"responses": [1, {"req_time": {}}]}}',
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(LINES, max_size=5).map("\n".join).map(str.encode) | st.binary(max_size=60),
    st.sampled_from([None, *TraceFormat]),
)
def test_any_bytes_are_a_trace_or_have_faults(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, trace_format: TraceFormat | None
) -> None:
    """This holds in every format, whether the reader recognises it or is given its name."""
    file: Path = tmp_path_factory.mktemp("any") / "trace"
    file.write_bytes(content)
    try:
        assert read_trace(file, trace_format).requests
    except ConfigError as error:
        assert all(fault.message and fault.remedy and fault.line >= 1 for fault in error.faults)
