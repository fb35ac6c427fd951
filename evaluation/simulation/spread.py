"""How far the counters of waiting tenants lay apart at each dispatch, next to the bound computed at that time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One moment at which requests were granted room; amounts in cost units."""

    at: float
    spread: float
    bound: float


class Spread:
    """Every dispatch of a run."""

    __slots__ = ("dispatches",)

    def __init__(self) -> None:
        """Nothing was dispatched."""
        self.dispatches: list[Dispatch] = []

    def note(self, dispatch: Dispatch) -> None:
        """Take in one dispatch."""
        self.dispatches.append(dispatch)

    @property
    def largest(self) -> float:
        """The largest spread seen."""
        return max((dispatch.spread for dispatch in self.dispatches), default=0.0)

    @property
    def bound(self) -> float:
        """The largest bound at any dispatch."""
        return max((dispatch.bound for dispatch in self.dispatches), default=0.0)

    @property
    def violations(self) -> int:
        """Dispatches at which the spread was over its bound: none under `vtc`."""
        return sum(dispatch.spread > dispatch.bound for dispatch in self.dispatches)
