"""An answer may be silent for a while: every row of the rules, the moment before the end of that time, and the end."""

import pytest

from gateway.endpoints.progress import Patience, Progress

FIRST, STALL, WHOLE = 100.0, 30.0, 1000.0
SENT = 50.0
NEVER = -1.0


def patience(*, output_at: float = NEVER, stepped_at: float = NEVER, sees_steps: bool, is_streamed: bool) -> Patience:
    progress = Progress()
    progress.output_at, progress.stepped_at, progress.sees_steps = output_at, stepped_at, sees_steps
    return Patience(progress, FIRST, STALL, WHOLE, is_streamed=is_streamed)


@pytest.mark.parametrize(
    ("sees_steps", "moved_at", "is_streamed", "has_output", "is_announced", "ends_at"),
    [
        # a stream of which nothing has come: whatever the worker does
        (True, SENT + 90, True, False, False, SENT + FIRST),
        (False, SENT + 90, True, False, False, SENT + FIRST),
        # announced
        (True, SENT + 90, True, False, True, SENT + 90 + FIRST),
        (True, NEVER, True, False, True, SENT + FIRST),
        (False, SENT + 90, True, False, True, SENT + FIRST),
        # with output
        (True, NEVER, True, True, False, SENT + STALL),
        (True, SENT + 20, True, True, False, SENT + 20 + STALL),
        (False, NEVER, True, True, False, SENT + FIRST),
        (False, SENT + 20, True, True, False, SENT + 20 + FIRST),
        # not streamed
        (True, NEVER, False, False, False, SENT + FIRST),
        (True, SENT + 500, False, False, False, SENT + 500 + FIRST),
        (False, NEVER, False, False, False, SENT + WHOLE),
        (False, SENT + 500, False, False, False, SENT + WHOLE),
        # never longer than what is left could take
        (True, SENT + 990, True, True, True, SENT + WHOLE),
        (True, SENT + 990, True, False, True, SENT + WHOLE),
        (True, SENT + 990, False, False, False, SENT + WHOLE),
        (False, SENT + 990, True, True, True, SENT + WHOLE),
    ],
)
def test_when_a_silence_ends(
    sees_steps: bool, moved_at: float, is_streamed: bool, has_output: bool, is_announced: bool, ends_at: float
) -> None:
    """A step and an output of another answer count alike."""
    for name in ("output_at", "stepped_at"):
        limits = patience(**{name: moved_at}, sees_steps=sees_steps, is_streamed=is_streamed)  # type: ignore[arg-type]
        assert limits.ends_at(SENT, has_output=has_output, is_announced=is_announced) == ends_at


def test_what_a_worker_did_before_does_not_shorten_a_silence() -> None:
    """It runs from the request, or from the answer's own last output."""
    limits = patience(stepped_at=SENT - 40, sees_steps=True, is_streamed=True)
    assert limits.ends_at(SENT, has_output=True, is_announced=False) == SENT + STALL
    assert (limits.shorter_seconds, limits.longer_seconds) == (STALL, FIRST)
