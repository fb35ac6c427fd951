"""Keeps an estimator for each tenant; a tenant without one starts from the median over the tenants.

Each tenant has one vote. With three or more voters, no single tenant can move the median beyond the votes of the
others. If the number of votes is even, the lower of the two middle ones counts.
"""

from collections.abc import Callable
from itertools import islice
from typing import Generic, Protocol, TypeVar

MAX_TENANTS = 4096  # with more, the estimator whose last observation is oldest is forgotten
MAX_VOTERS = 32  # the median is taken over so many tenants, those observed most recently

Figures = tuple[float, ...]


class Estimator(Protocol):
    """What is known about one tenant."""

    @property
    def figures(self) -> Figures:
        """Its figures now."""
        ...

    @property
    def votes(self) -> tuple[float | None, ...]:
        """Its figures; None for each that no observation has shown."""
        ...


_L = TypeVar("_L", bound=Estimator)


class Panel(Generic[_L]):
    """Estimators by tenant; one function makes all of them from the figures to start with."""

    __slots__ = ("_common", "_estimators", "_first", "_first_votes", "_make")

    def __init__(self, make: Callable[[Figures], _L], first: Figures, *, first_votes: bool) -> None:
        """Start without tenants; `first_votes` means that the first guess has a vote like a tenant."""
        self._make = make
        self._first = first
        self._first_votes = first_votes
        self._estimators: dict[str, _L] = {}
        self._common: Figures | None = first

    def __len__(self) -> int:
        """How many tenants are known."""
        return len(self._estimators)

    def figures(self, tenant: str) -> Figures:
        """The figures of `tenant`, or the median over the others if it is unknown."""
        estimator = self._estimators.get(tenant)
        return self.common() if estimator is None else estimator.figures

    def observed(self, tenant: str) -> _L:
        """The estimator of `tenant`, made if there is none, so that the caller can pass an observation to it."""
        estimator = self._estimators.pop(tenant, None)
        if estimator is None:
            estimator = self._make(self.common())
            if len(self._estimators) >= MAX_TENANTS:
                del self._estimators[next(iter(self._estimators))]
        self._estimators[tenant] = estimator
        self._common = None
        return estimator

    def common(self) -> Figures:
        """The median of each figure over the most recent tenants; the first guess if there are none."""
        if self._common is None:
            voters = [estimator.votes for estimator in islice(reversed(self._estimators.values()), MAX_VOTERS)]
            self._common = tuple(self._median(place, voters) for place in range(len(self._first)))
        return self._common

    def _median(self, place: int, voters: list[tuple[float | None, ...]]) -> float:
        votes = [vote for votes in voters if (vote := votes[place]) is not None]
        if self._first_votes or not votes:
            votes.append(self._first[place])
        return sorted(votes)[(len(votes) - 1) // 2]
