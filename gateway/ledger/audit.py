"""Compares what rows say of each worker with what its engine counted itself.

The gateway reads an engine's counters of prompt and of generated tokens again and again, and the ledger keeps what they
grew by. If every token is in a row, charged or lost, the two are equal. An engine counts a prompt once for each choice,
so the prompts of rows are taken as often. The audit names what a difference can come from.
"""

from collections.abc import Iterable
from operator import add
from typing import Final, Literal, NamedTuple

STEPS_AFTER_LEAVING: Final = 2  # an engine works on until it notices that a client has left
_NOTHING: Final = (0,) * 7


class Audit(NamedTuple):
    """One kind of tokens of one worker: what its engine counted, and what the rows of requests there say.

    `estimated` is a part of `charged`: no engine has confirmed it. `broken` is how many sequences did not come to their
    end.
    """

    worker: str
    kind: Literal["prompt", "output"]
    counted: int
    charged: int
    estimated: int
    lost: int
    broken: int

    @property
    def difference(self) -> int:
        """What the engine counted and no row has; negative if rows have more."""
        return self.counted - self.charged - self.lost

    @property
    def remark(self) -> str:
        """What the difference can come from; "" if there is none."""
        if not self.difference:
            return ""
        if not self.counted:
            return "its engine was never read: it has no metrics, or the time ended before the first reading"
        if abs(self.difference) <= self.explained:
            return (
                f"within what the {self.broken} sequences that broke off explain: no engine reported all of their "
                f"tokens, and an engine works on for a step or two until it notices that a client has left"
            )
        if self.difference > 0:
            return "traffic that bypasses this gateway, rows that were dropped, or requests that still run"
        return "readings that are missing: the engine or the gateway started again, or its metrics failed"

    @property
    def explained(self) -> int:
        """The largest difference that answers which broke off explain."""
        unnoticed = STEPS_AFTER_LEAVING * self.broken if self.kind == "output" else 0
        return self.estimated + self.lost + unnoticed


def audits_of(
    counted: Iterable[tuple[str, int, int]], work: Iterable[tuple[str, int, int, int, int, int, int, int]]
) -> list[Audit]:
    """Prompts and answers of each worker, from what each file has `counted` (prompts, answers) and what its rows say.

    Every process of a gateway reads every engine, so that of their counts the largest is the engine's.
    """
    largest: dict[str, tuple[int, ...]] = {}
    for worker, *counts in counted:
        largest[worker] = tuple(map(max, counts, largest.get(worker, (0, 0))))
    sums: dict[str, tuple[int, ...]] = {}
    for worker, *figures in work:
        sums[worker] = tuple(map(add, figures, sums.get(worker, _NOTHING)))
    return [
        audit
        for worker in sorted((largest.keys() | sums.keys()) - {""})
        for audit in _audits(worker, largest.get(worker, (0, 0)), sums.get(worker, _NOTHING))
    ]


def _audits(worker: str, counted: tuple[int, ...], work: tuple[int, ...]) -> tuple[Audit, Audit]:
    read, generated = counted
    prompt, prompt_estimated, prompt_lost, output, output_estimated, output_lost, broken = work
    return (
        Audit(worker, "prompt", read, prompt, prompt_estimated, prompt_lost, broken),
        Audit(worker, "output", generated, output, output_estimated, output_lost, broken),
    )
