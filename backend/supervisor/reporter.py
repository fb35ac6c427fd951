"""Bounds the lines of a worker that are passed on, by a token bucket; time is an argument.

An engine that writes thousands of lines a second would drown the log and occupy its reader. Lines that are left out are
counted, and the count comes before the next line that passes.
"""

LINES_PER_SECOND = 20.0
BURST_LINES = 400  # vLLM writes some 200 lines while it starts


class Reporter:
    """The lines of one worker."""

    def __init__(self) -> None:
        """Start with a worker that has written nothing."""
        self._left = float(BURST_LINES)
        self._refilled_at = 0.0
        self._left_out = 0

    def report(self, line: str, now: float) -> tuple[str, ...]:
        """The lines to pass on: `line`, after the count of lines that were left out if there are any; or nothing."""
        elapsed = max(0.0, now - self._refilled_at)
        self._left = min(float(BURST_LINES), self._left + elapsed * LINES_PER_SECOND)
        self._refilled_at = now
        if self._left < 1:
            self._left_out += 1
            return ()
        self._left -= 1
        left_out, self._left_out = self._left_out, 0
        return (f"[{left_out} lines left out]", line) if left_out else (line,)
