"""The choice among a pool's workers: by caches and deficits where there is a choice, else by load; never none."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.workers import EngineFacts, Fleet, Signal, WindowSize, WorkerSpec, prefix_chain
from gateway.workers.deficits import DEFAULT_QUANTUM_TOKENS, MAX_TENANTS, Deficits
from gateway.workers.placement import MANY_WORKERS, Placement
from gateway.workers.prefixes import cached_tokens

TEXT = bytes(range(256)) * 16


@dataclass(eq=False)
class Asked:
    """A request as the fleet sees it; two are never the same one."""

    tenant: str = "t"
    prefix: tuple[int, ...] = ()
    pool: str = "p"
    sequences: int = 1
    prompt_tokens: int = 1000
    reserved_tokens: int = 0
    max_output_tokens: int = 0
    accrued_tokens: int = 0
    output_tokens: int = 0
    avoid: str = ""
    worker: str = ""


def asked(text: str = "", tenant: str = "t", blocks: int = 16, **fields: int | str) -> Asked:
    """A request whose prompt is `text`'s first `blocks`; no text, nothing known of its prompt."""
    prefix = prefix_chain(TEXT[: 256 * blocks], tenant, text) if text else ()
    return Asked(tenant, prefix, **fields)  # type: ignore[arg-type]


def make_fleet(count: int, size: WindowSize | None = None, quantum: float = 0.0) -> Fleet:
    """Workers `w0`, `w1`, ... of pool `p` that serve."""
    fleet = Fleet()
    fleet.set_locality("p", quantum)
    for number in range(count):
        name = f"w{number}"
        fleet.configure(WorkerSpec(name, "p", f"http://{name}", size or WindowSize(4, 0, 10**6)))
        fleet.signal(name, Signal.PROBE_OK)
    return fleet


def sent(fleet: Fleet, request: Asked) -> str:
    """Where a request goes; it stays there."""
    request.worker = fleet.take(request) or ""
    return request.worker


def done(fleet: Fleet, request: Asked) -> str:
    """Where a request goes; it ends at once."""
    worker = sent(fleet, request)
    _end(fleet, request)
    return worker


def _end(fleet: Fleet, *requests: Asked) -> None:
    for request in requests:
        fleet.prefilled(request)
        fleet.give(request)


def test_a_conversation_returns_to_its_worker() -> None:
    """Each turn goes where the former was read, also when the other worker has as much room."""
    fleet = make_fleet(2)
    homes = {name: done(fleet, asked(name, blocks=2)) for name in ("a", "b")}
    busy = asked()
    sent(fleet, busy)
    homes["c"] = done(fleet, asked("c", blocks=2))
    _end(fleet, busy)
    assert len(set(homes.values())) == 2
    for blocks in range(3, 17):
        assert {name: done(fleet, asked(name, blocks=blocks)) for name in homes} == homes


def test_a_full_worker_is_not_waited_for() -> None:
    """Where the worker that knows the prompt has no room, another one takes the request; full everywhere, none does."""
    fleet = make_fleet(2, WindowSize(1, 0, 10**6))
    first, second = asked("a"), asked("a")
    assert {sent(fleet, first), sent(fleet, second)} == {"w0", "w1"}
    assert fleet.take(asked("a")) is None
    assert fleet.affinity(asked("a")) == 0
    _end(fleet, second)
    assert fleet.take(asked("a")) == second.worker


def test_tenants_never_match_each_other() -> None:
    """The same text of another tenant is a new text."""
    fleet = make_fleet(2)
    sent(fleet, asked("a", "alice"))
    assert fleet.affinity(asked("a", "alice")) > 900
    assert fleet.affinity(asked("a", "bob")) == 0
    assert sent(fleet, asked("a", "bob")) == "w1"


def test_affinity_is_of_the_worker_that_take_chooses() -> None:
    """What is claimed is the match at the worker with room, none where only a full one has it, and less at a lesser."""
    fleet = make_fleet(2, WindowSize(1, 0, 10**6))
    short, long = asked("a", blocks=4), asked("a")
    sent(fleet, short)
    assert sent(fleet, long) != short.worker
    _end(fleet, short)
    assert 200 < fleet.affinity(asked("a")) < 260  # the first 4 of 16 blocks
    _end(fleet, long)
    assert fleet.affinity(asked("a")) > 900
    assert fleet.take(asked("a")) == long.worker


def test_a_deficit_that_is_used_up_lets_another_worker_in() -> None:
    """One tenant's prompt stays at its worker while others stand by, until it has spent a quantum more there."""
    fleet = make_fleet(2, WindowSize(100, 0, 10**6))
    homes = [sent(fleet, asked("a", reserved_tokens=1000)) for _ in range(30)]
    first = homes.index("w1")
    assert first == pytest.approx(DEFAULT_QUANTUM_TOKENS / 1000, abs=2)
    assert Counter(homes).most_common()[1][1] >= 10
    assert fleet.affinity(asked("a")) > 900 or homes[-1] == "w0"


def test_a_larger_quantum_keeps_a_prompt_at_its_worker_longer() -> None:
    """A pool's locality quantum is also the quantum at each worker if it is more than the default."""
    fleet = make_fleet(2, WindowSize(100, 0, 10**6), quantum=4 * DEFAULT_QUANTUM_TOKENS)
    homes = [sent(fleet, asked("a", reserved_tokens=1000)) for _ in range(40)]
    assert homes.index("w1") == pytest.approx(4 * DEFAULT_QUANTUM_TOKENS / 1000, abs=2)


def test_a_used_up_deficit_moves_nobody_from_a_worker_that_is_no_busier() -> None:
    """A conversation that is alone in the pool stays at its worker, however much it takes."""
    fleet = make_fleet(3)
    assert {done(fleet, asked("a", reserved_tokens=5000)) for _ in range(50)} == {"w0"}


def test_a_worker_that_failed_is_not_returned_to() -> None:
    """`avoid` counts more than a cached prompt, except where no other worker serves."""
    fleet = make_fleet(2)
    home = done(fleet, asked("a"))
    assert done(fleet, asked("a", avoid=home)) != home
    fleet.signal("w1" if home == "w0" else "w0", Signal.GONE)
    assert done(fleet, asked("a", avoid=home)) == home


def test_a_worker_that_restarts_has_forgotten() -> None:
    """A worker that is down, another address and a new process each mean an empty cache."""
    for forget in (
        lambda fleet: fleet.signal("w0", Signal.GONE),
        lambda fleet: fleet.configure(WorkerSpec("w0", "p", "http://new", WindowSize(4, 0, 10**6))),
        lambda fleet: (fleet.drain("w0"), fleet.configure(WorkerSpec("w0", "p", "http://w0", WindowSize(4, 0, 10**6)))),
    ):
        fleet = make_fleet(1)
        done(fleet, asked("a"))
        assert fleet.affinity(asked("a")) > 0
        forget(fleet)
        for _ in range(2):
            fleet.signal("w0", Signal.PROBE_OK)
        assert fleet.take(asked()) == "w0"
        assert fleet.affinity(asked("a")) == 0


def test_a_worker_keeps_what_its_cache_holds() -> None:
    """The size that an engine tells bounds what it is believed to have."""
    fleet = make_fleet(1)
    fleet.learn("w0", EngineFacts(kv_tokens=1500))
    for name in ("a", "b", "c"):
        done(fleet, asked(name))
    assert fleet.affinity(asked("c")) > 900
    assert fleet.affinity(asked("a")) == 0


def test_what_an_engine_counts_corrects_what_is_believed() -> None:
    """A prompt that was not found takes those that were used before it along."""
    fleet = make_fleet(1)
    for name, found in (("a", 0), ("b", 0), ("b", 950), ("c", 0), ("b", 0)):
        request = asked(name)
        sent(fleet, request)
        fleet.counted(request, 1000, found)
        _end(fleet, request)
    assert fleet.affinity(asked("a")) == 0
    assert fleet.affinity(asked("b")) > 0


def test_workers_share_by_the_size_of_their_windows() -> None:
    """Without any prefix, requests spread in proportion to the windows, few workers or many."""
    for count in (2, 3 * MANY_WORKERS):
        fleet = Fleet()
        for number in range(count):
            size = WindowSize(4 if number % 2 else 12, 0, 10**6)
            fleet.configure(WorkerSpec(f"w{number}", "p", f"http://w{number}", size))
            fleet.signal(f"w{number}", Signal.PROBE_OK)
        shares = Counter(int(sent(fleet, asked())[1:]) % 2 for _ in range(4 * count))
        assert shares[0] / shares[1] == pytest.approx(3.0, rel=0.35)
        assert all(fleet.take(asked()) for _ in range(4 * count))
        assert fleet.take(asked()) is None


@dataclass
class Place:
    """A worker as placement sees it."""

    name: str
    taken: int = 0
    slots: int = 2
    serves: bool = True
    held: list[Asked] = field(default_factory=list)

    @property
    def load(self) -> float:
        return self.taken / self.slots

    def is_shunned_by(self, tenant: str) -> bool:
        return self.name[-1] == tenant


def _fits(place: Place, request: Asked) -> bool:
    return place.taken < place.slots


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.booleans(), st.integers(0, 2), st.sampled_from("abc"), st.integers(0, 16)), max_size=120),
    st.sets(st.integers(0, 39)),
)
def test_a_worker_is_found_wherever_there_is_one(
    count: int, steps: Iterable[tuple[bool, int, str, int]], down: set[int]
) -> None:
    """Whatever is cached and spent, a request finds a worker if any worker that serves has room.

    If placement counts on a cached prompt, the request goes to a worker that was sent as much of it.
    """
    places = [Place(f"w{number}", slots=1 + number % 3, serves=number not in down) for number in range(count)]
    placement: Placement[Place, Asked] = Placement()
    for place in places:
        placement.join(place)
    flying: list[tuple[Place, Asked]] = []
    blocks_sent: Counter[tuple[str, int, str]] = Counter()
    for ends, tenant, text, blocks in steps:
        if ends and flying:
            place, request = flying.pop(0)
            place.taken -= 1
            placement.ended(request)
            continue
        request = asked(text, str(tenant), blocks, reserved_tokens=3000)
        expected = placement.affinity(request, _fits)
        chosen = placement.choose(request, _fits)
        assert (chosen is None) is not any(place.serves and _fits(place, request) for place in places)
        if chosen is not None:
            assert chosen.serves
            assert _fits(chosen, request)
            chosen.taken += 1
            placement.sent(request, chosen.name)
            known = blocks_sent[chosen.name, tenant, text]
            assert expected in (0, cached_tokens(request.prompt_tokens, blocks, min(blocks, known)))
            blocks_sent[chosen.name, tenant, text] = max(known, blocks)
            flying.append((chosen, request))
    for _, request in flying:
        placement.ended(request)
    assert placement.is_idle


def test_a_match_that_is_passed_over_counts_for_nothing() -> None:
    """The deficit at the longest match is used up, the shorter one is as busy: an idle worker is chosen."""
    places = [Place("w0", taken=1), Place("w1", taken=1), Place("w2")]
    placement: Placement[Place, Asked] = Placement()
    for place in places:
        placement.join(place)
    placement.sent(asked("a", reserved_tokens=9000), "w0")
    placement.sent(asked("a", blocks=8), "w1")
    assert placement.choose(asked("a"), _fits) is places[2]
    assert placement.affinity(asked("a"), _fits) == 0


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 20_000)), max_size=60))
def test_deficits_stay_within_a_quantum(spending: list[tuple[int, int, int]]) -> None:
    """No credit and no debt beyond one quantum, and never everywhere nothing left: then all are filled again."""
    deficits = Deficits()
    workers = ["a", "b", "c"]
    for tenant, worker, tokens in spending:
        if deficits.spend(str(tenant), workers[worker], tokens):
            deficits.refill(str(tenant), workers)
        left = [deficits.left(str(tenant), name) for name in workers]
        assert all(abs(each) <= DEFAULT_QUANTUM_TOKENS for each in left)
        assert any(each > 0 for each in left) or min(left) == max(left) == 0


def test_deficits_are_kept_of_a_bounded_number_of_tenants() -> None:
    """The tenants that were placed longest ago are forgotten."""
    deficits = Deficits()
    for number in range(MAX_TENANTS + 10):
        deficits.spend(str(number), "a", 100)
    assert deficits.entries == MAX_TENANTS
    assert deficits.left("0", "a") == DEFAULT_QUANTUM_TOKENS
    deficits.forget("a")
    assert deficits.entries == 0
