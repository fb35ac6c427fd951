"""What the benches read of the gateway's state, its log and the engine's metrics page."""

import math
from pathlib import Path

import orjson

from evaluation.bench.probe import GatewayState, Gauges
from evaluation.bench.settings import GatewaySettings, draw_keys
from evaluation.bench.stage import finished_requests


def test_the_finished_requests_of_a_log_are_read(tmp_path: Path) -> None:
    """Lines of other events, of other formats and empty ones are not requests."""
    line = {"event": "request", "tenant": "modest", "queue_wait_seconds": 0.5}
    log = tmp_path / "log"
    log.write_bytes(b"\n".join([b"", b"Traceback:", b"[1]", orjson.dumps({"event": "reloaded"}), orjson.dumps(line)]))
    assert finished_requests(log) == [line]


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
    assert (state.queued, state.spread_of_bound) == (4, 0.25)
    assert state.windows == [8]
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
