"""Random workloads never break the invariants, the bound, work conservation or the books."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .tape import play

TAPES = st.binary(min_size=30, max_size=160)
QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(max_examples=2_000, deadline=None, database=None, suppress_health_check=QUIET)
@given(TAPES)
def test_vtc_keeps_its_bound_and_its_books(data: bytes) -> None:
    """Under VTC the spread never exceeds the computed bound, no room is idle, every charge is conserved."""
    play(data)
