"""The benches judge runs that are written by hand."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from evaluation.bench import fairness, isolation, judgement
from evaluation.bench.probe import GatewayState, Gauges, Sample, TenantState
from evaluation.bench.stage import Run
from evaluation.load.connection import ExchangeRecord
from evaluation.load.series import Span
from evaluation.load.tenants import Tally
from evaluation.report.verdicts import Verdict

WINDOW = Span(100.0, 110.0)
WALL = Span(1000.0, 1010.0)


def _tally(service: float, tokens: int = 0, records: Sequence[ExchangeRecord] = ()) -> Tally:
    tally = Tally()
    tally.service.add(105.0, service)
    tally.tokens.add(105.0, tokens)
    tally.records.extend(records)
    return tally


def _sample(queued: Mapping[str, int], spread: float = 1.0, waiting: int = 0) -> Sample:
    tenants = {name: TenantState(0.0, count, 1) for name, count in queued.items()}
    state = GatewayState(sum(queued.values()), spread, 10.0, tenants)
    return Sample(105.0, state, [Gauges(waiting, 16)])


def _run(
    tallies: Mapping[str, Tally], samples: Sequence[Sample] = (), finished: Sequence[Mapping[str, Any]] = ()
) -> Run:
    return Run(tallies, WINDOW, WALL, 130.0, samples, finished)


def _many_and_few(many: float, few: float, samples: Sequence[Sample]) -> Run:
    return _run({"many": _tally(many, 500), "few": _tally(few, 500)}, samples)


def _rounds(*tokens: int) -> list[Run]:
    return [_run({"many": _tally(0, each)}) for each in tokens]


def _fair(gateway_tokens: int = 980) -> dict[str, list[Run]]:
    samples = [_sample({"many": 40, "few": 5}, spread=float(i), waiting=i % 2) for i in range(5)]
    weighted = _run({"one": _tally(100), "three": _tally(300)}, [_sample({"one": 1, "three": 1}, spread=9.0)])
    lengths = _run({"short": _tally(200), "long": _tally(210)}, [_sample({"short": 3, "long": 3})])
    return {
        "many and few": [_many_and_few(1020, 1000, samples)],
        "weights": [weighted],
        "short and long": [lengths],
        fairness.CONTROL: [_many_and_few(4000, 1000, samples)],
        fairness.GATEWAY: _rounds(100, gateway_tokens, 2000),
        fairness.ALONE: _rounds(900, 1000, 1100),
    }


def _by_target(verdicts: Sequence[Verdict]) -> dict[str, Verdict]:
    return {verdict.target.name: verdict for verdict in verdicts}


def test_fairness_meets_every_target_on_a_fair_run() -> None:
    """The verdicts use ratios per weight, medians of the rounds, and the worst spread of all scenarios."""
    found = _by_target(fairness.verdicts(_fair()))
    assert all(verdict.passed for verdict in found.values())
    assert found[fairness.EQUAL.name].measured == pytest.approx(1.02)
    assert found[fairness.UNEQUAL.name].measured == pytest.approx(4.0)
    assert found[fairness.BY_WEIGHT.name].measured == pytest.approx(1.0)
    assert found[fairness.BY_LENGTH.name].measured == pytest.approx(1.05)
    assert found[fairness.THROUGHPUT.name].measured == pytest.approx(0.98)
    assert found[fairness.SPREAD.name].measured == pytest.approx(0.9)


def test_fairness_misses_what_a_costly_gateway_misses() -> None:
    """A median round of 96 percent is not 97."""
    found = _by_target(fairness.verdicts(_fair(gateway_tokens=960)))
    assert [name for name, verdict in found.items() if not verdict.passed] == [fairness.THROUGHPUT.name]


def test_samples_while_nothing_waits_say_nothing_about_the_engine_queue() -> None:
    """Only while the gateway holds requests must the engine's queue be short."""
    samples = [_sample({"many": 0, "few": 0}, waiting=9), _sample({"many": 1, "few": 1}, waiting=1)]
    assert judgement.engine_queue(fairness.ENGINE_QUEUE, [_many_and_few(1, 1, samples)], 1).measured == 1.0
    assert math.isnan(judgement.engine_queue(fairness.ENGINE_QUEUE, [_many_and_few(1, 1, samples[:1])], 1).measured)


def test_a_tenant_that_ran_dry_was_not_backlogged() -> None:
    """One sample of two with an empty queue is half."""
    samples = [_sample({"many": 40, "few": 0}), _sample({"many": 40, "few": 1}), _sample({"many": 40})]
    assert judgement.backlogged(fairness.BACKLOGGED, [_many_and_few(1, 1, samples)]).measured == pytest.approx(1 / 3)


def _finished(tenant: str, at: float, duration: float = 1.0, wait: float | None = 0.0) -> dict[str, Any]:
    line = {"tenant": tenant, "worker": "engine", "duration_seconds": duration}
    stamp = datetime.fromtimestamp(at, UTC).isoformat()
    return {**line, "timestamp": stamp, **({} if wait is None else {"queue_wait_seconds": wait})}


def test_waits_are_held_against_the_releases_of_the_window() -> None:
    """Releases at 1001, 1002, 1004, two of them in one step; the modest request waits for the first it sees."""
    finished = [
        _finished("flood", 999.0),
        _finished("flood", 1001.0),
        _finished("flood", 1001.001),
        _finished("flood", 1002.0),
        _finished("modest", 1004.0, duration=2.5, wait=0.5),
        _finished("flood", 1011.0),
    ]
    waiting = isolation.waiting_of([_run({}, finished=finished)])
    assert waiting.waits == pytest.approx([0.5])
    assert waiting.intervals == pytest.approx([1.0, 2.0])
    assert waiting.releases == [1]
    assert waiting.limit_seconds == pytest.approx(1.95 + 0.02)


def test_modest_requests_outside_the_window_or_without_a_grant_are_no_waits() -> None:
    """Requests of the warm-up and withdrawn requests do not count."""
    finished = [
        _finished("modest", 1000.5, duration=1.0, wait=0.2),
        _finished("modest", 1005.0, duration=1.0, wait=None),
        {**_finished("modest", 1005.0, duration=1.0, wait=0.2), "worker": ""},
    ]
    assert isolation.waiting_of([_run({}, finished=finished)]).waits == []


def test_a_request_without_a_token_counts_as_long_as_it_was_watched() -> None:
    """An unanswered request is not left out of a percentile."""
    answered = ExchangeRecord("modest", sent_at=101.0, first_token_at=101.25)
    unanswered = ExchangeRecord("modest", sent_at=109.0)
    late = ExchangeRecord("modest", sent_at=110.0, first_token_at=111.0)
    run = _run({"modest": _tally(0, records=[answered, unanswered, late])})
    assert isolation.ttfts([run]) == [0.25, 21.0]


def _isolated(own: float, others: float, wait: float) -> dict[str, list[Run]]:
    def run(ttft: float) -> Run:
        records = [ExchangeRecord("modest", at, first_token_at=at + ttft, is_complete=True) for at in (101.0, 102.0)]
        finished = [_finished("flood", 1000.0 + i / 10) for i in range(50)]
        finished.append(_finished("modest", 1006.0, duration=2.0, wait=wait))
        samples = [_sample({"flood": 40})]
        return _run({"modest": _tally(0, records=records), "flood": _tally(0)}, samples, finished)

    return {isolation.TESTED: [run(own)], isolation.FCFS: [run(others)], isolation.DIRECT: [run(others)]}


@pytest.mark.parametrize(
    ("own", "others", "wait", "missed"),
    [
        (0.2, 1.1, 0.115, []),
        (0.2, 1.1, 0.125, [0]),
        (0.3, 1.1, 0.1, [2, 3]),
    ],
)
def test_isolation_is_judged_by_wait_and_ttft(own: float, others: float, wait: float, missed: list[int]) -> None:
    """Releases every 100 ms allow a wait of 120 ms; five times lower is five times."""
    verdicts = isolation.verdicts(_isolated(own, others, wait))
    assert [number for number, verdict in enumerate(verdicts) if not verdict.passed] == missed


def test_a_modest_request_that_was_refused_is_counted() -> None:
    """One refusal is one too many."""
    ways = _isolated(0.2, 1.1, 0.1)
    ways[isolation.TESTED][0].tallies["modest"].records.append(ExchangeRecord("modest", 103.0, status=429))
    assert [verdict.measured for verdict in isolation.verdicts(ways)][1] == 1
