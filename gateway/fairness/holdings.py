"""Whose requests hold memory, and which of them is pushed out if they hold too many bytes.

A `Holding` is what one request holds. Rules that hold whenever a call has returned:
- The bytes of a tenant are the sum over its holdings. The bytes of all tenants together are at most `max_bytes`.
- If there are too many bytes, the tenant that has most, divided by its weight, loses its newest holding. This is
  repeated until the rest fits. So a newcomer stays unless its own tenant has come to have the most.
- A holding that was let go holds nothing until it is resized; one that was pushed out holds nothing for ever.
Left to others: when a size is known, and what becomes of a request that was pushed out.
"""

from collections.abc import Iterator
from typing import Generic, TypeVar

from gateway.fairness.lazy_heap import LazyHeap, ranked, units_of


class Holding:
    """What one request holds in memory; `pool` is empty until it is known."""

    __slots__ = ("is_pushed_out", "order", "pool", "size_bytes", "tenant", "weight")

    def __init__(self, tenant: str, weight: float) -> None:
        """Start with nothing held, for `tenant` of `weight` (> 0)."""
        self.tenant = tenant
        self.weight = weight
        self.pool = ""
        self.size_bytes = 0
        self.order = 0  # its number in the order of first bytes over all holdings; 0 while it holds nothing
        self.is_pushed_out = False


_Held = TypeVar("_Held", bound=Holding)


class _Holder(Generic[_Held]):
    """A tenant that holds something, with its holdings in the order of their first bytes."""

    __slots__ = ("holdings", "size_bytes", "weight")

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.size_bytes = 0
        self.holdings: dict[_Held, None] = {}

    def newest(self) -> _Held:
        """The holding that came last; there is one."""
        return next(reversed(self.holdings))

    def rank(self) -> int:
        """The key in the heap: most bytes by weight come first; of equals, the one with the newest holding."""
        return ranked(-units_of(self.size_bytes / self.weight), -self.newest().order)


class Holdings(Generic[_Held]):
    """The holdings of every request."""

    __slots__ = ("_grown", "_holders", "_most", "_orders", "held_bytes", "max_bytes")

    def __init__(self, max_bytes: int) -> None:
        """Start with nothing held."""
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self._orders = 0
        self._holders: dict[str, _Holder[_Held]] = {}
        self._most: LazyHeap[_Holder[_Held]] = LazyHeap(_rank)
        self._grown: dict[_Holder[_Held], None] = {}  # those that have more than the heap knows, until a push-out

    def resize(self, holding: _Held, size_bytes: int) -> list[_Held]:
        """Let `holding` hold `size_bytes` in all; returns the holdings pushed out for it, perhaps itself."""
        grown_bytes = size_bytes - holding.size_bytes
        holder = self._enter(holding) if holding.order == 0 else self._holders[holding.tenant]
        holding.size_bytes = size_bytes
        holder.size_bytes += grown_bytes
        self.held_bytes += grown_bytes
        if grown_bytes >= 0:
            self._grown[holder] = None
        return self._push_out() if self.held_bytes > self.max_bytes else []

    def let_go(self, holding: _Held) -> None:
        """Let `holding` hold nothing any more; idempotent."""
        if holding.order == 0:
            return
        holder = self._holders[holding.tenant]
        del holder.holdings[holding]
        holder.size_bytes -= holding.size_bytes
        self.held_bytes -= holding.size_bytes
        holding.size_bytes = holding.order = 0
        if not holder.holdings:
            del self._holders[holding.tenant]
            self._grown.pop(holder, None)
            self._most.discard(holder)

    def __iter__(self) -> Iterator[_Held]:
        """Every holding, by tenant."""
        for holder in self._holders.values():
            yield from holder.holdings

    def _enter(self, holding: _Held) -> _Holder[_Held]:
        assert not holding.is_pushed_out
        self._orders += 1
        holding.order = self._orders
        holder = self._holders.get(holding.tenant)
        if holder is None:
            holder = self._holders[holding.tenant] = _Holder(holding.weight)
        holder.weight = holding.weight  # the newest one that the configuration gives
        holder.holdings[holding] = None
        return holder

    def _push_out(self) -> list[_Held]:
        for grown in self._grown:
            self._most.add(grown)
        self._grown.clear()
        pushed_out = []
        while self.held_bytes > self.max_bytes:
            holder = self._most.first()
            assert holder is not None
            holding = holder.newest()
            self.let_go(holding)
            holding.is_pushed_out = True
            pushed_out.append(holding)
        return pushed_out


def _rank(holder: _Holder[_Held]) -> int:
    return holder.rank()
