"""The bench of several processes judges what its turns saw, on turns written by hand; then once for real, lightly."""

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from evaluation.bench.datapath import several as bench
from evaluation.bench.datapath.loads import FEW, FEW_SHORT, WHOLE, Load, Observation
from evaluation.bench.datapath.several import MODEST, ONE, QUIET, STREAMS, TURNS, TWO, Findings, Turn
from evaluation.report.delivery import EXIT_MISSED, EXIT_PASSED, conduct

COST_SECONDS = 16e-6  # of a chunk


def _turn(cost: float = 1.0, busiest: float = 0.5, calls: float = 8.0, first_ms: float = 2.0) -> Turn:
    """A turn of 4 s at `cost` times the usual one."""
    seen = Observation(1000, 0, 4.0, 1000 * cost * COST_SECONDS, 0, first_p99=first_ms / 1e3)
    return Turn(seen, 4.0, busiest, 0.02, 0.0, calls)


def _found(load: Load | None = None, two: Turn | None = None) -> Findings:
    """Two processes cost as much as one, which has no store, and make as many calls without requests; but for `two`."""
    findings = Findings()
    for each in (*bench.WITH_ROOM, TURNS):
        findings.add(each, ONE, _turn(busiest=1.0, calls=0.0))
        findings.add(each, TWO, two if each is load and two is not None else _turn())
    return findings


def _measured(findings: Findings) -> list[float]:
    return [verdict.measured for verdict in bench.verdicts(findings)]


def _missed(load: Load, two: Turn) -> list[int]:
    """Which targets are missed, where two processes under `load` are seen as in `two`."""
    return [place for place, verdict in enumerate(bench.verdicts(_found(load, two))) if not verdict.passed]


def test_two_processes_at_the_cost_of_one_carry_twice_as_much() -> None:
    """Streams 2, each cost 1, no call for a request, no time added."""
    assert _measured(_found()) == pytest.approx([2.0, 1.0, 1.0, 1.0, 0.0, 0.0])


def test_the_busiest_process_may_be_full_before_its_core_mates() -> None:
    """One that takes 5/8 of the time of both is full when the pair carries 1.6 times the streams of one."""
    assert _measured(_found(STREAMS, _turn(busiest=0.625)))[0] == pytest.approx(1.6)


def test_every_target_can_be_missed() -> None:
    """Each for itself, but that a chunk which costs more costs streams too."""
    assert _missed(STREAMS, _turn(busiest=0.54)) == []
    assert _missed(STREAMS, _turn(busiest=0.57)) == [0]
    assert _missed(STREAMS, _turn(cost=1.09)) == []
    assert _missed(STREAMS, _turn(cost=1.12)) == [0, 1]
    assert _missed(TURNS, _turn(cost=1.11)) == [2]
    assert _missed(WHOLE, _turn(cost=1.11)) == [3]
    assert _missed(MODEST, _turn(calls=11.0)) == []
    assert _missed(MODEST, _turn(calls=13.0)) == [4]
    assert _missed(FEW_SHORT, _turn(first_ms=3.1)) == [5]
    assert _missed(QUIET, _turn(calls=0.0)) == [4], "8 calls in 4 s were not made for 83 requests, or all were"


def test_two_processes_are_measured_beside_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real processes and a real store work under every load, and their parts are told apart; cost is not judged."""
    streams, turns = replace(STREAMS, count=8, pace=20), replace(TURNS, count=8, pace=20)
    loads = (
        streams,
        replace(FEW, count=4, pace=20),
        replace(WHOLE, count=2),
        replace(FEW_SHORT, count=10),
        MODEST,
        QUIET,
    )
    for name, value in {
        "STREAMS": streams,
        "TURNS": turns,
        "ROOM": 3,
        "WITH_ROOM": loads,
        "FEW_SHORT": loads[3],
    }.items():
        monkeypatch.setattr(bench, name, value)
    path = tmp_path / "processes.json"
    options = bench.ProcessesOptions(rounds=1, seconds=1.5, json_file=path)
    assert conduct(bench.measure(options), options) in (EXIT_PASSED, EXIT_MISSED)
    rounds = orjson.loads(path.read_bytes())["measurements"]["rounds"]
    assert set(rounds) == {load.name for load in (*loads, turns)}
    for by_name in rounds.values():
        (one,), (two,) = by_name[ONE], by_name[TWO]
        assert one["seen"]["done"] > 0 and two["seen"]["done"] > 0
        assert (one["busiest"], one["store"], one["calls"]) == (1.0, 0.0, 0.0)
        assert two["calls"] > 0 and 0 < two["store"] < 1 and 0 < two["busiest"] < 1
    assert rounds[streams.name][TWO][0]["seen"]["faults"] == 0
    assert rounds[turns.name][TWO][0]["seen"]["faults"] == 0
