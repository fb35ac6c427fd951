"""A child process that is a whole tree: vLLM starts an engine core and workers of its own.

The tree runs in its own process group and ends as one: SIGTERM to the group, SIGKILL to what is left after the grace
time. The kernel ends the child when this program dies, however it dies. The last lines of its output are kept,
because they are the only explanation of a failed start.
"""

import asyncio
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from backend.lifetime import die_with_parent

KEPT_LINES = 40
LINE_LIMIT_BYTES = 1 << 20
GRACE_SECONDS = 8.0


class ProcessTree:
    """A running command with its descendants, in a process group of its own."""

    def __init__(self, process: asyncio.subprocess.Process, on_line: Callable[[str], None]) -> None:
        self._process = process
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
            limit=LINE_LIMIT_BYTES,
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(parent),
        )
        return cls(process, on_line)

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
        self._reading.cancel()

    def _signal(self, number: signal.Signals) -> None:
        # The group may be gone already, the leader included.
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for raw in self._process.stdout:
            line = raw.decode(errors="replace").rstrip()
            self._last_lines.append(line)
            self._on_line(line)
