"""Replicas that have nothing in common choose the same worker for a new prompt, and keep the load even."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.workers import Others, SharedFleet, Signal, WindowSize, WorkerSpec, prefix_chain
from gateway.workers.placement import MANY_WORKERS, NEARLY, Placement
from gateway.workers.rendezvous import score, worker_word

from .test_placement import TEXT, Asked, Place, _fits

SLOTS = 16


def new_prompt(number: int, tenant: str = "t") -> Asked:
    """A request whose prompt nobody has seen."""
    return Asked(tenant, prefix_chain(TEXT, tenant, str(number), is_shared=True))


def make_replica(names: list[str], own: list[int], others: list[int]) -> SharedFleet:
    """A fleet with so many requests of its own, and so many of other replicas, at each worker."""
    fleet = SharedFleet()
    for name, own_requests, others_requests in zip(names, own, others, strict=True):
        fleet.configure(WorkerSpec(name, "p", f"http://{name}", WindowSize(SLOTS, 0, 10**6)))
        fleet.signal(name, Signal.PROBE_OK)
        for _ in range(own_requests):
            assert fleet.take_where(Asked(), {name}.__contains__) == name
        fleet.others(name, Others(others_requests))
    return fleet


@given(
    st.lists(st.tuples(st.integers(0, SLOTS // 2), st.integers(0, SLOTS // 2 - 1)), min_size=2, max_size=40),
    st.integers(0, 10**9),
    st.randoms(use_true_random=False),
)
def test_replicas_with_nothing_in_common_agree(
    loads: list[tuple[int, int]], number: int, shuffle: random.Random
) -> None:
    """Whoever has the requests in flight, and in whatever order workers joined, both choose the same worker."""
    names = [f"w{place}" for place in range(len(loads))]
    ones, twos = [one for one, _ in loads], [two for _, two in loads]
    order = list(range(len(loads)))
    shuffle.shuffle(order)
    one = make_replica(names, ones, twos)
    two = make_replica([names[place] for place in order], [twos[p] for p in order], [ones[p] for p in order])
    request = new_prompt(number)
    preferred = one.preferred(request)
    assert preferred == two.preferred(new_prompt(number))
    assert one.take_where(request, lambda _: True) == two.take_where(new_prompt(number), lambda _: True) == preferred


@given(
    st.lists(st.integers(0, SLOTS), min_size=2, max_size=MANY_WORKERS),
    st.sets(st.integers(0, MANY_WORKERS - 1)),
    st.integers(0, 10**9),
)
def test_a_new_prompt_goes_to_a_nearly_least_loaded_worker(taken: list[int], down: set[int], number: int) -> None:
    """Agreement never costs more than an eighth of a window of balance, and finds room where there is any."""
    places = [Place(f"w{n}", load, SLOTS, serves=n not in down) for n, load in enumerate(taken)]
    placement: Placement[Place, Asked] = Placement(is_shared=True)
    for place in places:
        placement.join(place)
    request = new_prompt(number, tenant="1")  # which `w1` and `w11` have failed
    chosen = placement.choose(request, _fits)
    open_places = [place for place in places if place.serves and _fits(place, request)]
    assert (chosen is None) is not bool(open_places)
    if chosen is not None:
        assert chosen in open_places
        usable = [place for place in open_places if not place.is_shunned_by("1")] or open_places
        assert chosen.load <= min(place.load for place in usable) + NEARLY


@pytest.mark.parametrize("count", [2, 5, MANY_WORKERS, 3 * MANY_WORKERS])
def test_new_prompts_spread_over_all_workers(count: int) -> None:
    """Sent in a stream to workers that are equally loaded, prompts are spread evenly."""
    fleet = make_replica([f"w{n}" for n in range(count)], [0] * count, [0] * count)
    homes = Counter(fleet.preferred(new_prompt(number)) for number in range(100 * count))
    assert len(homes) == count
    assert max(homes.values()) < 160 and min(homes.values()) > 50


def test_a_worker_that_goes_moves_its_own_prompts_only() -> None:
    """All other new prompts keep their worker."""
    names = [f"w{n}" for n in range(5)]
    before = make_replica(names, [0] * 5, [0] * 5)
    after = make_replica(names[:4], [0] * 4, [0] * 4)
    for number in range(200):
        home = before.preferred(new_prompt(number))
        assert home == "w4" or after.preferred(new_prompt(number)) == home


def test_a_cached_prompt_counts_more_than_agreement() -> None:
    """A replica that knows where a prompt is cached sends it there, though the worker is a little busier."""
    fleet = make_replica(["w0", "w1"], [0, 0], [0, 0])
    request = new_prompt(1)
    other = {"w0", "w1"} - {fleet.preferred(request)}
    assert fleet.take_where(request, other.__contains__) == fleet.preferred(new_prompt(1)) == next(iter(other))


def test_what_nothing_is_known_of_has_no_preference() -> None:
    """A request without a prefix, or with one that its tenant has sent too much of to one worker, goes anywhere."""
    fleet = make_replica(["w0", "w1"], [0, 0], [0, 0])
    assert fleet.preferred(Asked()) == ""
    many = new_prompt(1)
    many.reserved_tokens = 9000
    fleet.take_where(many, {"w0"}.__contains__)
    assert fleet.preferred(new_prompt(1)) == ""
    assert make_replica(["w0"], [0], [0]).preferred(new_prompt(1)) == ""


def test_the_numbers_are_the_same_in_every_process() -> None:
    """They depend neither on this process's own hash key nor on the version of the code."""
    assert prefix_chain(bytes(256), "t", "m", is_shared=True) == (0xFD0FB499A9488F2A,)
    assert (worker_word("w1"), score(1, 2)) == (0xF23C848A5E8C39B8, 0x07417F79D77FD584)
