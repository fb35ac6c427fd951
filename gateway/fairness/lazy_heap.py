"""A minimum over items whose keys change under it.

Rule: a key may rise silently (a charge costs nothing here); whoever lowers a key says so with `lowered`. The top is
made true when it is asked for. Every operation is O(log n) amortised; stale entries are dropped when they outnumber
the live ones. Ties must not occur between keys of different items; a push serial breaks those of one item.
"""

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import Generic, TypeVar

Item = TypeVar("Item")
Key = tuple[float, float]

_SLACK_ENTRIES = 64  # below this size compaction is not worth its while


class LazyHeap(Generic[Item]):
    """Items by least `key(item)`; keys are pairs of numbers."""

    __slots__ = ("_entries", "_key", "_live", "_serial")

    def __init__(self, key: Callable[[Item], Key]) -> None:
        """Order items by `key`, read again whenever the top is asked for."""
        self._key = key
        self._entries: list[tuple[Key, int, Item]] = []
        self._live: dict[Item, int] = {}
        self._serial = 0

    def __len__(self) -> int:
        """Number of items in the heap."""
        return len(self._live)

    def __contains__(self, item: Item) -> bool:
        """True where `item` was added and not discarded."""
        return item in self._live

    def __iter__(self) -> Iterator[Item]:
        """Every item, in no particular order."""
        return iter(self._live)

    def add(self, item: Item) -> None:
        """Put `item` in, or note that its key went down."""
        self._serial += 1
        self._live[item] = self._serial
        heappush(self._entries, (self._key(item), self._serial, item))
        if len(self._entries) > 2 * len(self._live) + _SLACK_ENTRIES:
            self._compact()

    def lowered(self, item: Item) -> None:
        """Note that the key of `item` went down; nothing happens for one that is not in."""
        if item in self._live:
            self.add(item)

    def discard(self, item: Item) -> None:
        """Take `item` out, if it is in."""
        self._live.pop(item, None)

    def first(self) -> Item | None:
        """The item with the least key, None where the heap is empty."""
        entries, live = self._entries, self._live
        if len(live) == 1:  # so it is for the keys of most tenants
            (item,) = live
            return item
        while entries:
            key, serial, item = entries[0]
            if live.get(item) != serial:
                heappop(entries)
                continue
            current = self._key(item)
            if current == key:
                return item
            self._serial += 1
            live[item] = self._serial
            heapreplace(entries, (current, self._serial, item))
        return None

    def least(self, count: int) -> list[Item]:
        """Up to `count` items with the least keys, in their order; O(count log n)."""
        if len(self._live) == 1:
            return list(self._live)
        taken: list[tuple[Key, int, Item]] = []
        while len(taken) < count and self.first() is not None:
            taken.append(heappop(self._entries))
        for entry in taken:
            heappush(self._entries, entry)
        return [item for _, _, item in taken]

    def _compact(self) -> None:
        self._entries = [entry for entry in self._entries if self._live.get(entry[2]) == entry[1]]
        heapify(self._entries)
