"""Estimators by themselves: they find what is there, keep within limits, and no single observation moves them far."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.learned.centre import Ratio
from gateway.learned.line import Line, Range
from gateway.learned.panel import MAX_TENANTS, MAX_VOTERS, Figures, Panel

LIMITS = Range(knee=1000.0, least_slope=0.01, most_slope=1.0, most_constant=4000.0)
PAIRS = st.lists(st.tuples(st.floats(0, 1e12), st.floats(0, 1e15)), max_size=80)


def ratio(first: float = 20.0) -> Ratio:
    """A decode rate."""
    return Ratio(first, 1.0, (0.05, 2000.0))


def line() -> Line:
    """Tokens of a prompt."""
    return Line(LIMITS, 0.0, 0.3)


def at(estimator: Line, x: float) -> float:
    """What `estimator` gives for `x`."""
    constant, slope = estimator.figures
    return constant + slope * x


@given(PAIRS)
def test_a_ratio_keeps_within_its_limits(pairs: Sequence[tuple[float, float]]) -> None:
    """The ratio stays within its limits, whatever is observed, even nonsense."""
    estimator = ratio()
    for x, y in pairs:
        estimator.observe(x, y)
        assert 0.05 * (1 - 1e-9) <= estimator.value <= 2000.0 * (1 + 1e-9)


@given(PAIRS)
def test_a_line_keeps_within_its_limits(pairs: Sequence[tuple[float, float]]) -> None:
    """Slope and constant stay possible, whatever is observed."""
    estimator = line()
    for x, y in pairs:
        estimator.observe(x, y)
        constant, slope = estimator.figures
        assert 0.0 <= constant <= LIMITS.most_constant
        assert LIMITS.least_slope <= slope <= LIMITS.most_slope


def test_a_ratio_weighs_by_the_denominator() -> None:
    """Twenty bursts of a millisecond weigh less than one answer of ten seconds."""
    estimator = ratio()
    for _ in range(40):
        estimator.observe(10.0, 500.0)
    for _ in range(20):
        estimator.observe(0.001, 50.0)
    assert estimator.value == pytest.approx(50.0, rel=0.05)


@given(st.floats(0.001, 1e6), st.floats(0, 1e9))
def test_one_observation_moves_a_settled_ratio_little(x: float, y: float) -> None:
    """One observation counts for at most two usual ones of some twenty, and within the ratio's limits."""
    estimator = ratio()
    for _ in range(100):
        estimator.observe(4.0, 200.0)
    estimator.observe(x, y)
    assert 50.0 * 0.89 <= estimator.value <= 50.0 + 0.11 * (2000.0 - 50.0)


def test_a_ratio_follows_a_change() -> None:
    """After some fifty observations the old speed is forgotten."""
    estimator = ratio()
    for rate in (100.0, 10.0):
        for _ in range(60):
            estimator.observe(2.0, 2.0 * rate)
    assert estimator.value == pytest.approx(10.0, rel=0.5)
    for _ in range(60):
        estimator.observe(2.0, 20.0)
    assert estimator.value == pytest.approx(10.0, rel=0.03)


@given(st.floats(0, 200), st.floats(0.05, 0.9), st.integers(0, 3))
def test_a_line_is_found_from_prompts_on_both_sides(constant: float, slope: float, shift: int) -> None:
    """Short prompts show the constant and long prompts the slope, in any order."""
    estimator = line()
    for number in range(200):
        x = 30.0 if (number + shift) % 4 else 20_000.0
        estimator.observe(x, constant + slope * x)
    assert at(estimator, 20_000.0) == pytest.approx(constant + 20_000 * slope, rel=0.05)
    assert at(estimator, 2.0) == pytest.approx(constant + 2 * slope, abs=2.0)


def test_short_ones_do_not_wipe_out_what_long_ones_taught() -> None:
    """Each group forgets by its own observations only."""
    estimator = line()
    for _ in range(100):
        estimator.observe(20_000.0, 5_000.0)
    for _ in range(10_000):
        estimator.observe(2.0, 30.0)
    assert at(estimator, 20_000.0) == pytest.approx(5_000, rel=0.03)
    assert at(estimator, 2.0) == pytest.approx(30, abs=1)


def test_centres_close_to_one_another_make_no_wild_slope() -> None:
    """The denominator has a floor: noise between 995 and 1,005 bytes does not change the estimate at 20,000."""
    estimator = line()
    for _ in range(100):
        estimator.observe(995.0, 200.0)
        estimator.observe(1005.0, 320.0)
    assert at(estimator, 20_000.0) <= 20_000 * 0.6


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_one_observation_moves_a_settled_line_little(x: float, y: float) -> None:
    """One observation moves the line by at most a tenth of what its limits would allow."""
    estimator = line()
    for _ in range(100):
        estimator.observe(20_000.0, 5_000.0)
        estimator.observe(100.0, 30.0)
    before = at(estimator, 20_000.0)
    estimator.observe(x, y)
    assert abs(at(estimator, 20_000.0) - before) <= 0.12 * LIMITS.most_slope * 20_000.0 + 0.06 * LIMITS.most_constant


def panel(*, first_votes: bool = True) -> Panel[Ratio]:
    """Rates by tenant that begin at 20."""

    def make(figures: Figures) -> Ratio:
        return ratio(figures[0])

    return Panel(make, (20.0,), first_votes=first_votes)


def teach(estimators: Panel[Ratio], tenant: str, rate: float, times: int = 60) -> None:
    """Let `tenant` have that rate."""
    for _ in range(times):
        estimators.observed(tenant).observe(1.0, rate)


@given(st.lists(st.floats(0.1, 2000.0), min_size=1, max_size=60))
def test_no_tenant_moves_the_figures_of_another(rates: Sequence[float]) -> None:
    """A tenant with an estimator of its own keeps it, whatever others do."""
    estimators = panel()
    teach(estimators, "bob", 100.0)
    before = estimators.figures("bob")
    for rate in rates:
        estimators.observed("alice").observe(5.0, rate * 5.0)
    assert estimators.figures("bob") == before


@pytest.mark.parametrize("liar", [0.05, 2000.0])
def test_one_liar_does_not_move_what_a_newcomer_starts_from(liar: float) -> None:
    """A newcomer starts from the median of three tenants; each counts once, however often it comes."""
    estimators = panel(first_votes=False)
    for tenant, rate in (("a", 100.0), ("b", 110.0)):
        teach(estimators, tenant, rate)
    teach(estimators, "liar", liar, times=1_000)
    assert 99.0 <= estimators.figures("newcomer")[0] <= 111.0


def test_a_single_tenant_does_not_raise_a_newcomers_figure_where_the_first_guess_votes() -> None:
    """If there are two middle votes, the lower one counts."""
    estimators = panel()
    teach(estimators, "alice", 1000.0)
    assert estimators.figures("bob") == (20.0,)


def test_a_newcomer_learns_from_where_the_others_are() -> None:
    """A tenant's own estimator begins at the median and moves to what the tenant shows."""
    estimators = panel(first_votes=False)
    for tenant in "abc":
        teach(estimators, tenant, 200.0)
    estimators.observed("d").observe(1.0, 50.0)
    assert 100.0 < estimators.figures("d")[0] < 200.0
    teach(estimators, "d", 50.0)
    assert estimators.figures("d")[0] == pytest.approx(50.0, rel=0.1)


def test_what_was_never_observed_has_no_vote() -> None:
    """Tenants that send only greetings have no vote on the slope."""

    def make(figures: Figures) -> Line:
        return Line(LIMITS, figures[0], figures[1])

    estimators: Panel[Line] = Panel(make, (0.0, 0.3), first_votes=False)
    for number in range(5):
        estimators.observed(f"greeter{number}").observe(2.0, 30.0)
    for _ in range(60):
        estimators.observed("reader").observe(40_000.0, 4_000.0)
    assert estimators.figures("newcomer")[1] == pytest.approx(0.1, rel=0.1)


def test_tenants_are_forgotten_beyond_the_bound() -> None:
    """The tenant whose last observation is oldest is forgotten, and the median is over the most recent ones."""
    estimators = panel(first_votes=False)
    for number in range(MAX_TENANTS):
        estimators.observed(f"t{number}").observe(1.0, 20.0)
    estimators.observed("t0").observe(1.0, 20.0)
    estimators.observed("new").observe(1.0, 20.0)
    assert len(estimators) == MAX_TENANTS
    for number in range(MAX_VOTERS):
        teach(estimators, f"late{number}", 300.0)
    assert estimators.common()[0] == pytest.approx(300.0, rel=0.1)
