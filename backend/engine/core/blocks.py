"""The KV cache as numbered blocks of equal size, shared between sequences whose prompts begin alike.

Rules: a block is free when nobody refers to it; a free block keeps its content, so its hash still finds it, until it
is handed out again; the block longest free is handed out first. Which sequence gets blocks is the scheduler's choice.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence


class BlockPool:
    """Blocks handed out, counted by reference and found again by hash."""

    def __init__(self, num_blocks: int, block_size: int) -> None:
        assert num_blocks > 0 and block_size > 0
        self.num_blocks = num_blocks
        self.block_size = block_size
        self._references = [0] * num_blocks
        self._hash_of: list[int | None] = [None] * num_blocks
        self._block_of: dict[int, int] = {}
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(num_blocks))

    @property
    def free_blocks(self) -> int:
        """Blocks that nobody refers to."""
        return len(self._free)

    @property
    def usage(self) -> float:
        """Share of the blocks that is referred to, 0 to 1."""
        return 1 - len(self._free) / self.num_blocks

    def blocks_for(self, tokens: int) -> int:
        """Blocks that hold `tokens` tokens."""
        return -(-tokens // self.block_size)

    def find(self, hashes: Sequence[int]) -> list[int]:
        """Blocks of the longest prefix of `hashes` that is still in the cache."""
        found = []
        for block_hash in hashes:
            block = self._block_of.get(block_hash)
            if block is None:
                break
            found.append(block)
        return found

    def count_free(self, blocks: Iterable[int]) -> int:
        """How many of `blocks` are free: sharing those takes room, sharing the others does not."""
        return sum(self._references[block] == 0 for block in blocks)

    def share(self, blocks: Iterable[int]) -> None:
        """Add one reference to each of `blocks`."""
        for block in blocks:
            if self._references[block] == 0:
                del self._free[block]
            self._references[block] += 1

    def take(self, count: int) -> list[int]:
        """`count` blocks of unknown content, one reference each; the caller has checked `free_blocks`."""
        assert count <= len(self._free)
        taken = []
        for _ in range(count):
            block, _ = self._free.popitem(last=False)
            self._forget(block)
            self._references[block] = 1
            taken.append(block)
        return taken

    def publish(self, block: int, block_hash: int) -> None:
        """Let later sequences find `block` by its content; a hash that is known keeps its first block."""
        if self._hash_of[block] is None and block_hash not in self._block_of:
            self._hash_of[block] = block_hash
            self._block_of[block_hash] = block

    def release(self, blocks: Sequence[int]) -> None:
        """Drop one reference of each; the tail of a prompt is freed first, so that its head is reused longest."""
        for block in reversed(blocks):
            assert self._references[block] > 0
            self._references[block] -= 1
            if self._references[block] == 0:
                self._free[block] = None

    def _forget(self, block: int) -> None:
        block_hash = self._hash_of[block]
        if block_hash is not None:
            del self._block_of[block_hash]
            self._hash_of[block] = None

    def check_invariants(self, holders: Iterable[Sequence[int]]) -> None:
        """Assert that references equal what `holders` hold, and that every block is free or referred to."""
        held = [0] * self.num_blocks
        for blocks in holders:
            for block in blocks:
                held[block] += 1
        assert held == self._references
        assert all((held[block] == 0) == (block in self._free) for block in range(self.num_blocks))
        assert all(self._hash_of[block] == block_hash for block_hash, block in self._block_of.items())
