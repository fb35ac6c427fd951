"""Every file of the catalogue loads and has the published rates, lengths and schedules."""

from dataclasses import dataclass
from statistics import fmean, median

import pytest

from evaluation.workloads import Workload, file_of, load, names
from evaluation.workloads.files import read_workload_file
from evaluation.workloads.workload import generate


@dataclass(frozen=True)
class Stream:
    """What one tenant of a published set-up sends: so many requests with these lengths."""

    requests: int
    prompt_tokens: int = 256
    output_tokens: int = 256


# Rates a minute times minutes; the artifact's fair_bench/exp_suite.py has them a second.
EXACT: dict[str, tuple[float, dict[str, Stream]]] = {
    "overload": (360, {"tenant-1": Stream(90 * 6), "tenant-2": Stream(180 * 6)}),
    "proportional": (600, {"tenant-1": Stream(150), "tenant-2": Stream(300), "tenant-3": Stream(900)}),
    "on_off_less": (600, {"tenant-1": Stream(30 * 5), "tenant-2": Stream(120 * 10)}),
    "on_off_overload": (600, {"tenant-1": Stream(120 * 5), "tenant-2": Stream(180 * 10)}),
    "increase": (600, {"tenant-1": Stream(30 * 10), "tenant-2": Stream(66 * 10)}),
    "dist_shift": (900, {"tenant-1": Stream(90 + 300 + 150), "tenant-2": Stream(600 + 300 + 450)}),
    "weighted": (360, {f"tenant-{number}": Stream(66 * 6) for number in range(1, 5)}),
    "overload_multi": (
        360,
        {f"slower-{number}": Stream(24 * 6) for number in range(1, 4)}
        | {f"faster-{number}": Stream(36 * 6) for number in range(1, 6)},
    ),
    "pool_35k_256": (600, {"tenant-1": Stream(1800), "tenant-2": Stream(3600)}),
    "pool_35k_512": (600, {"tenant-1": Stream(900, 512, 512), "tenant-2": Stream(1800, 512, 512)}),
    "pool_35k_768": (600, {"tenant-1": Stream(600, 768, 768), "tenant-2": Stream(1200, 768, 768)}),
    "pool_65k_512": (600, {"tenant-1": Stream(1200, 512, 512), "tenant-2": Stream(2400, 512, 512)}),
}
POISSON = {
    "poisson_short_long": {"tenant-1": Stream(4800, 64, 64), "tenant-2": Stream(900)},
    "poisson_short_long_2": {"tenant-1": Stream(4800, 512, 32), "tenant-2": Stream(900, 32, 512)},
}
BEYOND = {"arena_like", "disconnects", "isolation", "split_keys", "split_tenants", "unknown_lengths"}


def _lengths(workload: Workload, tenant: str) -> set[tuple[int, int]]:
    return {(request.prompt_tokens, request.output_tokens) for request in workload.of(tenant)}


def _count_between(workload: Workload, tenant: str, start: float, end: float) -> int:
    return sum(start <= request.arrival_seconds < end for request in workload.of(tenant))


@pytest.mark.parametrize("name", names())
def test_a_file_is_called_what_it_says(name: str) -> None:
    """A file has the name that stands in it, and begins by saying what it is and where it is from."""
    workload = load(name)
    assert workload.name == name and file_of(name).stem == name
    assert workload.description.endswith(".") and workload.requests


def test_nothing_is_untested() -> None:
    """Every file is in one of the groups below."""
    assert set(names()) == EXACT.keys() | POISSON.keys() | BEYOND


@pytest.mark.parametrize("name", sorted(EXACT))
@pytest.mark.parametrize("seed", [0, 1, 42])
def test_evenly_spaced_ones_have_the_published_numbers(name: str, seed: int) -> None:
    """The duration, the number of requests and the lengths are the published ones with every seed."""
    seconds, streams = EXACT[name]
    workload = load(name, seed)
    assert workload.seconds == seconds
    assert workload.tenants.keys() == streams.keys()
    for tenant, stream in streams.items():
        assert len(workload.of(tenant)) == stream.requests, tenant
        assert _lengths(workload, tenant) == {(stream.prompt_tokens, stream.output_tokens)}


@pytest.mark.parametrize("name", sorted(POISSON))
@pytest.mark.parametrize("seed", range(5))
def test_poisson_ones_have_the_published_rates(name: str, seed: int) -> None:
    """The number of requests lies within five standard deviations of its mean; lengths are exact."""
    workload = load(name, seed)
    assert workload.seconds == 600
    for tenant, stream in POISSON[name].items():
        assert abs(len(workload.of(tenant)) - stream.requests) < 5 * stream.requests**0.5
        assert _lengths(workload, tenant) == {(stream.prompt_tokens, stream.output_tokens)}


@pytest.mark.parametrize(("name", "rate"), [("on_off_less", 30), ("on_off_overload", 120)])
def test_on_off_is_on_in_even_minutes(name: str, rate: int) -> None:
    """Tenant 1 sends at its rate in the first minute of every two and nothing in the second."""
    workload = load(name)
    counts = [_count_between(workload, "tenant-1", 60 * minute, 60 * minute + 60) for minute in range(10)]
    assert counts == [rate, 0] * 5


def test_the_shift_has_its_three_phases() -> None:
    """The rates are on and off with 30 beside 120, then 60 beside 60, then 30 beside 90."""
    workload = load("dist_shift")
    counts = {
        tenant: [_count_between(workload, tenant, 60 * minute, 60 * minute + 60) for minute in range(15)]
        for tenant in workload.tenants
    }
    assert counts["tenant-1"] == [30, 0, 30, 0, 30] + [60] * 5 + [30] * 5
    assert counts["tenant-2"] == [120] * 5 + [60] * 5 + [90] * 5


def test_the_increase_is_steady() -> None:
    """Each minute has 10.8 more requests a minute than the one before."""
    workload = load("increase")
    for minute in range(10):
        mean_rate = 12 + 10.8 * (minute + 0.5)
        assert abs(_count_between(workload, "tenant-2", 60 * minute, 60 * minute + 60) - mean_rate) <= 1


def test_weights_stand_against_equal_demand() -> None:
    """The weights are 1 to 4, and all tenants ask for the same, unlike in the published set-up."""
    assert list(load("weighted").tenants.values()) == [1, 2, 3, 4]


def test_unknown_lengths_are_below_what_is_stated() -> None:
    """Every answer lies within the stated maximum, and half of them lie below an eighth of it."""
    requests = load("unknown_lengths").requests
    assert {request.max_output_tokens for request in requests} == {1024}
    assert max(request.output_tokens for request in requests) <= 1024
    assert median(request.output_tokens for request in requests) < 128


def test_clients_leave_before_their_answer_ends() -> None:
    """About four of five clients leave within their answer; all clients of the other tenant stay."""
    workload = load("disconnects")
    leaving = [request.leaves_after_tokens for request in workload.of("leaves")]
    gone = [tokens for tokens in leaving if tokens is not None]
    assert 0.75 < len(gone) / len(leaving) < 0.85
    assert all(0 < tokens < 256 for tokens in gone)
    assert {request.leaves_after_tokens for request in workload.of("stays")} == {None}


def test_splitting_changes_identities_only() -> None:
    """Eight keys are used equally, and eight tenants ask for what one tenant with eight keys asks for."""
    keys, tenants = load("split_keys"), load("split_tenants")
    used = [request.key for request in keys.of("many-keys")]
    assert {key: used.count(key) for key in used} == {f"many-keys/{number}": 90 for number in range(1, 9)}
    assert {request.key for request in keys.of("one-key")} == {""}
    parts = [request for request in tenants.requests if request.tenant.startswith("part-")]
    assert len(parts) == len(used) and len(tenants.tenants) == 9


def test_the_modest_tenant_is_the_same_without_the_flood() -> None:
    """The modest tenant sends the same stream with the flood and without it."""
    workload, file = load("isolation"), read_workload_file(file_of("isolation"))
    alone = generate(file.model_copy(update={"tenants": [each for each in file.tenants if each.name == "modest"]}))
    assert alone.requests == workload.of("modest") and list(alone.tenants) == ["modest"]
    assert len(workload.of("flood")) > 50 * len(alone.requests)


# Measured on the published trace: see catalogue/arena_like.yaml.
ARENA_REQUESTS = [296, 262, 199, 120, 67, 66, 56, 46, 44, 43, 40, 36, 31, 26, 25, 23, 22, 22, 19, 19, 12, 11, 7, 3, 2]
ARENA_REQUESTS += [2, 1]


@pytest.mark.parametrize("seed", range(5))
def test_the_arena_has_its_statistics(seed: int) -> None:
    """Clients and requests are exact; lengths agree by mean and quartiles within the chance of 1,500 draws."""
    workload = load("arena_like", seed)
    assert len(workload.requests) == 1500 and workload.seconds == 600
    assert sorted((len(workload.of(name)) for name in workload.tenants), reverse=True) == ARENA_REQUESTS
    prompts = sorted(request.prompt_tokens for request in workload.requests)
    outputs = sorted(request.output_tokens for request in workload.requests)
    assert fmean(prompts) == pytest.approx(136.3, rel=0.15) and fmean(outputs) == pytest.approx(256.2, rel=0.08)
    assert prompts[-1] <= 1021 and outputs[-1] <= 977
    for ordered, quartiles in ((prompts, (13, 40, 161)), (outputs, (62, 211, 462))):
        for place, expected in zip((375, 750, 1125), quartiles, strict=True):
            assert ordered[place] == pytest.approx(expected, rel=0.3)


def test_late_clients_of_the_arena_come_late() -> None:
    """The second largest client begins after a third of the time, as in the trace."""
    requests = load("arena_like").of("client-10")
    assert requests[0].arrival_seconds >= 206
