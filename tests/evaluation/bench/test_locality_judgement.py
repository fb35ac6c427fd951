"""The locality bench and the express lane judge runs that are written by hand."""

from collections.abc import Sequence

import pytest
from handwritten import run, sample, tally

from evaluation.bench import isolation, locality
from evaluation.bench.probe import Gauges
from evaluation.bench.stage import Run
from evaluation.load.connection import ExchangeRecord
from evaluation.report.verdicts import Verdict


def _missed(verdicts: Sequence[Verdict]) -> list[str]:
    return [verdict.target.name for verdict in verdicts if not verdict.passed]


def _chats(tokens: int, cached: int, spread: float = 9.0) -> Run:
    records = [
        ExchangeRecord("a", 103.0, prompt_tokens=1000, cached_tokens=cached, is_complete=True),
        ExchangeRecord("a", 104.0, prompt_tokens=1000, cached_tokens=1000),
        ExchangeRecord("a", 99.0, prompt_tokens=1000, cached_tokens=1000, is_complete=True),
    ]
    seen = sample({"a": 2, "b": 2}, [Gauges(0, 4), Gauges(0, 4)], spread=spread)
    return run({"a": tally(10, tokens, records), "b": tally(10)}, [seen])


def _missed_by(local: Run, exact: Run) -> list[str]:
    return _missed(locality.verdicts({locality.QUANTUM: [local], locality.WITHOUT: [exact]}))


def test_the_quantum_must_give_half_as_much_again_within_its_bound() -> None:
    """Rates are compared, each spread is held to the bound that its own gateway computed."""
    assert _missed_by(_chats(150, 900), _chats(100, 0)) == []
    assert _missed_by(_chats(149, 900), _chats(100, 0)) == [locality.THROUGHPUT.name]
    assert _missed_by(_chats(150, 900, spread=11.0), _chats(100, 0)) == [locality.SPREAD.name]


def test_a_hit_rate_is_of_the_windows_answered_requests() -> None:
    """Those of the warm-up and those that were cut told nothing, or too much."""
    runs = [_chats(1, 900), _chats(1, 700)]
    assert [locality.hit_rate(runs, name) for name in ("a", "b")] == [0.8, 0.0]
    assert locality.hit_rate(runs) == 0.8


def test_every_turn_has_instructions_of_its_own() -> None:
    """No cache can know them from an earlier turn, and no tenant's are another's."""
    turns = [locality.cast(way, number) for way, number in (("a", 0), ("b", 0), ("a", 1))]
    texts = {tenant.prompt.instructions for tenants in turns for tenant in tenants}  # type: ignore[union-attr]
    assert len(texts) == 3 * len(locality.TENANTS)


def _modest(ttft: float, tokens: int, *, is_complete: bool = True) -> Run:
    record = ExchangeRecord("modest", 101.0, first_token_at=101.0 + ttft, is_complete=is_complete)
    return run({"modest": tally(0, tokens, [record])})


@pytest.mark.parametrize(
    ("ttft", "tokens", "is_complete", "missed"),
    [
        (0.0399, 980, True, []),
        (0.041, 980, True, [isolation.LANE_TTFT.name]),
        (0.0399, 979, True, [isolation.LANE_RATE.name]),
        (0.0399, 980, False, [isolation.LANE_REFUSED.name]),
    ],
)
def test_the_lane_is_held_to_the_time_alone_and_the_rate_without(
    ttft: float, tokens: int, is_complete: bool, missed: list[str]
) -> None:
    """Twice the time alone, two percent of the rate, every request answered."""
    ways = {
        isolation.ALONE: [_modest(0.02, 30)],
        isolation.WITHOUT: [_modest(0.2, 1000)],
        isolation.LANE: [_modest(ttft, tokens, is_complete=is_complete)],
    }
    assert _missed(isolation.express_verdicts(ways)) == missed
