"""What all meters share: a meter is fed an answer's body as it arrives and returns what the client may see.

A meter's numbers are the engine's own, cumulative over choices and prompts. Every charge is based on them, so a meter
never counts a chunk as a token. The caller calls `end` when the body ends, or `cut` when it breaks off, never both. The
module of each meter says what it reads in its format and what it leaves out.

Output is what the model made: text, reasoning, a tool call, the end of a choice, the totals; an error counts as output
too. A role, an empty block or `response.created` only announces output. Comments and pings are neither: a meter drops
them before the first output and passes them afterwards.
"""

from abc import ABC, abstractmethod

from gateway.usage import Usage


class Meter(ABC):
    """Reads one answer; counts are 0 until the engine has given them, and then `has_usage` is true.

    `is_complete`: the answer's true end was seen. `has_error`: the engine sent an error with a good status. `outputs`:
    0 until the first output, then it grows with each. `fingerprint`: the member `system_fingerprint` as this engine
    writes it, with its comma; b"" if it writes none, None if not known yet. `is_stream`: the meter reads events.
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
        """The meter to use instead if the answer comes as one JSON body."""

    @abstractmethod
    def feed(self, data: bytes) -> bytes:
        """Meter `data`; returns what the client may see now. Raises `MalformedStream` on an event without end."""

    @property
    def next_sequence_number(self) -> int:
        """The number for an event that the gateway adds after the last one; 0 if the format does not number events."""
        return 0

    @abstractmethod
    def end(self) -> bytes:
        """The last bytes for the client after a body that ended as it should."""

    @abstractmethod
    def cut(self) -> bytes:
        """The last bytes for the client after a body that broke off; only whole events."""

    def _take(self, usage: Usage | None) -> None:
        """Take over the totals that the engine reported; None changes nothing."""
        if usage is None:
            return
        self.has_usage = True
        self.prompt_tokens = usage.prompt_tokens
        self.cached_tokens = usage.cached_tokens
        self.output_tokens = usage.output_tokens
