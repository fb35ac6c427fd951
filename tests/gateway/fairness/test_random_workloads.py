"""Random workloads never break the invariants, the bound, work conservation or the books.

A workload mixes tenants, keys and pools, weights, limits, wrong prompt estimates, silent requests, several sequences,
aborts, requeues, withdrawals, time-outs, push-outs and changes of configuration. `bench` checks every step.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .bench import Bench
from .tape import play

TAPES = st.binary(min_size=30, max_size=110)
CHEAP = settings(database=None, suppress_health_check=list(HealthCheck))


@settings(CHEAP, max_examples=8_000)
@given(TAPES)
def test_vtc_keeps_its_bound_and_its_books(data: bytes) -> None:
    """The spread never exceeds the computed bound, no room is idle, every charge is conserved, no ticket is lost."""
    play(data)


@settings(CHEAP, max_examples=800)
@given(TAPES)
def test_an_engine_that_takes_tokens_back_widens_the_bound_by_no_more(data: bytes) -> None:
    """Where final usage is below what was reported, the settlement is still exact and the bound still holds."""
    play(data, has_liars=True)


@pytest.mark.parametrize("policy", ["fcfs", "lcf", "rpm", "drr"])
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
