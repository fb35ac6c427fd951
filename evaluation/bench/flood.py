"""The load of the isolation bench: a flood and a modest tenant beside it.

The flooding tenant keeps 64 requests outstanding; the modest one sends about one short one per second, at random but
not together: it should wait for the flood, not for itself. The flood's output lengths are random: of equal lengths
whole windows would end together, and the many intervals of almost zero would say nothing about how long one waits for
the next.
"""

from collections.abc import Sequence

from evaluation.bench.stage import Part, Run, RunOptions
from evaluation.load.prompts import Lengths
from evaluation.load.tenants import ClosedLoop, LoadTenant, Spaced

SEQUENCES = 8

FLOOD = "flood"
MODEST = "modest"
MODEST_ALONE = (LoadTenant(MODEST, Spaced(0.7, 1.3), Lengths(24, 40), Lengths(24, 40)),)
TENANTS = (LoadTenant(FLOOD, ClosedLoop(64), Lengths(24, 40), Lengths(8, 56)), *MODEST_ALONE)

GRACE_SECONDS = 30.0


def part(options: RunOptions, number: int, name: str, tenants: Sequence[LoadTenant] = TENANTS) -> Part:
    """One way's turn in round `number`: its part of the measured window."""
    return Part(
        name=f"round {number + 1} of {options.rounds}: {name}",
        tenants=tenants,
        seed=options.seed + number,
        warmup_seconds=min(8.0, options.seconds / options.rounds / 2),
        seconds=options.seconds / options.rounds,
        grace_seconds=GRACE_SECONDS,
    )


def ttfts(runs: Sequence[Run]) -> list[float]:
    """TTFT of every modest request of the windows; one without a token counts as long as it was watched.

    That is less than it would have been, and so never in favour of a comparison with something slower.
    """
    return [
        run.observed_until - record.sent_at if record.ttft_seconds is None else record.ttft_seconds
        for run in runs
        for record in run.sent(MODEST)
    ]


def unanswered(runs: Sequence[Run]) -> int:
    """Modest requests of the windows that did not get their whole answer."""
    return sum(not record.is_complete for run in runs for record in run.sent(MODEST))
