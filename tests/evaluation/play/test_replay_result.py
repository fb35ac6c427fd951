"""The numbers of a replay agree with cases that can be counted by hand."""

import math

import pytest

from evaluation.load.client import CUT_OFF
from evaluation.load.connection import ExchangeRecord
from evaluation.play.player import Played
from evaluation.play.result import Ended, Result, ended
from evaluation.requests import Request


def _played(intended_at: float, first: float | None = None, last: float | None = None, **fields: object) -> Played:
    record = ExchangeRecord("a", sent_at=intended_at + 0.01, usages=1, prompt_tokens=10)
    record.first_token_at, record.ended_at = first, last
    record.output_tokens = 5 if first is not None else 0
    for name, value in fields.items():
        setattr(record, name, value)
    return Played(Request(intended_at, "a", 10, 5), intended_at, record)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Ended.COMPLETED),
        ({"has_left": True}, Ended.LEFT),
        ({"status": 429, "error": "full"}, Ended.REFUSED),
        ({"status": 200, "error": "broke"}, Ended.FAILED),
        ({"error": CUT_OFF}, Ended.CUT_OFF),
    ],
)
def test_endings_are_distinguished(fields: dict[str, object], expected: Ended) -> None:
    """Each ending follows from what the record says."""
    assert ended(_played(0, 1, 2, **fields)) is expected


def test_a_tenant_by_hand() -> None:
    """In twenty seconds two requests completed, one was refused, and one was cut off without a token."""
    played = [
        _played(100, first=101, last=105),
        _played(102, first=105, last=107),
        _played(103, status=429, error="full", prompt_tokens=0),
        _played(110, error=CUT_OFF, prompt_tokens=0),
    ]
    (tenant,) = Result(100, 120, played).tenants()
    assert tenant.sent == 4
    assert {end: count for end, count in tenant.endings.items() if count} == {
        Ended.COMPLETED: 2,
        Ended.REFUSED: 1,
        Ended.CUT_OFF: 1,
    }
    assert tenant.service_per_second == 2 * (10 + 2 * 5) / 20
    assert tenant.ttft_seconds["p50"] == 3  # of 1, 3 and at least 10
    assert tenant.per_token_seconds["p50"] == (4 / 4 + 2 / 4) / 2
    assert tenant.whole_seconds["p50"] == 5  # of 5, 5 and at least 10


def test_nothing_measured_is_not_a_number() -> None:
    """A tenant whose requests were all refused has no waits, and so no good ones."""
    (tenant,) = Result(0, 1, [_played(0, status=429, error="full")]).tenants()
    assert all(math.isnan(value) for value in tenant.ttft_seconds.values())
    assert all(math.isnan(value) for value in tenant.whole_seconds.values())


def test_a_lag_is_warned_about_from_fifty_milliseconds() -> None:
    """10 ms is a client's ordinary wake-up; a second in every tenth request is not."""
    played = [_played(float(second), second + 1.0, second + 2.0) for second in range(10)]
    assert Result(0, 20, played).warnings() == []
    played[5].record.sent_at += 1
    assert len(Result(0, 20, played).warnings()) == 1
    assert Result(0, 20, played).lag_seconds["p100"] == pytest.approx(1.01)
