"""The window bench judges what its runs saw, on runs written by hand."""

from collections.abc import Sequence
from typing import Any

import pytest
from handwritten import run, sample, tally

from evaluation.bench.probe import Gauges
from evaluation.bench.stage import Run
from evaluation.bench.window import blind, memory, speeds, unknown
from evaluation.bench.window.distortion import Distortion
from evaluation.bench.window.part import in_turns
from evaluation.report.verdicts import Verdict


def _way(tokens: int, *samples: Any, tenants: tuple[str, str] = ("many", "few"), larger: float = 1.0) -> Run:
    first, second = tenants
    return run({first: tally(1000 * larger, tokens // 2), second: tally(1000, tokens - tokens // 2)}, samples)


def _busy(waiting: int = 0, preemptions: int = 0, **more: Any) -> Any:
    return sample({"many": 3, "few": 2, "chats": 3, "documents": 2}, [Gauges(waiting, 8, preemptions)], **more)


def _missed(verdicts: Sequence[Verdict]) -> list[str]:
    return [verdict.target.name for verdict in verdicts if not verdict.passed]


PAIR = ("chats", "documents")


def _memory(auto: int, waiting: int = 1, control: int = 7, larger: float = 1.0) -> memory.Findings:
    fixed = {size: [_way(100 * size, _busy(), tenants=PAIR)] for size in (6, 8)}
    fixed |= {10: [_way(780, _busy(), tenants=PAIR)], max(memory.FIXED): [_way(500, _busy(control), tenants=PAIR)]}
    tuned = _way(auto, _busy(waiting, 2), _busy(waiting, 5), tenants=PAIR, larger=larger)
    best = [_way(tokens, _busy(), tenants=PAIR) for tokens in (700, 900)]
    return memory.Findings(fixed, best, [tuned])


def test_auto_is_held_against_the_best_window_of_the_sweep() -> None:
    """The best is found among the fixed ones, not the largest; 97 percent of its rate beside it is enough."""
    findings = _memory(auto=776)
    assert findings.best_size == 8
    assert _missed(memory.verdicts(findings)) == []
    assert _missed(memory.verdicts(_memory(auto=775))) == [memory.THROUGHPUT.name]


def test_a_control_without_a_queue_shows_nothing() -> None:
    """The largest window must be seen to be too large, and auto must not be."""
    assert _missed(memory.verdicts(_memory(800, control=1))) == [memory.CONTROL.name]
    assert _missed(memory.verdicts(_memory(800, waiting=2))) == [memory.WAITING.name]


def test_memory_is_unfair_where_one_tenant_has_more() -> None:
    """Six percent more is too much."""
    assert _missed(memory.verdicts(_memory(800, larger=1.06))) == [memory.EQUAL.name]


def test_preemptions_are_those_of_the_windows() -> None:
    """The engine counts since it started: what came before a window is not the window's."""
    assert memory.preemptions(_memory(800).auto) == 3
    assert memory.preemptions([_way(1)]) == 0


def _speeds(gateway: int, *, is_shared: bool, slow_running: int = 8) -> speeds.Findings:
    both = sample({"many": 3, "few": 2}, [Gauges(0, 8), Gauges(0, slow_running)])
    runs = {speeds.FAST: 900, speeds.SLOW: 300, speeds.BESIDE_FAST: 600, speeds.BESIDE_SLOW: 200}
    return speeds.Findings(
        {name: [_way(tokens)] for name, tokens in runs.items()} | {speeds.GATEWAY: [_way(gateway, both)]}, is_shared
    )


@pytest.mark.parametrize(
    ("gateway", "is_shared", "passes"), [(1140, False, True), (1139, False, False), (760, True, True)]
)
def test_two_speeds_are_held_against_what_both_can_do(gateway: int, is_shared: bool, passes: bool) -> None:
    """The sum of each alone, or both at once where they share a machine."""
    missed = _missed(speeds.verdicts(_speeds(gateway, is_shared=is_shared)))
    assert (speeds.THROUGHPUT.name not in missed) is passes


def test_an_engine_left_idle_is_seen() -> None:
    """The less busy of the two counts."""
    assert _missed(speeds.verdicts(_speeds(1200, is_shared=False, slow_running=6))) == [speeds.BUSY.name]


def _blind(worst: int, *, marked: bool = True, honest_marked: bool = False) -> blind.Findings:
    bad = [kind.value for kind in Distortion if kind is not Distortion.HONEST]
    runs = {name: [_way(1000, _busy(degraded="dead"))] for name in bad}
    runs[blind.NEVER] = [_way(worst, _busy(degraded="dead"), _busy(degraded="dead" if marked else ""))]
    return blind.Findings({blind.HONEST: [_way(1000, _busy(degraded="dead" if honest_marked else ""))], **runs})


def test_blind_traffic_is_judged_by_its_worst_case() -> None:
    """One way below nine tenths, or one sample unmarked, is a miss; honest metrics must not be marked."""
    assert _missed(blind.verdicts(_blind(900))) == []
    assert _missed(blind.verdicts(_blind(899))) == [blind.THROUGHPUT.name]
    assert _missed(blind.verdicts(_blind(900, marked=False))) == [blind.MARKED.name]
    assert _missed(blind.verdicts(_blind(900, honest_marked=True))) == [blind.UNMARKED.name]


def _unknown(auto: int, windows: Sequence[int]) -> unknown.Findings:
    samples = [_busy(window=window) for window in windows]
    return unknown.Findings({8: {unknown.KNOWN: [_way(1000, _busy())], unknown.AUTO: [_way(auto, *samples)]}})


def test_a_window_that_nobody_told_must_settle_and_serve_as_much() -> None:
    """97 percent of the told window's rate, and a window that stays within two sequences."""
    assert _missed(unknown.verdicts(_unknown(970, [9, 9, 10, 9]))) == []
    assert _missed(unknown.verdicts(_unknown(969, [9]))) == [unknown.THROUGHPUT.format(8)]
    assert _missed(unknown.verdicts(_unknown(1000, [9, 13, 9, 13]))) == [unknown.SETTLED.format(8)]


async def _turns() -> list[str]:
    order: list[str] = []

    async def turn(name: str, number: int) -> Run:
        order.append(f"{name}{number}")
        return _way(1)

    ways = {name: lambda number, name=name: turn(name, number) for name in "ab"}
    runs = await in_turns(ways, 2)
    assert {name: len(each) for name, each in runs.items()} == {"a": 2, "b": 2}
    return order


def test_the_order_of_the_ways_is_turned_about_from_round_to_round() -> None:
    """So a drift of the machine's speed meets both."""
    import asyncio

    assert asyncio.run(_turns()) == ["a0", "b0", "b1", "a1"]
