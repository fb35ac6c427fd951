"""What the benches read of the gateway's state, its log and the engine's metrics page."""

import math

import orjson
import pytest

from evaluation.bench.journal import FinishedRequest, parse_journal
from evaluation.bench.probe import GatewayState, Gauges
from evaluation.bench.settings import GatewaySettings, draw_keys

LINE = {
    "event": "request",
    "timestamp": "2026-01-02T03:04:05.500000Z",
    "tenant": "modest",
    "worker": "engine",
    "outcome": "completed",
    "duration_seconds": 2.0,
    "queue_wait_seconds": 0.5,
}


def test_a_log_line_becomes_a_finished_request() -> None:
    """Arrival and grant follow from the end, the duration and the wait."""
    (request,) = parse_journal([orjson.dumps(LINE)])
    assert request.tenant == "modest"
    assert request.finished_at - request.arrived_at == pytest.approx(2.0)
    assert request.granted_at == pytest.approx(request.finished_at - 1.5)


@pytest.mark.parametrize("absent", ["queue_wait_seconds", "worker"])
def test_a_request_that_got_no_room_has_no_grant(absent: str) -> None:
    """Refused and withdrawn requests are no waits; what is not known is left out of the line."""
    (request,) = parse_journal([orjson.dumps({name: value for name, value in LINE.items() if name != absent})])
    assert request.granted_at is None


def test_other_lines_are_passed_over() -> None:
    """Lines of other events, of other formats and empty ones are not requests."""
    lines = [b"", b"Traceback:", b"[1]", orjson.dumps({"event": "config reloaded"}), orjson.dumps(LINE)]
    assert [type(request) for request in parse_journal(lines)] == [FinishedRequest]


def test_gauges_are_summed_over_engines() -> None:
    """Two data-parallel ranks wait together; other series are not read."""
    page = (
        "# HELP vllm:num_requests_waiting Number\n"
        'vllm:num_requests_waiting{engine="0",model_name="m"} 2.0\n'
        'vllm:num_requests_waiting{engine="1",model_name="m"} 1.0\n'
        'vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0\n'
        'vllm:num_requests_running{engine="0",model_name="m"} 16.0\n'
    )
    assert Gauges.parse(page) == Gauges(waiting=3, running=16)
    assert Gauges.parse("") == Gauges(waiting=0, running=0)


def _state(spread: float, bound: float) -> GatewayState:
    tenant = {"tenant": "a", "counter": 1.5, "service": 3.0, "queued": 4, "in_flight": 5, "weight": 1}
    worker = {"worker": "engine-1", "window_sequences": 8, "sequences_in_flight": 5}
    pool = {"pool": "bench", "queued": 4, "in_flight": 5, "spread": spread, "spread_bound": bound}
    return GatewayState.parse({"pools": [{**pool, "tenants": {"busiest_first": [tenant]}}], "workers": [worker]})


def test_state_is_read_by_name() -> None:
    """The numbers of the dump arrive under their names."""
    state = _state(10.0, 40.0)
    assert (state.queued, state.in_flight, state.spread_of_bound) == (4, 5, 0.25)
    assert [(worker.window, worker.in_flight) for worker in state.workers] == [(8, 5)]
    assert (state.tenants["a"].counter, state.tenants["a"].queued) == (1.5, 4)


def test_a_spread_that_nothing_bounds_is_beyond_every_bound() -> None:
    """A bound of zero is met by no spread at all only."""
    assert _state(1.0, 0.0).spread_of_bound == math.inf
    assert _state(0.0, 0.0).spread_of_bound == 0.0


def test_the_configuration_holds_digests_and_no_key() -> None:
    """Keys stay in memory; weights, policy and the right to a known output length are written."""
    keys = draw_keys(["a", "b"])
    settings = GatewaySettings("drr:64", ["http://127.0.0.1:1"], "tiny", {"a": 1, "b": 3}, keys=keys)
    text = orjson.dumps(settings.document()).decode()
    assert all(key not in text and key not in repr(settings) for key in [*keys.values(), settings.admin_key])
    assert '"policy":"drr:64"' in text and '"weight":3' in text and '"ignore_eos"' in text
    assert len(set(keys.values())) == 2
