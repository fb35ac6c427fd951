"""An estimator for each tenant, and what a tenant without one starts from: the median over the tenants.

Each tenant counts once: one alone cannot move the median beyond what others show. Of two middle votes the lower counts.
"""

from collections.abc import Callable
from itertools import islice
from typing import Generic, Protocol, TypeVar

MAX_TENANTS = 4096  # whose estimators are kept; beyond it the one that was observed least lately is forgotten
MAX_VOTERS = 32  # tenants observed last, whose median is taken

Figures = tuple[float, ...]


class Estimator(Protocol):
    """What is known of one tenant."""

    @property
    def figures(self) -> Figures:
        """Its figures now."""
        ...

    @property
    def votes(self) -> tuple[float | None, ...]:
        """The same, None for what no observation has told."""
        ...


_L = TypeVar("_L", bound=Estimator)


class Panel(Generic[_L]):
    """Estimators by tenant, all made by one function of the figures to start from."""

    __slots__ = ("_common", "_estimators", "_first", "_first_votes", "_make")

    def __init__(self, make: Callable[[Figures], _L], first: Figures, *, first_votes: bool) -> None:
        """No tenant is known; `first_votes` says that the first guess counts like a tenant that has been observed."""
        self._make = make
        self._first = first
        self._first_votes = first_votes
        self._estimators: dict[str, _L] = {}
        self._common: Figures | None = first

    def __len__(self) -> int:
        """Tenants known."""
        return len(self._estimators)

    def figures(self, tenant: str) -> Figures:
        """The figures of `tenant`, or those common to the others."""
        estimator = self._estimators.get(tenant)
        return self.common() if estimator is None else estimator.figures

    def observed(self, tenant: str) -> _L:
        """The estimator of `tenant`, made where there is none, for the caller to tell it what was observed."""
        estimator = self._estimators.pop(tenant, None)
        if estimator is None:
            estimator = self._make(self.common())
            if len(self._estimators) >= MAX_TENANTS:
                del self._estimators[next(iter(self._estimators))]
        self._estimators[tenant] = estimator
        self._common = None
        return estimator

    def common(self) -> Figures:
        """The median of each figure over the tenants that were observed last; the first guess where none was."""
        if self._common is None:
            voters = [estimator.votes for estimator in islice(reversed(self._estimators.values()), MAX_VOTERS)]
            self._common = tuple(self._median(place, voters) for place in range(len(self._first)))
        return self._common

    def _median(self, place: int, voters: list[tuple[float | None, ...]]) -> float:
        votes = [vote for votes in voters if (vote := votes[place]) is not None]
        if self._first_votes or not votes:
            votes.append(self._first[place])
        return sorted(votes)[(len(votes) - 1) // 2]
