"""Writes lines to a stream that may stall, without stalling the event loop, and never into a line of another process.

A log's reader can stop reading (a full disk, a hung collector behind a pipe); the loop must not wait for
it. A thread writes, at most `max_lines` wait for it, and what finds no place is dropped and counted; the
count is written as a line of its own once the stream moves again. The thread lets lines gather for a moment:
woken for each it would take the processor from the loop as often as a request ends.

Several processes may write to one stream. The kernel keeps only short writes to a pipe in one piece (4 KiB on Linux),
so each write holds a lock on the stream itself. It is a POSIX record lock: it belongs to the process and not to the
descriptor that all have inherited, and it ends with the process.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_UN, lockf
from queue import SimpleQueue
from threading import Thread
from time import sleep
from typing import TextIO

MAX_LINES = 10_000
_CLOSE_SECONDS = 2.0
_GATHER_SECONDS = 0.1  # a line comes so much later; a wake costs ten times what a line does


class LineWriter:
    """Queues lines for a writing thread; `notice` words the count of dropped lines."""

    def __init__(self, stream: TextIO, notice: Callable[[int], str], max_lines: int = MAX_LINES) -> None:
        self._stream = stream
        self._notice = notice
        self._max_lines = max_lines
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._dropped = 0
        self._thread = Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Queue one line (without its end); never waits."""
        if self._lines.qsize() >= self._max_lines:
            self._dropped += 1
            return
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._lines.put(self._notice(dropped))
        self._lines.put(line)

    def close(self) -> None:
        """Write what is queued and end the thread; gives up on a stream that stalls for two seconds."""
        if self._dropped:
            self._lines.put(self._notice(self._dropped))
        self._lines.put(None)
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            sleep(_GATHER_SECONDS)
            lines = [line]
            while not self._lines.empty() and (line := self._lines.get()) is not None:
                lines.append(line)
            self._write("\n".join(lines) + "\n")
            if line is None:
                return

    def _write(self, text: str) -> None:
        try:
            with _alone(self._stream):
                self._stream.write(text)
                self._stream.flush()
        except (OSError, ValueError):
            # The stream is gone or closed: a log that cannot be written must not end the gateway.
            return


@contextmanager
def _alone(stream: TextIO) -> Iterator[None]:
    """Let no other process write to `stream` meanwhile; a stream that has no lock is written without one."""
    with suppress(OSError, ValueError):
        lockf(stream, LOCK_EX)
    try:
        yield
    finally:
        with suppress(OSError, ValueError):
            lockf(stream, LOCK_UN)
