"""A workload: who sends what and when, whatever serves it.

The one value that files, traces and generators are made into. Requests are in the order of their arrival.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from evaluation.requests import Request

PREFIX_BLOCK_TOKENS = 512
"""Tokens of one block of `Request.prefix_ids` where nothing else is said: the block of the Mooncake traces."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Arrivals over `seconds`; `tenants` maps each name to its weight, also where it sends nothing.

    `prefix_block_tokens` is the size of the blocks that `Request.prefix_ids` name.
    """

    name: str
    description: str
    seconds: float
    tenants: Mapping[str, float]
    requests: tuple[Request, ...]
    prefix_block_tokens: int = PREFIX_BLOCK_TOKENS

    def __post_init__(self) -> None:
        """Hold the order that every reader relies on."""
        assert all(early.arrival_seconds <= late.arrival_seconds for early, late in pairwise(self.requests))
        assert all(request.tenant in self.tenants for request in self.requests)

    def of(self, tenant: str) -> tuple[Request, ...]:
        """The requests of one tenant."""
        return tuple(request for request in self.requests if request.tenant == tenant)

    def only(self, *tenants: str) -> "Workload":
        """The same without the others: what a tenant gets when it is alone."""
        kept = {name: weight for name, weight in self.tenants.items() if name in tenants}
        assert len(kept) == len(set(tenants)), f"{self.name} has no such tenant"
        return replace(self, tenants=kept, requests=tuple(each for each in self.requests if each.tenant in kept))

    def until(self, seconds: float) -> "Workload":
        """The same, cut off after `seconds`."""
        kept = tuple(request for request in self.requests if request.arrival_seconds < seconds)
        return replace(self, seconds=min(seconds, self.seconds), requests=kept)
