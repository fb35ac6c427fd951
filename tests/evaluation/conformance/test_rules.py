"""The rules judge numbers worked out by hand: each margin is met, is missed, and has nothing to judge."""

import math
from collections.abc import Mapping

import pytest

from evaluation.conformance import rules
from evaluation.conformance.observation import Observed, Received, Refusal
from evaluation.conformance.rules import Judgement, ScenarioOutcome

EQUAL = {"a": 1.0, "b": 1.0}
ERROR = '{"error": {"message": "come again", "type": "rate_limit_error"}}'
PROPER = Refusal(429, "2", ERROR)


def observed(services: Mapping[str, float], seconds: float = 10.0) -> Observed:
    """Tenants that received so much."""
    return Observed(seconds, {name: Received(service=service, sent=10) for name, service in services.items()})


def verdict(judgement: Judgement) -> tuple[ScenarioOutcome, float | None]:
    """Outcome and number."""
    return judgement.outcome, None if judgement.number is None else round(judgement.number, 6)


@pytest.mark.parametrize(
    ("services", "weights", "expected"),
    [
        ({"a": 100.0, "b": 100.0}, EQUAL, (ScenarioOutcome.PASSED, 1.0)),
        ({"a": 100.0, "b": 200.0}, EQUAL, (ScenarioOutcome.PASSED, 2.0)),
        ({"a": 100.0, "b": 201.0}, EQUAL, (ScenarioOutcome.FAILED, 2.01)),
        ({"a": 100.0, "b": 600.0}, {"a": 1.0, "b": 3.0}, (ScenarioOutcome.PASSED, 2.0)),
        ({"a": 300.0, "b": 300.0}, {"a": 1.0, "b": 3.0}, (ScenarioOutcome.FAILED, 3.0)),
        ({"a": 100.0, "b": 0.0}, EQUAL, (ScenarioOutcome.FAILED, math.inf)),
        ({"a": 0.0, "b": 0.0}, EQUAL, (ScenarioOutcome.FAILED, None)),
    ],
)
def test_shares(
    services: dict[str, float], weights: dict[str, float], expected: tuple[ScenarioOutcome, float | None]
) -> None:
    """The largest service per weight is at most twice the smallest."""
    assert verdict(rules.judge_shares(rules.SHARE, observed(services), weights)) == expected


@pytest.mark.parametrize(
    ("weights", "equal_is"),
    [({"a": 1.0, "b": 2.0}, ScenarioOutcome.FAILED), ({"a": 1.0, "b": 9.0}, ScenarioOutcome.FAILED)],
)
def test_equal_shares_never_pass_for_weighted_ones(weights: dict[str, float], equal_is: ScenarioOutcome) -> None:
    """However close the weights, who ignores them fails, and who obeys them passes."""
    margin = rules.by_weight(weights)
    assert rules.judge_shares(margin, observed({"a": 100.0, "b": 100.0}), weights).outcome is equal_is
    obeyed = {name: 100 * weight for name, weight in weights.items()}
    assert verdict(rules.judge_shares(margin, observed(obeyed), weights)) == (ScenarioOutcome.PASSED, 1.0)


@pytest.mark.parametrize(
    ("services", "expected"),
    [
        # 1,000 delivered, a asked for 200: due are 200, and 400 to each of the others.
        ({"a": 200.0, "b": 400.0, "c": 400.0}, (ScenarioOutcome.PASSED, 1.0)),
        ({"a": 100.0, "b": 450.0, "c": 450.0}, (ScenarioOutcome.PASSED, 0.5)),
        ({"a": 98.0, "b": 451.0, "c": 451.0}, (ScenarioOutcome.FAILED, 0.49)),
        ({"a": 200.0, "b": 640.0, "c": 160.0}, (ScenarioOutcome.FAILED, 0.4)),
    ],
)
def test_unequal_demand(services: dict[str, float], expected: tuple[ScenarioOutcome, float]) -> None:
    """Everybody gets at least half of the max-min share of what was delivered."""
    asked = {"a": 200.0, "b": math.inf, "c": math.inf}
    weights = dict.fromkeys(services, 1.0)
    assert verdict(rules.judge_due(observed(services), asked, weights)) == expected


@pytest.mark.parametrize(
    ("suspect", "other", "expected"),
    [
        (100.0, 100.0, (ScenarioOutcome.PASSED, 1.0)),
        (10.0, 100.0, (ScenarioOutcome.PASSED, 0.1)),
        (200.0, 100.0, (ScenarioOutcome.PASSED, 2.0)),
        (210.0, 100.0, (ScenarioOutcome.FAILED, 2.1)),
        (100.0, 0.0, (ScenarioOutcome.FAILED, math.inf)),
    ],
)
def test_a_gain_is_one_sided(suspect: float, other: float, expected: tuple[ScenarioOutcome, float]) -> None:
    """Who loses by its own trick is nobody's concern; who wins is."""
    seen = observed({"a": suspect, "b": other})
    assert verdict(rules.judge_gain(rules.LEAVER, seen, EQUAL, "a", "b")) == expected


def test_many_keys_fail_where_each_key_has_a_share() -> None:
    """Two keys with a share each are twice one: beyond the margin of 1.41; one share among them is within it."""
    each = observed({"a": 200.0, "b": 100.0})
    assert rules.judge_gain(rules.by_keys(2), each, EQUAL, "a", "b").outcome is ScenarioOutcome.FAILED
    one = observed({"a": 100.0, "b": 100.0})
    assert rules.judge_gain(rules.by_keys(2), one, EQUAL, "a", "b").outcome is ScenarioOutcome.PASSED


def _waits(alone: float, beside: float, answer: float, refused: int = 0, least: float = 0.01) -> Judgement:
    refusals = (PROPER,) * refused
    own = Received(service=10, sent=3, ttft_seconds=(beside, beside, 99.0)[: 3 - refused], refusals=refusals)
    crowd = Received(service=100, sent=9, run_seconds=(answer, answer, answer))
    quiet = Observed(5.0, {"m": Received(service=10, sent=3, ttft_seconds=(alone, alone, 99.0))})
    return rules.judge_wait("m", quiet, Observed(10.0, {"m": own, "f": crowd}), "f", least)


@pytest.mark.parametrize(
    ("alone", "beside", "answer", "expected"),
    [
        (0.1, 0.1, 0.5, (ScenarioOutcome.PASSED, 0.0)),
        (0.1, 0.6, 0.5, (ScenarioOutcome.PASSED, 1.0)),
        (0.1, 1.1, 0.5, (ScenarioOutcome.PASSED, 2.0)),
        (0.1, 1.2, 0.5, (ScenarioOutcome.FAILED, 2.2)),
        (0.3, 0.1, 0.5, (ScenarioOutcome.PASSED, 0.0)),
    ],
)
def test_isolation_counts_the_added_wait_in_answers(
    alone: float, beside: float, answer: float, expected: tuple[ScenarioOutcome, float]
) -> None:
    """The median wait that the flood adds, over what one of its answers takes; one stall does not decide."""
    assert verdict(_waits(alone, beside, answer)) == expected


def test_a_refused_modest_tenant_is_not_isolated() -> None:
    """However fast the rest was."""
    judgement = _waits(0.1, 0.1, 0.5, refused=1)
    assert judgement.outcome is ScenarioOutcome.FAILED
    assert "1 of 3 modest requests" in judgement.reason


def test_answers_in_one_piece_take_what_the_ramp_says() -> None:
    """A flood whose answers show no run is measured by the time that an answer takes without waiting."""
    assert verdict(_waits(0.1, 0.6, 0.0, least=0.5)) == (ScenarioOutcome.PASSED, 1.0)
    assert verdict(_waits(0.1, 1.6, 0.0, least=0.5)) == (ScenarioOutcome.FAILED, 3.0)


def test_isolation_needs_a_flood() -> None:
    """Where no answer of the flood came, nothing was compared."""
    quiet = Observed(5.0, {"m": Received(service=10, sent=3, ttft_seconds=(0.1,))})
    beside = Observed(5.0, {"m": Received(service=10, sent=3, ttft_seconds=(0.1,)), "f": Received(sent=9)})
    assert verdict(rules.judge_wait("m", quiet, beside, "f", 0.5)) == (ScenarioOutcome.FAILED, None)


@pytest.mark.parametrize(
    ("tenants", "alone", "outcome"),
    [
        (2, 100.0, ScenarioOutcome.PASSED),
        (2, 71.0, ScenarioOutcome.PASSED),
        (2, 50.0, ScenarioOutcome.FAILED),
        (4, 49.0, ScenarioOutcome.FAILED),
    ],
)
def test_work_conservation(tenants: int, alone: float, outcome: ScenarioOutcome) -> None:
    """A fixed part for each of two tenants gives a half, which fails; 1/sqrt(2) passes; below 1/2 nothing does."""
    single = Observed(10.0, {"t0": Received(service=1, output_tokens=alone)})
    each = Received(service=1, output_tokens=100.0 / tenants)
    together = Observed(10.0, {f"t{n}": each for n in range(tenants)})
    slowed = Observed(10.0, {f"t{n}": Received(service=1, output_tokens=1.0) for n in range(tenants)})
    judgement = rules.judge_conservation([single, slowed], [slowed, together])
    assert judgement.outcome is outcome
    assert judgement.number == pytest.approx(alone / 100)


@pytest.mark.parametrize(
    ("refusal", "faults"),
    [
        (PROPER, []),
        (Refusal(503, "Wed, 21 Oct 2026 07:28:00 GMT", ERROR), []),
        (Refusal(429, None, ERROR), ["no Retry-After"]),
        (Refusal(429, "soon", ERROR), ["no Retry-After"]),
        (Refusal(408, "1", ERROR), ["status 408 instead of 429 or 503"]),
        (Refusal(503, "1", "busy"), ["no JSON body with error.message"]),
        (Refusal(503, "1", '{"error": "busy"}'), ["no JSON body with error.message"]),
        (Refusal(503, "1", "[]"), ["no JSON body with error.message"]),
        (
            Refusal(500, None, ""),
            ["status 500 instead of 429 or 503", "no Retry-After", "no JSON body with error.message"],
        ),
    ],
)
def test_a_refusal_tells_its_client_what_to_do(refusal: Refusal, faults: list[str]) -> None:
    """Status, time to come again, readable error."""
    assert rules.refusal_faults(refusal) == faults


@pytest.mark.parametrize(
    ("within", "seen", "expected"),
    [
        ((), (), (ScenarioOutcome.PASSED, 0.0)),
        ((), (PROPER,), (ScenarioOutcome.PASSED, 0.0)),
        ((PROPER,), (PROPER,), (ScenarioOutcome.FAILED, 0.1)),
        ((), (Refusal(429, None, ERROR),), (ScenarioOutcome.FAILED, 0.0)),
    ],
)
def test_refusals(
    within: tuple[Refusal, ...], seen: tuple[Refusal, ...], expected: tuple[ScenarioOutcome, float]
) -> None:
    """None within capacity; elsewhere proper ones."""
    stretch = Observed(10.0, {"a": Received(service=100, sent=10, refusals=within)})
    assert verdict(rules.judge_refusals(stretch, seen, len(seen))) == expected


def test_what_went_wrong_is_in_the_reason() -> None:
    """Refusals and broken answers are told beside the number."""
    troubled = Received(service=100, sent=10, refusals=(PROPER,), faults=("connection lost", "other"))
    seen = Observed(10.0, {"a": troubled, "b": Received(service=100, sent=10)})
    reason = rules.judge_shares(rules.SHARE, seen, EQUAL).reason
    assert "1 of 20 requests refused with status 429" in reason
    assert "2 of 20 broken (first: connection lost)" in reason
