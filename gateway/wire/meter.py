"""What every meter of an answer is: fed its body as it arrives, it gives back what the client may see.

A meter's numbers are the engine's own, cumulative over choices and prompts; they are the basis of every charge, so no
chunk is ever counted as a token. When the body ends call `end`, when it breaks off `cut`; never both. What there is to
read and to leave out in each format is in the module of its meter.

Output is what the model made: text, reasoning, a tool call, the end of a choice, the totals; an error counts as it.
What says that there will be output (a role, an empty block, `response.created`) announces it. Comments and pings are
neither: they pass once there is output and are dropped before.
"""

from abc import ABC, abstractmethod

from gateway.usage import Usage


class Meter(ABC):
    """Reads one answer; counts are 0 until known, and `has_usage` says that the engine gave them.

    `is_complete`: the true end was seen. `has_error`: the engine sent an error in a good status. `outputs` grows with
    output: 0 until the first has come. `fingerprint`: the member that this engine writes as `system_fingerprint`, with
    its comma, b"" for none, None if not seen. `is_stream`: it reads events.
    """

    __slots__ = (
        "cached_tokens",
        "fingerprint",
        "has_error",
        "has_usage",
        "is_complete",
        "is_stream",
        "output_tokens",
        "outputs",
        "prompt_tokens",
    )

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.output_tokens = 0
        self.has_usage = False
        self.is_complete = False
        self.has_error = False
        self.is_stream = True
        self.outputs = 0
        self.fingerprint: bytes | None = None

    @abstractmethod
    def whole(self) -> "Meter":
        """The meter of the same answer where it comes as one JSON body, whatever was asked for."""

    @abstractmethod
    def feed(self, data: bytes) -> bytes:
        """Meter `data`; what the client may see now. Raises `MalformedStream` on an event without end."""

    @property
    def next_sequence_number(self) -> int:
        """What an event of ours behind the last one is numbered with, where the format numbers events."""
        return 0

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
