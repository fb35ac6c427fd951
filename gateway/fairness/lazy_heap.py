"""A heap that finds the item with the least key while keys change.

Rule: a key may rise silently, so that a charge costs nothing here. Whoever lowers a key says so with `lowered` or
`add`. The entry of an item in the heap may therefore have a smaller key than the item, but never a larger one; the top
entry is corrected when the top is asked for. An item that comes back, or whose key falls no lower than its entry says,
needs no new entry. Every operation is O(log n) amortised. Entries that no item uses are dropped when they come to the
top, and swept when they outnumber the others. Keys of different items must not be equal; a serial number breaks the
ties between entries of one item.
"""

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
# Keys are pairs; entries are flat, because comparing a nested tuple would miss caches. The types do not state a length:
# compiled, a tuple of known types is no object of its own, and its integers would become floats.
Key = tuple[float, ...]
_Entry = tuple[Any, ...]

_SLACK_ENTRIES = 64  # below this size compaction is not worth its cost


class LazyHeap(Generic[Item]):
    """Items, of which the one with the least `key(item)` comes first; keys are pairs of numbers."""

    __slots__ = ("_entries", "_gone", "_key", "_live", "_serial")

    def __init__(self, key: Callable[[Item], Key]) -> None:
        """Order items by `key`, which is called again whenever the top is asked for."""
        self._key = key
        self._entries: list[_Entry] = []
        self._live: dict[Item, _Entry] = {}
        self._gone: dict[Item, _Entry] = {}  # entries that the heap still has of items that were taken out
        self._serial = 0

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
        entry = self._live.get(item) or self._gone.pop(item, None)
        if entry is None or key < entry[:2]:
            entry = self._push(key, item)
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
            item = entry[3]
            if live.get(item) is not entry:
                heappop(entries)
                if self._gone.get(item) is entry:
                    del self._gone[item]
                continue
            key = self._key(item)
            if key == entry[:2]:
                return item
            self._serial += 1
            live[item] = risen = (*key, self._serial, item)
            heapreplace(entries, risen)
        return None

    def least(self, count: int) -> list[Item]:
        """Up to `count` items with the least keys, in their order; O(count log n)."""
        if len(self._live) == 1:
            return list(self._live)
        taken: list[_Entry] = []
        while len(taken) < count and self.first() is not None:
            taken.append(heappop(self._entries))
        for entry in taken:
            heappush(self._entries, entry)
        return [entry[3] for entry in taken]

    def _push(self, key: Key, item: Item) -> _Entry:
        self._serial += 1
        entry = (*key, self._serial, item)
        heappush(self._entries, entry)
        return entry

    def _compact(self) -> None:
        self._entries = [entry for entry in self._entries if self._live.get(entry[3]) is entry]
        self._gone.clear()
        heapify(self._entries)
