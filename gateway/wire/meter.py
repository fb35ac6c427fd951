"""What every meter of an answer is: fed its body as it arrives, it gives back what the client may see.

A meter's numbers are the engine's own, cumulative over choices and prompts; they are the basis of every charge, so no
chunk is ever counted as a token. When the body ends call `end`, when it breaks off `cut`; never both. What there is to
read and to leave out in each format is in the module of its meter.
"""

from abc import ABC, abstractmethod

from gateway.wire.usage import Usage


class Meter(ABC):
    """Reads one answer; counts are 0 until known, and `has_usage` says that the engine gave them.

    `is_complete`: the true end was seen. `has_error`: the engine sent an error in a good status. `started`:
    the first output or role was seen (TTFT). `fingerprint`: the member that this engine writes as
    `system_fingerprint`, with its comma, b"" for none, None if not seen.
    """

    __slots__ = (
        "cached_tokens",
        "fingerprint",
        "has_error",
        "has_usage",
        "is_complete",
        "output_tokens",
        "prompt_tokens",
        "started",
    )

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.output_tokens = 0
        self.has_usage = False
        self.is_complete = False
        self.has_error = False
        self.started = False
        self.fingerprint: bytes | None = None

    @abstractmethod
    def feed(self, data: bytes) -> bytes:
        """Meter `data`; what the client may see now. Raises `MalformedStream` on an event without end."""

    @abstractmethod
    def end(self) -> bytes:
        """The last bytes for the client, where the body ended as it should."""

    @abstractmethod
    def cut(self) -> bytes:
        """The last bytes for the client, where the body broke off; whole events only."""

    def _take(self, usage: Usage | None) -> None:
        """The engine has told the totals; None where it did not."""
        if usage is None:
            return
        self.has_usage = True
        self.prompt_tokens = usage.prompt_tokens
        self.cached_tokens = usage.cached_tokens
        self.output_tokens = usage.output_tokens
