"""Compares what rows say of each worker with what its engine counted itself.

The gateway reads an engine's counter of generated tokens again and again, and the ledger keeps what it grew by. If
every token is in a row, charged or lost, the two are equal. The audit names what a difference can come from.
"""

from typing import NamedTuple


class Audit(NamedTuple):
    """One worker: what its engine generated, and what the rows of requests there say, all in tokens.

    `estimated` is a part of `charged`: no engine has confirmed it.
    """

    worker: str
    generated: int
    charged: int
    estimated: int
    lost: int

    @property
    def difference(self) -> int:
        """What the engine generated and no row has; negative if rows have more."""
        return self.generated - self.charged - self.lost

    @property
    def remark(self) -> str:
        """What the difference can come from; "" if there is none."""
        if not self.difference:
            return ""
        if not self.generated:
            return "its engine was never read: it has no metrics, or the time ended before the first reading"
        if abs(self.difference) <= self.estimated + self.lost:
            return "within what is estimated, for answers that broke off before their engine reported"
        if self.difference > 0:
            return "traffic that bypasses this gateway, rows that were dropped, or requests that still run"
        return "readings that are missing: the engine or the gateway started again, or its metrics failed"
