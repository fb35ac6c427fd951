"""A minimum over items whose keys change under it.

Rule: a key may rise silently (a charge costs nothing here); whoever lowers a key says so with `lowered`. The top is
made true when it is asked for, so an item's entry may stand too high, never too low: one that comes back, or whose key
falls no lower than its entry says, needs no new one. Every operation is O(log n) amortised; entries that no item uses
are dropped as they surface, and swept where they outnumber the others. Ties must not occur between keys of different
items; a push serial breaks those of one item.
"""

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
# Pairs, and flat entries (a comparison that went through the key's own tuple would miss caches). Their length is not in
# their types: a tuple of known types is no object of its own once compiled, and integers among floats become such.
Key = tuple[float, ...]
_Entry = tuple[Any, ...]

_SLACK_ENTRIES = 64  # below this size compaction is not worth its while


class LazyHeap(Generic[Item]):
    """Items by least `key(item)`; keys are pairs of numbers."""

    __slots__ = ("_entries", "_gone", "_key", "_live", "_serial")

    def __init__(self, key: Callable[[Item], Key]) -> None:
        """Order items by `key`, read again whenever the top is asked for."""
        self._key = key
        self._entries: list[_Entry] = []
        self._live: dict[Item, _Entry] = {}
        self._gone: dict[Item, _Entry] = {}  # of items taken out, where the heap still has them
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
        key = self._key(item)
        entry = self._live.get(item) or self._gone.pop(item, None)
        if entry is None or key < entry[:2]:
            entry = self._push(key, item)
        self._live[item] = entry
        if len(self._entries) > 2 * len(self._live) + _SLACK_ENTRIES:
            self._compact()

    def lowered(self, item: Item) -> None:
        """Note that the key of `item` went down; nothing happens for one that is not in."""
        if item in self._live:
            self.add(item)

    def discard(self, item: Item) -> None:
        """Take `item` out, if it is in."""
        entry = self._live.pop(item, None)
        if entry is not None:
            self._gone[item] = entry

    def first(self) -> Item | None:
        """The item with the least key, None where the heap is empty."""
        entries, live = self._entries, self._live
        if len(live) == 1:  # so it is for the keys of most tenants
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
