"""A heap that finds the item with the least key while keys change.

Rule: a key may rise silently, so that a charge costs nothing here. Whoever lowers a key says so with `lowered` or
`add`. The entry of an item in the heap may therefore have a smaller key than the item, but never a larger one; the top
entry is corrected when the top is asked for. An item that comes back, or whose key falls no lower than its entry says,
needs no new entry. Every operation is O(log n) amortised. Entries that no item uses are dropped when they come to the
top, and swept when they outnumber the others.

An entry is its key alone, one integer: among 100,000 items every object that a comparison touches is out of the
processor's caches. So no two items may ever have the same key, not even at different times. `ranked` makes such keys.
"""

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")

_SLACK_ENTRIES = 64  # below this size compaction is not worth its cost
_TIE_BITS: Final = 64
_RATIO_UNITS: Final = 2.0**20


def ranked(first: int, tie: int) -> int:
    """The key of an item that is ordered by `first` and then by `tie`, a number below 2**63 that no other item has."""
    return (first << _TIE_BITS) + tie


def first_of(key: int) -> int:
    """The first number of the key that `ranked` made of two, of which the second is not negative."""
    return key >> _TIE_BITS


def units_of(ratio: float) -> int:
    """A ratio as an integer for `ranked`, so that ratios which differ by less than a millionth are equal."""
    return int(ratio * _RATIO_UNITS)


class LazyHeap(Generic[Item]):
    """Items, of which the one with the least `key(item)` comes first."""

    __slots__ = ("_entries", "_gone", "_items", "_key", "_live")

    def __init__(self, key: Callable[[Item], int]) -> None:
        """Order items by `key`, which is called again whenever the top is asked for."""
        self._key = key
        self._entries: list[int] = []
        self._items: dict[int, Item] = {}  # by entry
        self._live: dict[Item, int] = {}  # the entry of each item
        self._gone: dict[Item, int] = {}  # entries that the heap still has of items that were taken out

    def __len__(self) -> int:
        """Number of items in the heap."""
        return len(self._live)

    def __contains__(self, item: Item) -> bool:
        """True if `item` was added and not discarded."""
        return item in self._live

    def __iter__(self) -> Iterator[Item]:
        """Every item, in no particular order."""
        return iter(self._live)

    def add(self, item: Item) -> None:
        """Add `item`, or note that its key became smaller."""
        key = self._key(item)
        entry = self._live.get(item)
        if entry is None:
            entry = self._gone.pop(item, None)
        if entry is None or key < entry:
            self._items[key] = item
            heappush(self._entries, key)
            entry = key
        self._live[item] = entry
        if len(self._entries) > 2 * len(self._live) + _SLACK_ENTRIES:
            self._compact()

    def lowered(self, item: Item) -> None:
        """Note that the key of `item` became smaller; no effect if `item` is not in the heap."""
        if item in self._live:
            self.add(item)

    def discard(self, item: Item) -> None:
        """Take `item` out, if it is in the heap."""
        entry = self._live.pop(item, None)
        if entry is not None:
            self._gone[item] = entry

    def first(self) -> Item | None:
        """The item with the least key; None if the heap is empty."""
        entries, live = self._entries, self._live
        if len(live) == 1:  # the usual case for the keys of a tenant
            (item,) = live
            return item
        while entries:
            entry = entries[0]
            owner = self._items.get(entry)
            if owner is None or live.get(owner) != entry:
                self._drop_first(owner)
                continue
            key = self._key(owner)
            if key == entry:
                return owner
            del self._items[entry]
            self._items[key] = owner
            live[owner] = key
            heapreplace(entries, key)
        return None

    def least(self, count: int) -> list[Item]:
        """Up to `count` items with the least keys, in their order; O(count log n)."""
        if len(self._live) == 1:
            return list(self._live)
        taken: list[int] = []
        found: list[Item] = []
        while len(found) < count and (item := self.first()) is not None:
            entry = heappop(self._entries)
            if not taken or entry != taken[-1]:  # else a second entry of the same item, which is dropped
                found.append(item)
                taken.append(entry)
        for entry in taken:
            heappush(self._entries, entry)
        return found

    def _drop_first(self, owner: Item | None) -> None:
        """Drop the first entry, which was that of `owner`; None if another entry with this key was dropped before."""
        entry = heappop(self._entries)
        if owner is not None:
            del self._items[entry]
            if self._gone.get(owner) == entry:
                del self._gone[owner]

    def _compact(self) -> None:
        self._items = {entry: item for item, entry in self._live.items()}
        self._entries = list(self._items)
        self._gone.clear()
        heapify(self._entries)
