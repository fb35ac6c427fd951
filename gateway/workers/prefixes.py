"""Estimates which beginnings of prompts the workers of a pool have in their KV caches.

A prompt is cut into blocks of bytes. The name of a block is a hash over itself and all blocks before it, so one name
stands for a whole beginning. Each prompt that is sent to a worker counts as cached there. If the blocks exceed the
worker's KV cache, the least recently used ones are forgotten first, and the end of a prompt before its beginning, as in
the engine. If an engine reports that it no longer has a beginning, then everything that was not used later is forgotten
too.

A worker has a block only if it has all blocks before it. So the longest match is found by bisection, for all workers at
once. Names never leave the process. The salt in the first name decides whose prompts may match. Left to `placement`:
where a request goes.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from gateway.learned.centre import Ratio
from gateway.learned.prompts import FIRST_TOKENS_PER_BYTE, LEAST_TOKENS_PER_BYTE, MOST_TOKENS_PER_BYTE

BLOCK_BYTES = 256  # about as many tokens as four of vLLM's blocks; hashing 8 KB costs 9 us
_FINE_BYTES = 64 * BLOCK_BYTES
MAX_BLOCKS_PER_WORKER = 65_536
DEFAULT_CACHE_TOKENS = 131_072  # if the worker does not say: about what an 8 B model has on a GPU of 40 GB
_FIRST_PROMPT_BYTES = 4096.0
_TOLERANCE = 8  # an engine that found up to an eighth of the prompt less than expected has lost nothing


def _block_ends(most_bytes: int) -> tuple[int, ...]:
    """Where blocks end: every 256 bytes, and beyond 16 KiB each 1/64 further, so that long prompts have few blocks."""
    ends = [BLOCK_BYTES]
    while ends[-1] < most_bytes:
        ends.append(ends[-1] + max(BLOCK_BYTES, ends[-1] // 64))
    return tuple(ends)


BLOCK_ENDS = _block_ends(2**31)  # beyond any body
_BLOCK_SIZES = tuple(end - start for start, end in zip((0, *BLOCK_ENDS), BLOCK_ENDS, strict=False))


def prefix_chain(prompt: bytes | memoryview, *salt: str, is_shared: bool = False) -> tuple[int, ...]:
    """The names of all whole blocks of `prompt`; prompts with different `salt` have no name in common.

    If the workers are shared with other replicas, the first name is the same in each of them.
    """
    view = memoryview(prompt)  # hashed without a copy: 0.28 us a block, blake2b takes 1.6
    name, start, names = hash(salt), 0, []
    for end in BLOCK_ENDS:
        if end > len(prompt):
            break
        name = _shared_name(view[:end], salt) if is_shared and not start else hash((name, view[start:end]))
        names.append(name)
        start = end
    return tuple(names)


def _shared_name(block: memoryview, salt: tuple[str, ...]) -> int:
    digest = blake2b(repr(salt).encode(), digest_size=8)
    digest.update(block)
    return int.from_bytes(digest.digest())


def prompt_bytes(blocks: int) -> float:
    """The expected size of a prompt with so many whole blocks, which may end anywhere in the next one."""
    return BLOCK_ENDS[blocks - 1] + _BLOCK_SIZES[blocks] / 2


def cached_tokens(prompt_tokens: int, blocks: int, found: int) -> int:
    """How many tokens the first `found` of a prompt's `blocks` have."""
    return int(prompt_tokens * BLOCK_ENDS[found - 1] / prompt_bytes(blocks)) if found else 0


@dataclass(frozen=True, slots=True)
class CachedPrefix:
    """What was believed when a prompt was sent: `found` of its blocks were cached, and last used at visit `since`.

    `is_sure` means that the request that used them had been answered, so the engine had read them.
    """

    visit: int
    found: int
    since: int
    is_sure: bool


class _Cache:
    """The blocks of one worker, the least recently used first; a visit is the sending of one prompt."""

    __slots__ = ("blocks", "max_tokens", "reports", "size_bytes", "visits")

    def __init__(self) -> None:
        self.blocks: OrderedDict[int, tuple[int, int]] = OrderedDict()  # name -> last visit, bytes
        self.max_tokens = DEFAULT_CACHE_TOKENS
        self.reports = False
        self.size_bytes = 0
        self.visits: dict[int, None] = {}  # those whose prompts are not answered yet, in order


class PrefixIndex:
    """The caches of a pool's workers; the caller chooses a small number for each worker."""

    def __init__(self) -> None:
        """Start without workers."""
        self._caches: dict[int, _Cache] = {}
        self._holders: dict[int, int] = {}  # name -> a bit for each worker that has it
        self._visits = 0
        self._tokens = Ratio(FIRST_TOKENS_PER_BYTE, _FIRST_PROMPT_BYTES, (LEAST_TOKENS_PER_BYTE, MOST_TOKENS_PER_BYTE))

    # -- workers

    def add(self, worker: int) -> None:
        """Add a worker with an empty cache."""
        self._caches[worker] = _Cache()

    def remove(self, worker: int) -> None:
        """Forget a worker and its cache."""
        self.clear(worker)
        del self._caches[worker]

    def clear(self, worker: int) -> None:
        """Empty the cache of a worker that was started anew."""
        cache = self._caches[worker]
        while cache.blocks:
            self._drop(worker, cache)
        cache.reports = False

    def bound(self, worker: int, max_tokens: int) -> None:
        """Set how many tokens the worker's KV cache holds."""
        cache = self._caches[worker]
        cache.max_tokens = max_tokens
        self._trim(worker, cache)

    # -- looking

    def found(self, worker: int, prefix: Sequence[int]) -> int:
        """How many blocks of `prefix` a worker has cached."""
        return self._longest(prefix, len(prefix), 1 << worker)

    def holders(self, prefix: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
        """How many blocks match and which workers have them, for each length of match, the longest first."""
        seen, blocks = 0, len(prefix)
        while blocks := self._longest(prefix, blocks, ~seen):
            fresh = self._holders[prefix[blocks - 1]] & ~seen
            seen |= fresh
            yield blocks, _members(fresh)

    def _longest(self, prefix: Sequence[int], most: int, among: int) -> int:
        """The largest number of blocks, at most `most`, whose last one is cached by a worker of the mask `among`."""
        low, high, holders = 0, most, self._holders
        while low < high:
            middle = (low + high + 1) // 2
            if holders.get(prefix[middle - 1], 0) & among:
                low = middle
            else:
                high = middle - 1
        return low

    # -- learning

    def send(self, worker: int, prefix: Sequence[int]) -> CachedPrefix:
        """Note that a prompt goes to a worker, whose cache holds it from now on; returns what it held before."""
        cache = self._caches[worker]
        self._visits += 1
        visit, found = self._visits, self.found(worker, prefix)
        since = cache.blocks[prefix[found - 1]][0] if found else 0
        cached = CachedPrefix(visit, found, since, is_sure=since < next(iter(cache.visits), visit))
        cache.visits[visit] = None
        self._hold(worker, cache, prefix, found, visit)
        self._trim(worker, cache)
        return cached

    def _hold(self, worker: int, cache: _Cache, prefix: Sequence[int], found: int, visit: int) -> None:
        """Make the blocks of `prefix` the most recently used, with the first block last in line to be forgotten."""
        bit, blocks, holders = 1 << worker, cache.blocks, self._holders
        for place in range(len(prefix) - 1, -1, -1):
            name, size = prefix[place], _BLOCK_SIZES[place]
            if place < found:
                blocks.move_to_end(name)
            else:
                holders[name] = holders.get(name, 0) | bit
                cache.size_bytes += size
            blocks[name] = (visit, size)

    def answered(self, worker: int, cached: CachedPrefix) -> None:
        """Note that the request of a prompt has ended."""
        self._caches[worker].visits.pop(cached.visit, None)

    def report(self, worker: int, cached: CachedPrefix, blocks: int, prompt_tokens: int, found_tokens: int) -> None:
        """Learn that an engine counted a prompt of `blocks` blocks and found its first `found_tokens` in its cache.

        A report of 0 counts only if the engine has ever found something, because many engines do not report.
        """
        cache = self._caches[worker]
        self._tokens.observe(prompt_bytes(blocks), prompt_tokens)
        cache.reports = cache.reports or found_tokens > 0
        expected = cached_tokens(prompt_tokens, blocks, cached.found)
        slack = prompt_tokens / _TOLERANCE + BLOCK_BYTES * self._tokens.value
        if cache.reports and cached.is_sure and found_tokens < expected - slack:
            self._drop_unused_since(worker, cache, cached.since)

    # -- forgetting

    def _drop_unused_since(self, worker: int, cache: _Cache, visit: int) -> None:
        while cache.blocks and next(iter(cache.blocks.values()))[0] <= visit:
            self._drop(worker, cache)

    def _trim(self, worker: int, cache: _Cache) -> None:
        most_bytes = cache.max_tokens / self._tokens.value
        while cache.size_bytes > most_bytes or len(cache.blocks) > MAX_BLOCKS_PER_WORKER:
            self._drop(worker, cache)

    def _drop(self, worker: int, cache: _Cache) -> None:
        name, (_, size) = cache.blocks.popitem(last=False)
        cache.size_bytes -= size
        left = self._holders[name] & ~(1 << worker)
        if left:
            self._holders[name] = left
        else:
            del self._holders[name]

    # -- views

    def cached_size(self, worker: int) -> tuple[int, float]:
        """How many blocks and tokens a worker is believed to have cached."""
        cache = self._caches[worker]
        return len(cache.blocks), cache.size_bytes * self._tokens.value

    def check_invariants(self) -> None:
        """Assert that the sums agree with the blocks."""
        for worker, cache in self._caches.items():
            assert cache.size_bytes == sum(size for _, size in cache.blocks.values())
            assert all(self._holders[name] >> worker & 1 for name in cache.blocks)
            visits = [visit for visit, _ in cache.blocks.values()]
            assert visits == sorted(visits)
        held = sum(len(cache.blocks) for cache in self._caches.values())
        assert held == sum(mask.bit_count() for mask in self._holders.values())
        assert all(self._holders.values())


def _members(mask: int) -> list[int]:
    """The positions of the bits that are set."""
    members = []
    while mask:
        lowest = mask & -mask
        members.append(lowest.bit_length() - 1)
        mask ^= lowest
    return members
