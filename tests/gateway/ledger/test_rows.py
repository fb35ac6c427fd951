"""What a row says of a request."""

import pytest

from gateway.config import EndUsers, Prices
from gateway.ledger.rows import ORPHANED, QUARTER_US, Grant, Noted, money, orphan_of, row_of
from gateway.outcomes import Outcome

from .books import NOON, PRICES, ended, finished, open_request


def test_a_row_has_what_the_event_says() -> None:
    """Figures are integers: microseconds, tokens, billionths."""
    row = row_of(ended(estimated_tokens=3, lost_prompt_tokens=100, lost_output_tokens=8))
    assert (row.tenant, row.key, row.pool, row.worker, row.outcome) == ("alice", "main", "tiny", "w0", "completed")
    assert (row.granted_us, row.ended_us) == (int(NOON * 1e6), int((NOON + 1.5) * 1e6))
    assert (row.prompt_tokens, row.cached_tokens, row.output_tokens, row.estimated_tokens) == (100, 40, 50, 3)
    assert (row.lost_prompt_tokens, row.lost_output_tokens) == (100, 8)
    assert (row.queue_us, row.ttft_us, row.duration_us, row.worker_us) == (250_000, 500_000, 1_500_000, 750_000)
    assert row.cost == 200.0


@pytest.mark.parametrize(
    ("granted", "at", "quarter"),
    [(NOON, NOON + 1, NOON), (NOON - 0.001, NOON + 1, NOON - 900), (None, NOON, NOON), (NOON, NOON + 5000, NOON)],
)
def test_a_request_belongs_to_the_quarter_of_its_grant(granted: float | None, at: float, quarter: float) -> None:
    """However late it ends; a request without a grant belongs to that of its end."""
    assert row_of(ended(granted=granted, at=at)).quarter == quarter * 1e6 // QUARTER_US


@pytest.mark.parametrize(
    ("prices", "nano"),
    [
        (PRICES, 60 * 500 + 40 * 100 + 50 * 2000 + 750_000),
        (Prices(prompt=0.5), 100 * 500),
        (Prices(worker_hour=3600), 750_000_000),
        (None, 0),
    ],
)
def test_money_is_what_the_prices_say(prices: Prices | None, nano: int) -> None:
    """Cached tokens cost as others if they have no price of their own; an hour at 3.60 costs 1 for each 1000 s."""
    found = money(prices, finished(), 0.75)
    assert found.total_nano == nano
    worker_nano = 0 if prices is None else round(0.75 / 3600 * prices.worker_hour * 1e9)
    assert found.prompt_nano + found.cached_nano + found.output_nano + worker_nano == nano


def test_an_orphan_says_what_was_known() -> None:
    """A request whose gateway was killed has what it had used when it was noted last."""
    row = orphan_of(Noted(open_request(), Grant(NOON, PRICES), NOON + 2))
    assert (row.outcome, row.prompt_tokens, row.output_tokens, row.worker_us) == (ORPHANED, 100, 7, 500_000)
    assert (row.ended_us, row.money_nano) == (int((NOON + 2) * 1e6), 100 * 500 + 7 * 2000 + 500_000)


@pytest.mark.parametrize(
    ("end_users", "text"),
    [(EndUsers.HASHED, "0123456789abcdef"), (EndUsers.PLAIN, "erika?"), (EndUsers.OFF, "")],
)
def test_an_end_user_is_named_as_configured(end_users: EndUsers, text: str) -> None:
    """In both kinds of row; what no file can hold is replaced."""
    name = "erika\ud800"
    noted = Noted(open_request(end_user_name=name), Grant(NOON, None), NOON)
    assert row_of(ended(end_user_name=name), end_users=end_users).end_user == text
    assert orphan_of(noted, end_users=end_users).end_user == text


def test_orphaned_is_no_other_ending() -> None:
    """No request that ends by itself is called so."""
    assert ORPHANED not in {outcome.value for outcome in Outcome}
