"""How much of what a worker writes is told: a token bucket, time as an argument.

An engine that writes thousands of lines a second would drown the log and occupy whoever reads it. What is left out is
counted, and the count is told before the next line that passes.
"""

LINES_PER_SECOND = 20.0
BURST_LINES = 400  # vLLM writes some 200 lines while it starts


class Reporter:
    """The lines of one worker."""

    def __init__(self) -> None:
        """It has written nothing yet."""
        self._left = float(BURST_LINES)
        self._refilled_at = 0.0
        self._left_out = 0

    def report(self, line: str, now: float) -> tuple[str, ...]:
        """What is told of `line`: itself, after the number of those left out where there are any, or nothing."""
        elapsed = max(0.0, now - self._refilled_at)
        self._left = min(float(BURST_LINES), self._left + elapsed * LINES_PER_SECOND)
        self._refilled_at = now
        if self._left < 1:
            self._left_out += 1
            return ()
        self._left -= 1
        left_out, self._left_out = self._left_out, 0
        return (f"[{left_out} lines left out]", line) if left_out else (line,)
