"""The clock that shows whether this process stood still."""

import time


def seconds() -> float:
    """The time since the machine started; it goes on while the process is stopped or the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
