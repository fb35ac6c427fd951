"""The port through which the scheduler asks for room; `gateway.workers.Fleet` and the simulator's engines answer it."""

from typing import Protocol


class Capacity(Protocol):
    """Room at the workers of each pool, in sequences and in prompt tokens not yet prefilled."""

    def take(self, pool: str, sequences: int, prompt_tokens: int, avoid: str) -> str | None:
        """Reserve room for one request and name the worker, None where it fits none now.

        `avoid` names a worker that failed this request: used only where the pool has no other that serves.
        """
        ...

    def prefilled(self, worker: str, prompt_tokens: int) -> None:
        """The prompt was read: give its tokens back."""
        ...

    def give(self, worker: str, sequences: int) -> None:
        """The request ended: give its sequences back."""
        ...

    def serves(self, pool: str) -> bool:
        """True where at least one worker of the pool can be expected to answer."""
        ...
