"""The rule of five lines, case by case, over several budgets and in every unit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts import Budget, Need, Tariff, TokenPrices, Unit, Verdict, decide
from gateway.fairness.cost import KvTime, Linear, Profiled, spread_cost

from .budgets import TARIFF, budget, claim

USUAL = 300


@pytest.mark.parametrize(
    ("amount", "settled", "reserved", "asked", "verdict", "granted"),
    [
        (1000, 0, 0, 990, Verdict.RUN, 990),  # 1: all of it fits
        (1000, 0, 1, 990, Verdict.RUN, USUAL),  # 2: as much as usual fits
        (1000, 0, 700, 990, Verdict.WAIT, 0),  # 3: less fits, and something comes back
        (1000, 700, 0, 990, Verdict.RUN, 290),  # 4: what is left
        (1000, 974, 0, 990, Verdict.RUN, 16),
        (1000, 975, 0, 990, Verdict.AT_LIMIT, 0),  # 5: used up
        (1000, 975, 25, 990, Verdict.AT_LIMIT, 0),  # whatever comes back
        (1000, 974, 26, 990, Verdict.WAIT, 0),
        (1000, 985, 0, 5, Verdict.RUN, 5),  # a short answer is not lengthened
        (1000, 986, 0, 5, Verdict.AT_LIMIT, 0),
        (1000, 1200, 0, 5, Verdict.AT_LIMIT, 0),  # the amount was lowered
    ],
)
def test_the_five_lines(amount: int, settled: int, reserved: int, asked: int, verdict: Verdict, granted: int) -> None:
    """Each line, and the places where one passes into the next."""
    one = budget(amount)
    one.tally.settled = settled
    if reserved:
        one.tally.reserve(reserved)
    ruling = decide([one], Need(10, asked), TARIFF, USUAL)
    assert (ruling.verdict, ruling.output_tokens) == (verdict, granted)


def test_an_answer_that_cannot_be_shortened_is_refused_near_the_end() -> None:
    """Beam search, `best_of` and a `min_tokens` above what is left get all that they ask for, or nothing."""
    need = Need(10, 500, 1, 500)
    assert decide([budget(510)], need, TARIFF, USUAL).verdict is Verdict.RUN
    assert decide([budget(509)], need, TARIFF, USUAL).verdict is Verdict.AT_LIMIT


def test_what_generates_nothing_needs_its_prompt() -> None:
    """An embedding runs if its prompt fits."""
    need = Need(100, 0, 1, 0)
    assert decide([budget(100)], need, TARIFF, USUAL).verdict is Verdict.RUN
    assert decide([budget(99)], need, TARIFF, USUAL).verdict is Verdict.AT_LIMIT


def test_the_tightest_budget_decides() -> None:
    """A day with plenty left does not help in an hour that is used up, and a wait in vain is not begun."""
    day, hour = budget(10_000), budget(1000)
    hour.tally.settled = 800
    ruling = decide([day, hour], Need(10, 5000), TARIFF, USUAL)
    assert ruling == (Verdict.RUN, 190, hour)
    day.tally.reserve(9900)
    assert decide([day, hour], Need(10, 5000), TARIFF, USUAL) == (Verdict.WAIT, 0, day)
    hour.tally.settled = 990
    assert decide([day, hour], Need(10, 5000), TARIFF, USUAL).verdict is Verdict.AT_LIMIT


def test_a_budget_whose_past_is_unknown_decides_nothing() -> None:
    """Until somebody has read what was used, nobody knows what is left."""
    one = Budget(budget().owner, budget().terms, 0.0, is_known=False)
    assert decide([one], Need(1, 1), TARIFF, USUAL).verdict is Verdict.UNKNOWN


costs = st.sampled_from([Linear(), Linear(1.0, 2.0, 3.0), Profiled(), KvTime()])


@given(
    cost=costs,
    unit=st.sampled_from(Unit),
    amount=st.floats(0, 1e7),
    prompt=st.integers(1, 5000),
    asked=st.integers(16, 5000),
    sequences=st.integers(1, 4),
    usual=st.integers(0, 3000),
)
def test_what_may_run_fits_and_is_the_longest_that_does(
    cost: Linear, unit: Unit, amount: float, prompt: int, asked: int, sequences: int, usual: int
) -> None:
    """In every unit the reservation fits; an answer cut to what is left could not be a token longer."""
    tariff = Tariff(
        lambda fresh, cached, output, n: spread_cost(cost, fresh, cached, output, n), TokenPrices(0.5, 0.1, 1.5)
    )
    one = budget(amount, unit=unit)
    ruling = decide([one], Need(prompt, asked, sequences), tariff, usual)

    def most(output: int) -> float:
        return tariff.most(unit, prompt, output * sequences, sequences)

    if ruling.verdict is Verdict.RUN:
        assert most(ruling.output_tokens) <= amount
        if ruling.output_tokens < min(asked, max(256, usual)):
            assert most(ruling.output_tokens + 1) > amount
    else:
        assert ruling.verdict is Verdict.AT_LIMIT
        assert most(16) > amount


def test_a_claim_that_fits_whole_says_so() -> None:
    """Only then the prompt need not be counted exactly."""
    assert claim(budget(110)).fits_whole
    assert not claim(budget(109)).fits_whole
