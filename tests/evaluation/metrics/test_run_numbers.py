"""TTFTs, endings, isolation and the summary of a run agree with numbers worked out by hand."""

import math

import pytest
from hypothesis import given, settings

from evaluation.metrics.runs import (
    loaded_time,
    measure_isolation,
    measure_jain,
    refused_share,
    response_at,
    summarise,
    summarise_tenant,
    ttfts,
)
from evaluation.requests import Ending, Request, Served

from .records import RUNS, refused, served

EQUAL = {"a": 1.0, "b": 1.0}


def test_response_over_time_is_the_mean_of_the_first_tokens_in_the_window() -> None:
    """The waits 2 and 4 end within 30 s of 30; the third wait ends at 60, in the next window."""
    records = [served("a", 10, 12, 20), served("a", 50, 54, 60), served("a", 59, 60, 70), refused("a", 30)]
    assert response_at(records, 30) == 3
    assert response_at(records, 90) == 1
    assert math.isnan(response_at(records, 300))


def test_a_request_without_a_token_has_no_wait() -> None:
    """Refused and unfinished requests are counted as such and add no waits of zero."""
    records = [served("a", 10, 12, 20), refused("a", 11), Served(Request(12, "a", 5, 5))]
    assert ttfts(records) == [2]
    summary = summarise_tenant("a", records)
    assert (summary.requests, summary.completed, summary.refused, summary.unfinished) == (3, 1, 1, 1)
    assert (summary.prompt_tokens, summary.output_tokens) == (100, 50)
    assert (summary.cost_received, summary.cost_wanted) == (200, 200 + 200 + 15)
    assert summary.mean_ttft_seconds == summary.p99_ttft_seconds == 2
    assert refused_share(records) == pytest.approx(1 / 3)


def _flood(count: int) -> list[Served]:
    """Let b flood: its requests run one after another from 0, each of 200 cost in 1 s."""
    return [served("b", i * 0.5, i + 0.5, i + 1.5) for i in range(count)]


def test_the_tenant_within_its_share_is_modest() -> None:
    """Tenant a asks for one request where the engine serves many, so isolation is made of its waits alone."""
    records = [*_flood(20), served("a", 5, 8, 9)]
    isolation = measure_isolation(records, EQUAL)
    assert isolation.modest == ("a",)
    assert isolation.mean_ttft_seconds == isolation.p99_ttft_seconds == 3
    assert isolation.served_share == 1


def test_a_refused_modest_tenant_is_not_isolated() -> None:
    """Half of what it asked for was refused, which its waits alone would hide."""
    records = [*_flood(20), served("a", 5, 5.1, 6), refused("a", 6)]
    assert measure_isolation(records, EQUAL).served_share == 0.5


def test_nobody_is_modest_where_all_ask_for_more_than_there_is() -> None:
    """Isolation cannot be measured in such a run."""
    records = [*_flood(20), *(served("a", i * 0.5, i + 0.9, i + 1.9) for i in range(20))]
    isolation = measure_isolation(records, EQUAL)
    assert isolation.modest == ()
    assert math.isnan(isolation.mean_ttft_seconds) and math.isnan(isolation.served_share)


def test_jain_is_taken_over_max_min_shares() -> None:
    """It is fair that a tenant asks for little and gets it, but not that one gets a third of an equal share."""
    modest = [*_flood(20), served("a", 5, 6, 7)]
    starved = [*_flood(20), *(served("a", i * 0.5, 3 * i + 0.5, 3 * i + 3.5) for i in range(20))]
    assert measure_jain(modest, EQUAL) == pytest.approx(1)
    assert measure_jain(starved, EQUAL) == pytest.approx((1.5 + 0.5) ** 2 / (2 * (1.5**2 + 0.5**2)), abs=0.02)


def test_shares_follow_the_weights() -> None:
    """Both tenants ask for more, so weights 1 and 3 divide the delivered cost 1 to 3."""
    records = [*_flood(40), *(served("a", i * 0.5, i + 0.5, i + 1.5) for i in range(40))]
    loaded = loaded_time(records)
    shares = loaded.shares({"a": 1.0, "b": 3.0})
    assert shares["b"] == pytest.approx(3 * shares["a"])
    assert sum(shares.values()) == pytest.approx(sum(loaded.received.values()))


@settings(deadline=None)
@given(RUNS)
def test_a_summary_accounts_for_every_request(records: list[Served]) -> None:
    """Endings and tokens of the tenants sum to those of the run, and each index keeps its bounds."""
    weights = dict.fromkeys("abc", 1.0)
    summary = summarise(records, 1000, weights)
    assert sum(t.requests for t in summary.tenants) == len(records)
    assert all(t.requests == t.completed + t.refused + t.left + t.unfinished for t in summary.tenants)
    assert sum(t.output_tokens for t in summary.tenants) == sum(record.output_tokens for record in records)
    assert summary.refused_share * len(records) == pytest.approx(sum(r.ending is Ending.REFUSED for r in records))
    assert math.isnan(summary.jain_index) or 1 / 3 - 1e-9 <= summary.jain_index <= 1 + 1e-9
    assert math.isnan(summary.isolation.served_share) or 0 <= summary.isolation.served_share <= 1
