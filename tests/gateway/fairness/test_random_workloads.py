"""Random workloads never break the invariants, the bound, work conservation or the books.

A workload mixes tenants, keys and pools, weights, limits, wrong prompt estimates, silent requests, several sequences,
aborts, requeues, withdrawals, time-outs, push-outs and changes of configuration. `bench` checks every step.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.fairness import POLICIES, Ticket
from gateway.workers import WindowSize

from .bench import STEP_SECONDS, Bench, CachingFleet
from .caches import Caches
from .tape import play

TAPES = st.binary(min_size=30, max_size=110)
CHEAP = settings(database=None, suppress_health_check=list(HealthCheck))


@settings(CHEAP, max_examples=3_000 if settings.default.derandomize else 8_000)  # more where `make fuzz` draws them
@given(TAPES)
def test_vtc_keeps_its_bound_and_its_books(data: bytes) -> None:
    """The spread never exceeds the computed bound, room idles no longer than it may, charges and tickets add up."""
    play(data)


@settings(CHEAP, max_examples=800)
@given(TAPES)
def test_an_engine_that_takes_tokens_back_widens_the_bound_by_no_more(data: bytes) -> None:
    """Where final usage is below what was reported, the settlement is still exact and the bound still holds."""
    play(data, has_liars=True)


@settings(CHEAP, max_examples=800)
@given(TAPES)
def test_real_caches_keep_the_bound_and_the_books(data: bytes) -> None:
    """The same where placement knows what its workers have cached, or believes so."""
    play(data, bench_type=Caches)


@pytest.mark.parametrize("policy", sorted(POLICIES.keys() - {"vtc"}))
@settings(CHEAP, max_examples=400)
@given(TAPES)
def test_every_policy_conserves_charges_room_and_tickets(policy: str, data: bytes) -> None:
    """The books and work conservation do not depend on who goes next."""
    play(data, policy)


class _Unlifted(Bench):
    """`lcf` held to VTC's bound."""

    def __init__(self) -> None:
        super().__init__("lcf")
        self.is_vtc = True


def test_the_bound_is_broken_without_lifts() -> None:
    """Control: a tenant that idled while another was served breaks the bound under `lcf`, not under `vtc`."""

    def run(bench: Bench) -> None:
        for _ in range(30):
            bench.submit("busy")
        bench.step(20)
        for _ in range(30):
            bench.submit("idler")
            bench.submit("busy")

    run(Bench())
    with pytest.raises(AssertionError, match="spread of tenants"):
        run(_Unlifted())


class _Late(CachingFleet):
    """A fleet that gives nobody room when first asked: each request waits for one event more."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[Ticket] = set()

    def take(self, ticket: Ticket, /) -> str | None:
        """Room as the fleet has it, from the second time on."""
        if ticket not in self.asked:
            self.asked.add(ticket)
            return None
        return super().__getattr__("take")(ticket)  # type: ignore[no-any-return]


class _UncheckedDecisions(Bench):
    """Held to the time that room idles, not to each decision."""

    def _check_work_conserved(self, pool: str) -> None:
        pass


@pytest.mark.parametrize(
    ("bench_type", "fault"), [(Bench, "waits, p0w0 has room"), (_UncheckedDecisions, "room of p0w0 idles")]
)
def test_a_grant_that_comes_late_is_noticed(bench_type: type[Bench], fault: str) -> None:
    """Control: one event's delay is noticed at the decision, and in the time that it lets room idle."""

    def run(bench: Bench) -> None:
        bench.submit("a", length=50)
        for _ in range(2):
            bench.submit("a", length=50)
            bench.step(3)

    run(bench_type())
    with pytest.raises(AssertionError, match=fault):
        run(bench_type(fleet=_Late()))


def test_room_idles_behind_a_long_prompt_until_those_before_it_are_read() -> None:
    """A prompt that fits beside no other leaves three places empty until the one before it is read, and no longer."""
    bench = Bench(window=WindowSize(4, 0, 10))
    bench.submit("a", prompt=1, length=40, prefill_steps=6)
    bench.submit("b", prompt=1000, length=40)
    bench.submit("c", prompt=1, length=40)
    bench.step(30)
    assert bench.idle_room.idle["p0w0"] == pytest.approx(6 * STEP_SECONDS * 3)
