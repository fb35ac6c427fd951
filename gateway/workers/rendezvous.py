"""Rendezvous hashing: how replicas choose the same worker for a new prompt without asking each other.

Each pair of prompt and worker has a score that is the same in every process. The worker with the largest score is the
prompt's. If a worker comes or goes, only the prompts that were its own change their worker.
"""

from hashlib import blake2b
from typing import Final

WORD_MASK: Final = 2**64 - 1
_FACTORS: Final = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # of splitmix64's finaliser


def worker_word(name: str) -> int:
    """A number that stands for a worker in `score`; the same in every process."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest())


def score(prompt: int, worker: int) -> int:
    """The score of a pair; it looks random. Both numbers are taken modulo 2^64."""
    word = (prompt ^ worker) & WORD_MASK
    for factor in _FACTORS:
        word = ((word ^ (word >> 31)) * factor) & WORD_MASK
    return word ^ (word >> 31)
