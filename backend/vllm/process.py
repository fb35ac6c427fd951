"""A child process that is a whole tree: vLLM starts an engine core and workers of its own.

The tree runs in its own process group and ends as one: SIGTERM to the group, SIGKILL to what is left after the grace
time. The kernel sends the child SIGTERM when this program dies, however it dies; a tree with children of its own, or
one that is stopped, needs more: a guard, a shell in another session, that kills what is left of the group then. The
last lines of its output are kept, because they are the only explanation of a failed start.
"""

import asyncio
import math
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from backend.lifetime import die_with_parent

KEPT_LINES = 40
MAX_LINE_BYTES = 4096  # of a line of output; what is longer is cut
_CUT = " [cut]"
GRACE_SECONDS = 8.0
_GONE_SECONDS = 1.0  # a killed process holds its memory, and its GPU's, until the kernel has taken it apart
_LOOK_SECONDS = 0.02

# Reads until the other end of its input is gone, which is this program; then waits for the group's orderly end.
_GUARD = """
read -r _
while kill -s 0 -- "-$1" && [ "$2" -gt "${waited:-0}" ]; do sleep 1; waited=$((${waited:-0} + 1)); done
kill -s KILL -- "-$1"
"""


class ProcessTree:
    """A running command with its descendants, in a process group of its own."""

    def __init__(self, process: asyncio.subprocess.Process, on_line: Callable[[str], None]) -> None:
        self._process = process
        self._guard: asyncio.subprocess.Process | None = None
        self._on_line = on_line
        self._last_lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._reading = asyncio.create_task(self._read(), name="read the child's output")

    @classmethod
    async def start(
        cls, command: Sequence[str], environment: Mapping[str, str], on_line: Callable[[str], None]
    ) -> "ProcessTree":
        """Start `command`; `on_line` receives each line of its output."""
        parent = os.getpid()
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=MAX_LINE_BYTES,
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(parent),
        )
        return cls(process, on_line)

    async def guard(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """See to it that nothing of the group outlives this program by more than `grace_seconds`, however it dies."""
        self._guard = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", _GUARD, "guard", str(self._process.pid), str(math.ceil(grace_seconds))),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The end of the output, oldest first."""
        return tuple(self._last_lines)

    async def wait(self) -> int:
        """The exit status of the command itself, once its output is read."""
        status = await self._process.wait()
        # Descendants may hold the pipe open: what the command itself wrote is there already.
        await asyncio.wait({self._reading}, timeout=0.5)
        return status

    async def end(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """End the whole group and return when nothing of it runs any more; by force after `grace_seconds`."""
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), grace_seconds)
        except TimeoutError:
            pass
        finally:
            self._signal(signal.SIGKILL)
        await self._process.wait()
        await self._dissolved()
        await self._dismiss_guard()
        self._reading.cancel()

    async def _dissolved(self) -> None:
        """Wait until no process is left in the group; where nobody collects the dead, not for long."""
        left_seconds = _GONE_SECONDS
        while self._signal(0) and left_seconds > 0:
            left_seconds -= _LOOK_SECONDS
            await asyncio.sleep(_LOOK_SECONDS)

    async def _dismiss_guard(self) -> None:
        if self._guard is not None:
            self._guard.kill()
            await self._guard.wait()

    def _signal(self, number: int) -> bool:
        """Whether there was anybody in the group to get the signal; the leader may be gone already."""
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return False
        return True

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in lines_of(self._process.stdout):
            self._last_lines.append(line)
            self._on_line(line)


async def lines_of(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Every line of `stream` without its end, as text; of one beyond the stream's limit the beginning."""
    beginning = b""
    while True:
        try:
            rest = await stream.readuntil(b"\n")
        except asyncio.LimitOverrunError as overrun:
            piece = await stream.readexactly(overrun.consumed)
            beginning = beginning or piece
            continue
        except asyncio.IncompleteReadError as end:
            rest = end.partial
        if beginning or rest:
            raw, cut = (beginning, _CUT) if beginning else (rest, "")
            yield raw[:MAX_LINE_BYTES].decode(errors="replace").rstrip() + cut
        if not rest.endswith(b"\n"):
            return
        beginning = b""
