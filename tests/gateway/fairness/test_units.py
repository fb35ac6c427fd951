"""The small parts: cost, predictors, estimates, limits, deadlines, the lazy heap against a naive model."""

import ast
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.fairness import PREDICTORS, Expression, KvTime, Linear, Profiled, TenantLimits, Ticket, TicketState
from gateway.fairness.buckets import Bucket, RateLevel
from gateway.fairness.cost import UNITS_PER_COST, CostFunction, request_cost, to_cost, to_units
from gateway.fairness.deadlines import Deadlines
from gateway.fairness.lazy_heap import LazyHeap, ranked
from gateway.fairness.limits import Allowance
from gateway.fairness.snapshot import jain_index
from gateway.usage import Usage


def expression(text: str) -> Expression:
    return Expression(text, ast.parse(text, mode="eval"))


@pytest.mark.parametrize(
    ("function", "tokens", "expected"),
    [
        (Linear(), (10, 0, 5), 20.0),
        (Linear(), (4, 6, 5), 20.0),
        (Linear(1.0, 2.0, 0.1), (4, 6, 5), 14.6),
        (Linear(3.0, 4.0), (10, 0, 5), 50.0),
        (Profiled(), (0, 0, 0), 0.0),
        (Profiled(), (256, 0, 256), 0.21 * 256 + 0.1008 * 256 + (0.003987 + 0.003247) * 256 * 256 + 1.146),
        (KvTime(), (10, 0, 4), 10 + 40 + 8),
        (expression("max(uncached_input, 1) + cached_input / 2 + output ** 2"), (4, 6, 5), 32.0),
        (expression("input + 2 * output"), (4, 6, 5), 20.0),
    ],
)
def test_cost_of_one_sequence(function: CostFunction, tokens: tuple[int, int, int], expected: float) -> None:
    """Each function by hand."""
    assert function(*tokens) == pytest.approx(expected)


@pytest.mark.parametrize("function", [Linear(), Linear(1, 2, 0.5), Profiled(), KvTime()])
def test_cost_is_monotone_and_never_negative(function: CostFunction) -> None:
    """One more token of any kind never costs less, and nothing costs nothing."""
    assert function(0, 0, 0) == 0
    for uncached in range(0, 50, 7):
        for cached in range(0, 50, 7):
            for output in range(0, 50, 7):
                cost = function(uncached, cached, output)
                assert cost <= function(uncached + 1, cached, output)
                assert cost <= function(uncached, cached + 1, output)
                assert cost <= function(uncached, cached, output + 1)


def test_sequences_share_the_tokens_evenly() -> None:
    """A request of n choices costs n sequences of a part each, not one of all: it matters for convex costs only."""
    usage = Usage(40, 8, 20)
    assert request_cost(Linear(), usage, 4) == request_cost(Linear(), usage, 1) == 80
    assert request_cost(KvTime(), usage, 4) == 4 * KvTime()(8, 2, 5)
    assert request_cost(Linear(1, 2, 0.5), Usage(10, 99, 0), 1) == 5.0


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(1e-3, 1e6))
def test_units_are_monotone_in_the_cost(small: float, large: float, weight: float) -> None:
    """The one rounding keeps order, so that a charge below its ceiling is below it in units too."""
    small, large = sorted((small, large))
    assert to_units(small, weight) <= to_units(large, weight)
    assert to_cost(to_units(small, 1.0)) == pytest.approx(small, abs=1e-6)


@given(st.floats(-1e13, 1e13), st.floats(1e-3, 1e6))
@example(0.5 / UNITS_PER_COST, 1.0)
@example(1.5 / UNITS_PER_COST, 1.0)
@example(2.0**51 / UNITS_PER_COST, 1.0)
def test_units_are_rounded_half_to_even(cost: float, weight: float) -> None:
    """As `round` does it, also where a counter outgrows what a float can hold a fraction of."""
    assert to_units(cost, weight) == round(cost * UNITS_PER_COST / weight)


@pytest.mark.parametrize(
    ("name", "seen", "most", "expected"),
    [
        ("none", [50] * 9, 100, 0),
        ("oracle", [], 100, 100),
        ("moving_average", [], 100, 0),
        ("moving_average", [10], 100, 10),
        ("moving_average", [10, 60], 100, 20),
        ("moving_average", [500], 100, 100),
        ("quantile", [], 100, 0),
        ("quantile", [10, 20, 4_000], 100, 20),
        ("quantile", [10, 20], 100, 10),
        ("quantile", [4_000], 100, 100),
        ("quantile", [90] * 32 + [5] * 32, 100, 5),
    ],
)
def test_predictions(name: str, seen: list[int], most: int, expected: int) -> None:
    """What each predictor reserves after the answers it has seen, within the request's maximum."""
    predictor = PREDICTORS[name](None)()
    for tokens in seen:
        predictor.observe(tokens)
    assert predictor.predict(most) == expected


def test_the_noisy_oracle_errs_evenly_and_repeats_itself() -> None:
    """Within the error, on both sides alike, all over the range; tenants differ; the next run is the same."""
    first, second = ([make() for _ in range(2)] for make in (PREDICTORS["noisy_oracle"](20.0) for _ in range(2)))
    drawn = [[predictor.predict(1_000) for _ in range(4_000)] for predictor in (*first, *second)]
    assert drawn[:2] == drawn[2:]
    assert sum(a == b for a, b in zip(*drawn[:2], strict=True)) < 100
    for lengths in drawn[:2]:
        assert 800 <= min(lengths) < 805
        assert 1_195 < max(lengths) <= 1_200
        assert sum(lengths) / len(lengths) == pytest.approx(1_000, abs=10)
        assert sum(length < 900 for length in lengths) / len(lengths) == pytest.approx(0.25, abs=0.03)


@given(st.lists(st.integers(0, 5_000), max_size=80))
def test_the_quantile_is_the_lower_median_of_the_last_32(seen: list[int]) -> None:
    """The sorted window is the window, sorted."""
    predictor = PREDICTORS["quantile"](None)()
    for tokens in seen:
        predictor.observe(tokens)
    window = sorted(seen[-32:])
    assert predictor.predict(10**6) == (window[(len(window) - 1) // 2] if window else 0)


def test_a_bucket_refills_and_never_overflows() -> None:
    """A minute's allowance; what is missing names the wait; giving back stops at the brim."""
    bucket = Bucket(60)
    assert bucket.wait_seconds(60, 0.0) == 0.0
    bucket.take(60, 0.0)
    assert bucket.wait_seconds(1, 0.0) == 1.0
    assert bucket.wait_seconds(1, 1.0) == 0.0
    assert bucket.wait_seconds(600, 1.0) == 59.0
    bucket.take(-1_000, 1.0)
    assert bucket.wait_seconds(60, 1.0) == 0.0
    assert bucket.wait_seconds(61, 1.0) == 0.0
    bucket.take(120, 1.0)
    assert bucket.wait_seconds(60, 1.0) == 60.0


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 30)), max_size=60))
def test_a_bucket_admits_no_more_than_its_rate(arrivals: list[tuple[float, int]]) -> None:
    """Over any run at most the allowance plus what was refilled, plus one request, gets through."""
    bucket, now, admitted = Bucket(60), 0.0, 0
    for pause, amount in arrivals:
        now += pause
        if bucket.wait_seconds(amount, now) == 0.0:
            bucket.take(amount, now)
            admitted += amount
    assert admitted <= 60 + now + 1e-6


def test_what_is_overdrawn_is_owed() -> None:
    """What nobody foresaw is paid off first. Then the next request comes, for a minute without use has sufficed."""
    bucket = Bucket(60)
    bucket.take(20, 0.0)
    bucket.take(80, 0.0)
    assert bucket.wait_seconds(1, 0.0) == 41.0
    assert bucket.wait_seconds(60, 0.0) == 60.0
    bucket.take(50, 0.0)
    assert bucket.wait_seconds(1, 0.0) == bucket.wait_seconds(60, 0.0) == 90.0
    bucket.take(-30, 0.0)
    assert bucket.wait_seconds(1, 0.0) == 60.0


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 60), st.integers(-60, 2_000)), max_size=60))
def test_a_rate_holds_whatever_is_expected(arrivals: list[tuple[float, int, int]]) -> None:
    """Over any run the tokens really used are at most the allowance, its refill, and the last request."""
    bucket, now, used, last = Bucket(60), 0.0, 0, 0
    for pause, expected, surprise in arrivals:
        now += pause
        if bucket.wait_seconds(expected, now) == 0.0:
            extra = max(surprise, -expected)
            bucket.take(expected, now)
            bucket.take(extra, now)
            used += expected + extra
            last = max(last, expected + extra)
    assert used <= 60 + now + last + 1e-6


@given(st.lists(st.tuples(st.floats(0, 90), st.integers(1, 200), st.integers(-60, 200)), max_size=20))
def test_who_owes_no_more_than_a_minute_waits_no_longer(arrivals: list[tuple[float, int, int]]) -> None:
    """A wait that is told suffices, and is beyond a minute only for a debt beyond an allowance."""
    bucket, now = Bucket(60), 0.0
    for pause, expected, surprise in arrivals:
        now += pause
        wait = bucket.wait_seconds(expected, now)
        assert bucket.wait_seconds(expected, now + wait + 1e-6) == pytest.approx(0.0, abs=1e-5)
        now += wait
        bucket.take(expected, now)
        bucket.take(max(0, surprise), now)
        owed = max(0.0, bucket.wait_seconds(0.0, now))
        assert bucket.wait_seconds(10**6, now) <= max(60.0, owed) + 1e-6


def test_what_is_left_of_a_rate() -> None:
    """Whole tokens, never less than none; a debt makes the way back to the full allowance longer."""
    bucket = Bucket(60)
    assert bucket.state(0.0) == RateLevel(60, 60, 0.0)
    bucket.take(30.5, 0.0)
    assert bucket.state(0.0) == RateLevel(60, 29, 30.5)
    bucket.take(60.0, 0.0)
    assert bucket.state(0.0) == RateLevel(60, 0, 90.5)
    assert bucket.state(40.0) == RateLevel(60, 9, 50.5)


def test_changed_limits_keep_the_level_of_an_unchanged_bucket() -> None:
    """A reload is no way to get a fresh allowance."""
    allowance = Allowance(TenantLimits(requests_per_minute=1))
    allowance.take(0.0, 0.0)
    allowance.change(TenantLimits(requests_per_minute=1, max_queued=3))
    assert allowance.refusal_seconds(0.0, 0.0) == 60.0
    assert allowance.count_request(0.0) == 60.0
    allowance.change(TenantLimits())
    assert allowance.count_request(0.0) is None


@pytest.mark.parametrize(
    ("limit", "in_flight", "sequences", "fits"),
    [(None, 99, 9, True), (4, 0, 9, True), (4, 3, 1, True), (4, 3, 2, False), (4, 4, 1, False)],
)
def test_places_in_flight(limit: int | None, in_flight: int, sequences: int, fits: bool) -> None:
    """Within the limit, or alone."""
    allowance = Allowance(TenantLimits(max_in_flight=limit))
    allowance.in_flight = in_flight
    assert allowance.has_flight_place(sequences) == fits


def test_deadlines_come_in_order_and_drop_who_left() -> None:
    """The earliest deadline of a request that still waits is due; others are dropped."""
    deadlines, tickets = Deadlines(), []
    for number in range(200):
        ticket = Ticket(str(number), "t", "k", "p")
        ticket.state, ticket.deadline = TicketState.QUEUED, float(200 - number)
        deadlines.watch(ticket, 1)
        tickets.append(ticket)
    for ticket in tickets[:150]:
        ticket.state = TicketState.LEFT
    assert deadlines.next() == 1.0
    assert deadlines.pop_due(0.5) is None
    due = []
    while (ticket := deadlines.pop_due(25.0)) is not None:
        due.append(ticket.deadline)
    assert due == [float(number) for number in range(1, 26)]
    assert deadlines.next() == 26.0


def test_a_ticket_watched_twice_is_due_once_at_the_later_word() -> None:
    """Watched again, under the same or another deadline, only the last one holds."""
    deadlines, ticket = Deadlines(), Ticket("r", "t", "k", "p")
    ticket.state = TicketState.QUEUED
    for deadline in (5.0, 5.0, 9.0):
        ticket.deadline = deadline
        deadlines.watch(ticket, 1)
    assert deadlines.next() == 9.0
    assert deadlines.pop_due(9.0) is ticket
    assert deadlines.next() is None


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_the_lazy_heap_agrees_with_a_naive_minimum(seed: int, size: int) -> None:
    """Keys may rise unnoticed and fall with notice; the top is always the true minimum."""
    random = Random(seed)
    keys = {item: random.randrange(50) for item in range(size)}
    heap: LazyHeap[int] = LazyHeap(lambda item: ranked(keys[item], item))
    live: set[int] = set()
    for _ in range(300):
        item = random.randrange(size)
        match random.randrange(6):
            case 0:
                heap.add(item)
                live.add(item)
            case 1:
                heap.discard(item)
                live.discard(item)
            case 2 | 3:
                keys[item] += random.randrange(20)
            case 4:
                keys[item] -= random.randrange(20)
                heap.lowered(item)
            case _:
                in_order = sorted(live, key=lambda one: (keys[one], one))
                assert heap.first() == next(iter(in_order), None)
                assert heap.least(3) == in_order[:3]
        assert len(heap) == len(live)
        assert set(heap) == live
        assert (item in heap) == (item in live)


def test_the_lazy_heap_stays_small() -> None:
    """Stale entries are dropped when they outnumber the live ones."""
    keys = dict.fromkeys(range(10), 1000000)
    heap: LazyHeap[int] = LazyHeap(lambda item: ranked(keys[item], item))
    for number in range(10_000):
        keys[number % 10] -= 1
        heap.add(number % 10)
        assert len(heap._entries) <= 2 * 10 + 64


def test_items_that_come_and_go_leave_no_entries_behind() -> None:
    """One that comes back with a key no lower than its entry's is found by that entry: nothing is to be swept."""
    keys = dict.fromkeys(range(10), 0)
    heap: LazyHeap[int] = LazyHeap(lambda item: ranked(keys[item], item))
    for item in keys:
        heap.add(item)
    for number in range(10_000):
        item = number % 10
        heap.discard(item)
        keys[item] += number % 3
        heap.add(item)
        assert len(heap._entries) == 10
    assert heap.first() == min(keys, key=lambda one: (keys[one], one))


@pytest.mark.parametrize(
    ("amounts", "expected"), [([], 1.0), ([0.0, 0.0], 1.0), ([5.0, 5.0, 5.0], 1.0), ([9.0, 0.0, 0.0], 1 / 3)]
)
def test_jain_index(amounts: list[float], expected: float) -> None:
    """The index is 1 if all are equal, and 1/n if one tenant has all."""
    assert jain_index(amounts) == pytest.approx(expected)
