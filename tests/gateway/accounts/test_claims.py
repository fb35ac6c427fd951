"""A budget never gives more than it has, whatever requests do: drawn stories, and a control that lets go too early."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.accounts import Budget, Claim, Need, Tariff, TokenPrices, Unit, Verdict
from gateway.usage import Usage

from .budgets import budget, claim, claim_of

steps = st.lists(
    st.tuples(st.integers(1, 400), st.integers(0, 900), st.integers(1, 3), st.floats(0, 1.5), st.integers(0, 6)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=200)
@given(story=steps, day=st.integers(500, 3000), hour=st.integers(300, 1500))
def test_no_story_takes_more_than_the_amount(
    story: list[tuple[int, int, int, float, int]], day: int, hour: int
) -> None:
    """Settled and reserved never exceed an amount, an excess is not charged, and at the end nothing is open."""
    budgets = (budget(day), budget(hour))
    running: list[tuple[Claim, float]] = []
    for prompt, output, sequences, part, ends in story:
        new = claim_of(budgets, Need(prompt, output, sequences))
        if new.judge(300) is Verdict.RUN:
            new.reserve()
            running.append((new, part))
        for _ in range(min(ends, len(running))):
            _end(*running.pop(0))
        assert all(each.tally.settled + each.tally.reserved <= each.terms.amount for each in budgets)
        assert all(each.tally.reservations == len(running) for each in budgets)
    for each in running:
        _end(*each)
    assert all(each.tally.reserved == 0 for each in budgets)


def _end(ended: Claim, part: float) -> None:
    """The engine has used so large a part of what it might; a lying one more than all."""
    need = ended.need
    usage = Usage(int(need.prompt_tokens * part), 0, int(ended.output_tokens * need.sequences * part))
    reserved = need.prompt_tokens + ended.output_tokens * need.sequences
    ended.settle(usage)
    assert (ended.accounts.excesses > 0) == (usage.prompt_tokens + usage.output_tokens > reserved)


def test_a_claim_is_settled_once() -> None:
    """A second settlement changes nothing, and a refund leaves nothing behind."""
    one = budget(1000)
    first = claim(one)
    assert first.judge(300) is Verdict.RUN
    first.reserve()
    assert one.left == 890
    first.settle(Usage(10, 0, 50))
    first.settle(Usage(10, 0, 50))
    assert (one.tally.settled, one.tally.reserved, one.tally.reservations) == (60, 0, 0)
    second = claim(one)
    assert second.judge(300) is Verdict.RUN
    second.reserve()
    second.settle(None)
    assert (one.tally.settled, one.tally.reserved) == (60, 0)


def test_a_reservation_belongs_to_the_period_of_its_grant() -> None:
    """What ends after midnight is not charged to the new day, which has its whole amount at once."""
    one = budget(1000)
    late = claim(one)
    assert late.judge(300) is Verdict.RUN
    late.reserve()
    early = claim(one, output=990)
    early.accounts.now += 86_400
    assert early.judge(300) is Verdict.RUN
    late.settle(Usage(10, 0, 100))
    assert (one.tally.settled, one.tally.reserved) == (0, 0)


def test_rounding_leaves_nothing_reserved() -> None:
    """When the last reservation ends nothing is reserved, so that nobody waits for a rounding to come back."""
    one = budget(1.0)
    for part in (0.1, 0.2, 0.3):
        one.tally.reserve(part)
    for part in (0.1, 0.2, 0.3):
        one.tally.settle(part, 0.0)
    assert one.tally.reserved == 0.0


def test_rounding_is_no_excess() -> None:
    """Tokens of which a part was cached may come to a little more than all of them at once."""
    one = budget(1e12, unit=Unit.MONEY)
    prices = TokenPrices(0.1, 0.1, 0.1)
    tariff = Tariff(lambda fresh, cached, output, sequences: 0.0, prices)
    for cached in range(10):
        made = claim(one)
        of_money = Claim(made.accounts, (one,), Need(1000, 100), tariff)
        assert of_money.judge(300) is Verdict.RUN
        of_money.reserve()
        of_money.settle(Usage(1000, cached, 100))
        assert made.accounts.excesses == 0


def test_an_exact_count_replaces_the_bound() -> None:
    """An engine that has counted the prompt leaves less reserved for it, and says how long the answer may get."""
    one = claim(budget(1000), prompt=900, output=2000)
    one.state_prompt(100, 700)
    assert one.judge(300) is Verdict.RUN
    assert (one.need.prompt_tokens, one.output_tokens, one.is_shortened) == (100, 700, False)


LENGTHS = [40 + 37 * number % 160 for number in range(100)]  # tokens of a hundred answers


def _play(one: Budget, *, reserves: bool = True) -> tuple[int, int, int]:
    """A hundred requests at once: how many run, how many of them are cut, and what they use in all."""
    waiting, running = [(claim(one, output=2000), length) for length in LENGTHS], list[tuple[Claim, int]]()
    served = cut = used = 0
    while waiting or running:
        while waiting:
            verdict = waiting[0][0].judge(400) if reserves or one.left > 0 else Verdict.AT_LIMIT
            if verdict is Verdict.WAIT:
                break
            head = waiting.pop(0)
            if verdict is Verdict.RUN:
                if reserves:
                    head[0].reserve()
                running.append(head)
        if running:
            ended, length = running.pop(0)
            output = min(length, ended.output_tokens)
            served, cut, used = served + 1, cut + (output < length), used + 10 + output
            ended.settle(Usage(10, 0, output))
            one.tally.settled += 0 if reserves else 10 + output
    return served, cut, used


def test_a_hundred_requests_for_ten_ones_worth() -> None:
    """The amount is used to the last few tokens, never passed, and hardly an answer is cut."""
    served, cut, used = _play(budget(1300))
    assert 0.97 * 1300 <= used <= 1300
    assert served >= 10
    assert cut <= 0.15 * served


def test_charging_at_the_end_is_no_budget() -> None:
    """The control: who charges an answer when it ends has let all others begin meanwhile."""
    _, _, used = _play(budget(1300), reserves=False)
    with pytest.raises(AssertionError):
        assert used <= 1300
