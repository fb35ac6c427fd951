"""Whose budgets a request draws on; what a reload keeps, what the ledger adds, what is forgotten."""

from math import inf

import pytest
from uncompiled import needs_sources

from gateway.accounts import Accounts, Owner, Period, Scope, Unit, accounts, span_of

from .budgets import NOON, UTC, budget, ignore, terms
from .budgets import accounts as with_budgets

START = span_of(Period.DAY, UTC, NOON).start


def test_a_request_draws_on_every_budget_of_its_path() -> None:
    """The tenant's, its key's and its end user's; one that names no end user has none of that kind."""
    known = with_budgets(alice=[terms(1), terms(2, scope=Scope.KEY), terms(3, scope=Scope.END_USER)], bob=[])
    owners = [each.owner for each in known.of("alice", "k", "u")]
    assert owners == [Owner("alice"), Owner("alice", "k"), Owner("alice", "", "u")]
    assert [each.owner for each in known.of("alice", "k", "")] == owners[:2]
    assert known.of("alice", "k", "u")[1] is known.of("alice", "k", "v")[1]
    assert known.of("alice", "k", "u")[1] is not known.of("alice", "l", "u")[1]
    assert not known.of("bob", "k", "u")
    assert "alice" in known
    assert "bob" not in known


def test_a_reload_keeps_what_counts_alike() -> None:
    """Another amount keeps what was counted; another unit or period is a budget of which the past is unknown."""
    known = with_budgets(alice=[terms(1000)])
    (one,) = known.of("alice", "k", "")
    one.tally.settled = 600
    known.configure("alice", [terms(500)])
    assert known.of("alice", "k", "") == (one,)
    assert one.left == -100
    assert not list(known.unknown())
    other = terms(500, unit=Unit.COST_UNITS)
    known.configure("alice", [terms(500), other])
    assert list(known.unknown()) == [("alice", other)]
    known.configure("alice", [])
    assert "alice" not in known
    assert one.left == inf, "what waits for a budget that was removed waits no longer"


def test_what_was_used_before_counts_once() -> None:
    """The ledger's sums are added when they come, to budgets that exist and to those that follow."""
    known, entry = Accounts(ignore), terms(1000, scope=Scope.KEY)
    known.now = NOON
    known.configure("alice", [entry])
    (early,) = known.of("alice", "k", "")
    assert not early.is_known
    known.load("alice", entry, START, {Owner("alice", "k"): {"": 300.0}, Owner("alice", "l"): {"": 200.0}})
    known.load("alice", entry, START, {Owner("alice", "k"): {"": 300.0}})
    (late,) = known.of("alice", "l", "")
    (fresh,) = known.of("alice", "m", "")
    assert [each.left for each in (early, late, fresh)] == [700, 800, 1000]
    assert all(each.is_known for each in known.all())


def test_what_was_used_in_another_period_does_not_count() -> None:
    """Sums that were read before midnight are those of yesterday."""
    known, entry = Accounts(ignore), terms(1000)
    known.now = NOON
    known.configure("alice", [entry])
    known.load("alice", entry, START - 86_400, {Owner("alice"): {"": 300.0}})
    assert known.of("alice", "k", "")[0].left == 1000


@needs_sources
def test_made_up_end_users_share_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound further names gain nothing; when a period is over their budgets make room."""
    monkeypatch.setattr(accounts, "MAX_END_USERS", 3)
    known = with_budgets(alice=[terms(100, scope=Scope.END_USER)])
    first = [known.of("alice", "k", f"u{number}")[0] for number in range(3)]
    others = {id(known.of("alice", "k", f"u{number}")[0]) for number in range(3, 9)}
    assert len(others) == 1
    assert known.of("alice", "k", "u1") == (first[1],)
    known.now = NOON + 86_400
    assert known.of("alice", "k", "u99")[0].owner == Owner("alice", "", "u99")


def test_thresholds_are_told_once_in_a_period() -> None:
    """80 and 100 per cent each once, the higher alone if both come together, and anew in the next period."""
    one = budget(100)
    one.tally.settled = 79.0
    assert one.newly_reached() == one.newly_reached(is_at_limit=True) == 0, "one request too large says little"
    one.tally.settled = 85.0
    assert [one.newly_reached(), one.newly_reached()] == [80, 0]
    assert [one.newly_reached(is_at_limit=True), one.newly_reached(is_at_limit=True)] == [100, 0]
    one.turn(NOON + 86_400)
    one.tally.settled = 100.0
    assert [one.newly_reached(), one.newly_reached()] == [100, 0]


def test_when_a_budget_starts_again_is_a_time_of_its_zone() -> None:
    """A client reads when to come back."""
    assert budget().ends == "2026-12-01T00:00:00+00:00"
