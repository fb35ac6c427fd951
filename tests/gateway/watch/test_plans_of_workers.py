"""The supervisor gets the window's numbers that are configured, and none that the gateway finds out."""

import pytest

from backend.supervisor.plan import read_plan
from gateway.config import Launch, Pool, Window, Worker
from gateway.watch.launched import plan_of


@pytest.mark.parametrize(
    ("window", "sequences", "prefill_tokens"),
    [
        (Window(), None, None),
        (Window(sequences=8), 8, None),
        (Window(sequences=8, express=2, prefill_tokens=512), 11, 512),
        (Window(express=2), None, None),
    ],
)
def test_a_plan_holds_the_window_as_it_is_configured(
    window: Window, sequences: int | None, prefill_tokens: int | None
) -> None:
    """The other side reads it, and its engine runs all that may be sent where the lane is more than the slack."""
    worker = Worker(name="w0", launch=Launch(), window=window)
    pool = Pool(model="tiny", engine_model="tiny", workers=(worker,), window=window)
    plan = read_plan(plan_of(pool, worker))
    assert (plan.sequences, plan.prefill_tokens) == (sequences, prefill_tokens)
