"""What a worker was last seen to do, and how long an answer may be silent because of it.

Output is what the model made: text, reasoning, a tool call, the end of an answer; no keep-alive and no announcement.
Silence is a fault only where the worker makes no step either. An engine's steps are seen in its metrics; another's
output says the same of any worker. Rules, each with its limit:

- A stream of which nothing has come has `first_byte_seconds`, whatever else its worker does.
- One that has announced itself may keep its output back (hidden reasoning, a tool call that is collected), and so does
  an answer that is not streamed: the longer of both limits from the worker's last step. Where steps cannot be seen the
  announcement counts for nothing, and an answer that is not streamed has `whole_seconds`.
- A stream with output has `stall_seconds` from the worker's last step; where steps cannot be seen, the longer of both
  limits from the worker's last output.
- None is silent longer than `whole_seconds`: what an engine too slow to serve would take for all that is left.

No clock is read here.
"""

from dataclasses import dataclass


class Progress:
    """The times of one worker's last output and of its engine's last step, and whether its steps can be seen."""

    __slots__ = ("output_at", "sees_steps", "stepped_at")

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self.output_at = -1.0
        self.stepped_at = -1.0
        self.sees_steps = False

    @property
    def moved_at(self) -> float:
        """When it was last seen to do anything."""
        return max(self.output_at, self.stepped_at)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one answer of a worker may be silent."""

    progress: Progress
    first_byte_seconds: float
    stall_seconds: float
    whole_seconds: float
    is_streamed: bool

    @property
    def shorter_seconds(self) -> float:
        """The shorter of both limits."""
        return min(self.stall_seconds, self.first_byte_seconds)

    @property
    def longer_seconds(self) -> float:
        """The longer of both limits."""
        return max(self.stall_seconds, self.first_byte_seconds)

    def ends_at(self, since: float, *, has_output: bool, is_announced: bool) -> float:
        """When a silence that began at `since` is too long, by what was seen of the worker so far."""
        progress, most = self.progress, since + self.whole_seconds
        moved_at = max(since, progress.moved_at)
        if has_output:
            return min(most, moved_at + (self.stall_seconds if progress.sees_steps else self.longer_seconds))
        if self.is_streamed and not (is_announced and progress.sees_steps):
            return since + self.first_byte_seconds
        return min(most, moved_at + self.longer_seconds) if progress.sees_steps else most
