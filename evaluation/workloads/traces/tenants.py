"""Tenants for a trace that has none: a stated, seeded mapping.

Requests that belong together go to one tenant: those of one session, or where the trace has no sessions those with
the same leading block of the prompt. A block that more than `COMMON_SHARE` of the requests hold (a system prompt)
tells nothing and is passed over. A request with neither stands for itself. Each of these identities is given to
one of `count` tenants with probability proportional to 1 / rank ** skew (Zipf; 0 is uniform), drawn from the seed
and the identity alone.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from evaluation.workloads.traces.row import Row

COMMON_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class TenantMapping:
    """So many tenants, so unequal."""

    count: int = 10
    skew: float = 1.0
    seed: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """The tenants, the one with the most identities first."""
        width = len(str(self.count))
        return tuple(f"tenant-{rank:0{width}}" for rank in range(1, self.count + 1))

    @property
    def words(self) -> str:
        """What it does, in words."""
        return f"{self.count} tenants by Zipf with exponent {self.skew:g}, seed {self.seed}"

    def tenants_of(self, rows: Sequence[Row]) -> list[str]:
        """The tenant of each row, in order."""
        names = self.names
        reached = list(accumulate(1 / rank**self.skew for rank in range(1, self.count + 1)))
        identities = _identities(rows)
        drawn: dict[str, str] = {}
        for identity in identities:
            if identity not in drawn:
                share = Random(f"{self.seed}/{identity}").random() * reached[-1]
                drawn[identity] = names[min(bisect_right(reached, share), self.count - 1)]
        return [drawn[identity] for identity in identities]


def _identities(rows: Sequence[Row]) -> list[str]:
    """What tells which rows belong together."""
    begun = Counter(block for row in rows for block in row.prefix_ids)
    limit = COMMON_SHARE * len(rows)
    identities = []
    for index, row in enumerate(rows):
        block = next((block for block in row.prefix_ids if begun[block] <= limit), None)
        if row.session:
            identities.append(f"session {row.session}")
        elif block is not None:
            identities.append(f"block {block}")
        else:
            identities.append(f"request {index}")
    return identities
