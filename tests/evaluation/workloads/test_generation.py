"""All kinds of arrivals and lengths keep their order, bounds and rates, and tenants do not depend on each other."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evaluation.workloads import load, names
from evaluation.workloads.arrivals import (
    Arrivals,
    EvenlySpaced,
    OnOff,
    Phase,
    Phases,
    Poisson,
    Ramp,
    Scattered,
    Silent,
)
from evaluation.workloads.lengths import Fixed, Lengths, Lognormal, Quantiles, Uniform
from evaluation.workloads.schema import Disconnects, TenantFile, WorkloadFile
from evaluation.workloads.workload import generate

SECONDS = 120.0
SEEDS = st.integers(0, 2**32)
RATES = st.floats(1, 600)
TOKENS = st.integers(1, 5000)
ON_OFF = st.none() | st.builds(OnOff, on_seconds=st.floats(1, 100), off_seconds=st.floats(1, 100))

STEADY = (
    st.builds(EvenlySpaced, kind=st.just("evenly_spaced"), per_minute=RATES, on_off=ON_OFF)
    | st.builds(Poisson, kind=st.just("poisson"), per_minute=RATES, on_off=ON_OFF)
    | st.builds(Ramp, kind=st.just("ramp"), from_per_minute=RATES, to_per_minute=RATES, on_off=ON_OFF)
    | st.builds(Scattered, kind=st.just("scattered"), requests=st.integers(1, 200), from_second=st.floats(0, 100))
    | st.just(Silent(kind="silent"))
)
PHASES = st.builds(
    Phases,
    kind=st.just("phases"),
    parts=st.lists(st.builds(Phase, seconds=st.floats(1, 200), arrivals=STEADY), min_size=1, max_size=4).map(tuple),
)
ARRIVALS = STEADY | PHASES
PAIRS = st.tuples(TOKENS, TOKENS).map(sorted)
LENGTHS = (
    st.builds(Fixed, kind=st.just("fixed"), tokens=TOKENS)
    | PAIRS.map(lambda pair: Uniform(kind="uniform", shortest=pair[0], longest=pair[1]))
    | st.tuples(PAIRS, st.floats(1, 5000), st.floats(0.1, 3)).map(
        lambda each: Lognormal(kind="lognormal", median=each[1], sigma=each[2], shortest=each[0][0], longest=each[0][1])
    )
    | st.lists(TOKENS, min_size=2, max_size=6).map(
        lambda tokens: Quantiles(
            kind="quantiles",
            points=tuple((place / (len(tokens) - 1), length) for place, length in enumerate(sorted(tokens))),
        )
    )
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ARRIVALS, SEEDS)
def test_moments_ascend_within_the_time(arrivals: Arrivals, seed: int) -> None:
    """The moments of every kind ascend, lie within the time, and are the same for the same seed."""
    moments = arrivals.moments(SECONDS, Random(seed))
    assert moments == sorted(moments)
    assert all(0 <= moment < SECONDS for moment in moments)
    assert moments == arrivals.moments(SECONDS, Random(seed))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(RATES, SEEDS)
def test_even_spacing_is_even(per_minute: float, seed: int) -> None:
    """Every distance is the same, and the number of requests is the rate times the time, give or take one."""
    moments = EvenlySpaced(kind="evenly_spaced", per_minute=per_minute).moments(SECONDS, Random(seed))
    assert abs(len(moments) - per_minute * SECONDS / 60) <= 1
    assert all(later - earlier == pytest.approx(60 / per_minute) for earlier, later in pairwise(moments))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.floats(60, 600), SEEDS)
def test_poisson_has_its_rate(per_minute: float, seed: int) -> None:
    """The count lies within six standard deviations, which one draw in a billion would miss."""
    expected = per_minute * SECONDS / 60
    count = len(Poisson(kind="poisson", per_minute=per_minute).moments(SECONDS, Random(seed)))
    assert abs(count - expected) <= 6 * expected**0.5


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(RATES, RATES, SEEDS)
def test_a_ramp_has_its_area(start: float, end: float, seed: int) -> None:
    """The requests until any moment are as many as the area under the rate, give or take one."""
    moments = Ramp(kind="ramp", from_per_minute=start, to_per_minute=end).moments(SECONDS, Random(seed))
    for count, moment in enumerate(moments):
        area = (start + (end - start) * moment / SECONDS / 2) * moment / 60
        assert count <= area + 1e-6 and area < count + 1 + 1e-6


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from([EvenlySpaced, Poisson]), RATES, st.floats(1, 50), st.floats(1, 50), SEEDS)
def test_off_and_on_takes_away_and_moves_nothing(
    kind: type[EvenlySpaced] | type[Poisson], per_minute: float, on: float, off: float, seed: int
) -> None:
    """The moments are those of the same seed without a schedule that fall into the times that are on."""
    tag = kind.model_fields["kind"].annotation.__args__[0]  # type: ignore[union-attr]
    plain = kind(kind=tag, per_minute=per_minute)
    switched = kind(kind=tag, per_minute=per_minute, on_off=OnOff(on_seconds=on, off_seconds=off))
    expected = [moment for moment in plain.moments(SECONDS, Random(seed)) if moment % (on + off) < on]
    assert switched.moments(SECONDS, Random(seed)) == expected


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.floats(1, 100), RATES), min_size=1, max_size=4), SEEDS)
def test_phases_follow_one_another(parts: list[tuple[float, float]], seed: int) -> None:
    """Each phase has its own rate in its own time, and after the last nothing comes."""
    phases = Phases(
        kind="phases",
        parts=tuple(
            Phase(seconds=seconds, arrivals=EvenlySpaced(kind="evenly_spaced", per_minute=rate))
            for seconds, rate in parts
        ),
    )
    total = sum(seconds for seconds, _ in parts)
    moments, start = phases.moments(total + 100, Random(seed)), 0.0
    for seconds, rate in parts:
        within = sum(start <= moment < start + seconds for moment in moments)
        assert abs(within - rate * seconds / 60) <= 1.001
        start += seconds
    assert all(moment <= total for moment in moments)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LENGTHS, SEEDS)
def test_lengths_are_whole_and_within_their_ends(lengths: Lengths, seed: int) -> None:
    """A length is at least one token and at most the longest, and the same for the same seed."""
    drawn = [lengths.draw(source) for source in [Random(seed)] for _ in range(50)]
    assert all(isinstance(length, int) and 1 <= length <= lengths.longest for length in drawn)
    source = Random(seed)
    assert drawn == [lengths.draw(source) for _ in range(50)]


@pytest.mark.parametrize(
    ("lengths", "mean"),
    [
        (Uniform(kind="uniform", shortest=10, longest=20), 15),
        (Lognormal(kind="lognormal", median=100, sigma=0.5, longest=100_000), 113.3),
        (Quantiles(kind="quantiles", points=((0, 10), (0.5, 20), (1, 120))), 42.5),
    ],
)
def test_lengths_have_their_mean(lengths: Lengths, mean: float) -> None:
    """The mean of 20,000 draws lies within 3 % of the distribution's mean."""
    source = Random(7)
    assert sum(lengths.draw(source) for _ in range(20_000)) / 20_000 == pytest.approx(mean, rel=0.03)


def _tenant(name: str, arrivals: Arrivals, output: Lengths, leaving: float = 0.5) -> TenantFile:
    disconnects = Disconnects(share=leaving, after_tokens=Uniform(kind="uniform", shortest=1, longest=100))
    return TenantFile(name=name, arrivals=arrivals, prompt=output, output=output, disconnects=disconnects)


def _file(*tenants: TenantFile) -> WorkloadFile:
    return WorkloadFile(name="drawn", description="Drawn.", seconds=SECONDS, tenants=tenants)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ARRIVALS, ARRIVALS, LENGTHS, SEEDS)
def test_a_tenant_does_not_depend_on_the_others(one: Arrivals, other: Arrivals, lengths: Lengths, seed: int) -> None:
    """Its requests are exactly the same if the other tenants are left out."""
    mine = _tenant("mine", one, lengths)
    together = generate(_file(_tenant("other", other, lengths), mine), seed)
    assert together.of("mine") == generate(_file(mine), seed).requests
    assert len(together.of("mine")) + len(together.of("other")) == len(together.requests)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ARRIVALS, LENGTHS, LENGTHS, SEEDS)
def test_lengths_do_not_move_arrivals(arrivals: Arrivals, one: Lengths, other: Lengths, seed: int) -> None:
    """Another distribution of lengths leaves every moment where it was."""
    moments = [
        [request.arrival_seconds for request in generate(_file(_tenant("t", arrivals, lengths)), seed).requests]
        for lengths in (one, other)
    ]
    assert moments[0] == moments[1]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ARRIVALS, LENGTHS, SEEDS)
def test_clients_leave_only_within_their_answer(arrivals: Arrivals, lengths: Lengths, seed: int) -> None:
    """A client that leaves has taken something and not all."""
    for request in generate(_file(_tenant("t", arrivals, lengths, leaving=1)), seed).requests:
        assert request.leaves_after_tokens is None or 0 < request.leaves_after_tokens < request.output_tokens


@pytest.mark.parametrize("name", names())
def test_the_same_seed_is_the_same_workload(name: str) -> None:
    """Two draws of one seed are equal, another seed gives another, and the file's own seed is the default."""
    assert load(name, 1) == load(name) == load(name, 1)
    assert load(name, 2).requests != load(name).requests


def test_copies_are_tenants_of_their_own() -> None:
    """The copies are numbered, and no two of them send at the same moments."""
    arrivals = Poisson(kind="poisson", per_minute=60)
    tenant = _tenant("t", arrivals, Fixed(kind="fixed", tokens=9)).model_copy(update={"copies": 3})
    workload = generate(_file(tenant))
    assert list(workload.tenants) == ["t-1", "t-2", "t-3"]
    streams = [tuple(request.arrival_seconds for request in workload.of(name)) for name in workload.tenants]
    assert len(set(streams)) == 3


def test_cutting_off_keeps_what_came_before() -> None:
    """`until` keeps exactly the requests before the moment."""
    workload = load("overload")
    cut = workload.until(60)
    assert cut.seconds == 60 and cut.requests == workload.requests[: len(cut.requests)]
    assert cut.requests[-1].arrival_seconds < 60 <= workload.requests[len(cut.requests)].arrival_seconds
