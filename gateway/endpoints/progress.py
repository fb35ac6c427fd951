"""What a worker was last seen to do, and how long one of its answers may therefore be silent.

Output is what the model made: text, reasoning, a tool call, the end of an answer. A keep-alive is no output, nor is an
event that only announces an answer. Silence is a fault only while the worker makes no step either. An engine's metrics
show its steps; output of any other answer shows that the worker moves. "Both limits" are `first_byte_seconds` and
`stall_seconds`. Rules:

- A stream of which nothing has come may be silent for `first_byte_seconds`, whatever else its worker does.
- A stream that has announced itself may hold its output back (hidden reasoning, a tool call that is collected). It may
  be silent for the longer of both limits after the worker last moved (made output or a step). If steps cannot be seen,
  the announcement does not count: the first rule applies.
- An answer that is not streamed has the same time; if steps cannot be seen, it has `whole_seconds`.
- A stream with output may be silent for `stall_seconds` after the worker last moved; if steps cannot be seen, for the
  longer of both limits after the worker's last output.
- No answer may be silent for longer than `whole_seconds`: an engine that needs longer for the rest of an answer is too
  slow to serve.

No clock is read here.
"""


class Progress:
    """When one worker last made output and its engine last made a step, and whether its steps can be seen."""

    __slots__ = ("output_at", "sees_steps", "stepped_at")

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self.output_at = -1.0
        self.stepped_at = -1.0
        self.sees_steps = False

    @property
    def moved_at(self) -> float:
        """When the worker last made output or a step."""
        return max(self.output_at, self.stepped_at)


class Patience:
    """How long one answer of a worker may be silent; `shorter_seconds` and `longer_seconds` are of both limits.

    This is no dataclass, whose `__init__` is not compiled.
    """

    __slots__ = (
        "first_byte_seconds",
        "is_streamed",
        "longer_seconds",
        "progress",
        "shorter_seconds",
        "stall_seconds",
        "whole_seconds",
    )

    def __init__(
        self,
        progress: Progress,
        first_byte_seconds: float,
        stall_seconds: float,
        whole_seconds: float,
        *,
        is_streamed: bool,
    ) -> None:
        """The patience with an answer of the worker whose progress is `progress`."""
        self.progress = progress
        self.first_byte_seconds = first_byte_seconds
        self.stall_seconds = stall_seconds
        self.whole_seconds = whole_seconds
        self.is_streamed = is_streamed
        self.shorter_seconds = min(stall_seconds, first_byte_seconds)
        self.longer_seconds = max(stall_seconds, first_byte_seconds)

    def ends_at(self, since: float, *, has_output: bool, is_announced: bool) -> float:
        """When a silence that began at `since` becomes too long, by what was seen of the worker so far."""
        progress, most = self.progress, since + self.whole_seconds
        moved_at = max(since, progress.moved_at)
        if has_output:
            return min(most, moved_at + (self.stall_seconds if progress.sees_steps else self.longer_seconds))
        if self.is_streamed and not (is_announced and progress.sees_steps):
            return since + self.first_byte_seconds
        return min(most, moved_at + self.longer_seconds) if progress.sees_steps else most
