"""Compares what rows say of each worker with what its engine counted itself.

The gateway reads an engine's counters of prompt and of generated tokens again and again, and the ledger keeps what they
grew by. If every token is in a row, charged or lost, the two are equal. An engine counts a prompt once for each choice,
so the prompts of rows are taken as often. The audit names what a difference can come from.
"""

from typing import Final, Literal, NamedTuple

STEPS_AFTER_LEAVING: Final = 2  # an engine works on until it notices that a client has left


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
