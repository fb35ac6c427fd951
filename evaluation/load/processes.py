"""Child processes of a bench: this module starts them, waits until they are ready, and ends each by its pid.

A child prints one line on stdout when it is ready, `ready URL`. Its output goes to files, not to pipes that somebody
would have to empty. The last lines of its stderr explain a failure. Each child leads a process group of its own, so its
own children end with it. A Ctrl-C reaches only the bench, which then ends the children in order. If the bench is
killed, the kernel ends them.
"""

import asyncio
import contextlib
import ctypes
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

END_SECONDS = 15.0
SECONDS_BETWEEN_LOOKS = 0.05
LOG_LINES_ON_FAILURE = 15

_PR_SET_PDEATHSIG = 1
_READY = re.compile(r"^ready (\S+?)/?\n", re.MULTILINE)


class ChildFailed(Exception):
    """A child did not become ready or ended too early; the message carries its last log lines."""


class Child:
    """One running child process; `url` once it is ready."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, output: Path, log: Path) -> None:
        self.name = name
        self.log = log
        self.url = ""
        self._output = output
        self._process = process

    @property
    def pid(self) -> int:
        """The process id, which is also its process group."""
        return self._process.pid

    def raise_if_ended(self) -> None:
        """Raise `ChildFailed` if the child has ended already."""
        if self._process.returncode is not None:
            raise self._failure(f"ended with status {self._process.returncode}")

    async def ready(self, timeout_seconds: float) -> None:
        """Wait for the line `ready URL`."""
        await self.until(self._is_announced, timeout_seconds)

    async def until(self, holds: Callable[[], Awaitable[bool]], timeout_seconds: float) -> None:
        """Wait until `holds()`; raises `ChildFailed` if the child ends before, or after `timeout_seconds`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        while loop.time() < deadline:
            self.raise_if_ended()
            if await holds():
                return
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
        raise self._failure(f"was not ready within {timeout_seconds:.0f} s")

    async def end(self) -> None:
        """SIGTERM, then SIGKILL to its group after `END_SECONDS` at most; returns when all of it is gone."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self._process.wait()
        # Grandchildren may outlive a crashed child; the group is ours alone (`start_new_session`).
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await self._process.wait()

    async def _is_announced(self) -> bool:
        if (line := _READY.search(self._output.read_text("utf-8", "replace"))) is not None:
            self.url = line[1]
        return line is not None

    def _failure(self, what: str) -> ChildFailed:
        lines = self.log.read_text("utf-8", "replace").splitlines()[-LOG_LINES_ON_FAILURE:]
        return ChildFailed("\n".join([f"{self.name} {what}; its last log lines:", *lines]))


@asynccontextmanager
async def child(
    name: str, arguments: Sequence[str], folder: Path, ready_seconds: float, *, core: int | None = None
) -> AsyncIterator[Child]:
    """Run `python ARGUMENTS` with this interpreter while the context is open, from `ready` on."""
    async with program(name, [sys.executable, *arguments], folder, core=core) as running:
        await running.ready(ready_seconds)
        yield running


@asynccontextmanager
async def program(
    name: str,
    command: Sequence[str],
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    core: int | None = None,
) -> AsyncIterator[Child]:
    """Run `command` while the context is open, with `environment` besides ours, on processor `core` alone if given."""
    output, log = folder / f"{name}.out", folder / f"{name}.log"
    with output.open("wb") as stdout, log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=_before_program(core),
            env=None if environment is None else {**os.environ, **environment},
        )
    running = Child(name, process, output, log)
    try:
        yield running
    finally:
        await asyncio.shield(running.end())


def _before_program(core: int | None) -> Callable[[], None] | None:
    """What a child runs before its program: the kernel ends it with its parent and keeps it on `core` (Linux only)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if core is not None:
            os.sched_setaffinity(0, {core})

    return ask_kernel
