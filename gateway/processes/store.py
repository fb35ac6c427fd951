"""The store beside the gateway: a Valkey or Redis that only the processes of this gateway use.

It listens to a Unix socket in the runtime directory, writes nothing to disk and takes a bounded part of memory. What it
holds is worth nothing after its end: the gateway processes go on without it and tell it everything anew. So a store
that ends is simply started again.
"""

import asyncio
import os
import shutil
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from gateway.background import Background
from gateway.processes.directory import RuntimeDirectory
from gateway.processes.kept import Kept
from gateway.processes.pauses import Pauses
from gateway.telemetry.logs import Logger

PROGRAMS = ("valkey-server", "redis-server")
MAX_MEMORY = "256mb"
_GUARD = (sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py")))
_START_SECONDS = 10.0
_LOOK_SECONDS = 0.02
_KEPT_LINES = 5


class StoreMissing(Exception):
    """There is no store and none can be started; the text names the remedy."""


class StoreBeside:
    """Keeps the store running."""

    def __init__(self, directory: RuntimeDirectory, logger: Logger) -> None:
        """Run nothing before `start`."""
        self._path = directory.store
        self._logger = logger
        self._kept: Kept | None = None
        self._has_ended = asyncio.Event()
        self._last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._pauses = Pauses()
        # Without this task a store that ended stays away, and the processes share nothing.
        self._background = Background("store", self._keep_running, "the watch on the store broke")

    @property
    def url(self) -> str:
        """Where the gateway processes find it."""
        return f"unix://{self._path}"

    async def start(self, keys: Sequence[str] = ()) -> None:
        """Start the store and wait until it answers; set these `keys` in it before anybody uses it.

        Raises `StoreMissing`.
        """
        self._launch()
        try:
            await self._answers()
            for key in keys:
                await self._ask("SET", key, "1")
        except StoreMissing:
            self.close()
            raise
        self._background.start()

    def adopt(self, orders: int, news: int) -> None:
        """Take over, by its two pipes, the store that runs."""
        self._has_ended.clear()
        self._kept = Kept(orders, news, self._heard, self._has_ended.set)
        self._background.start()

    def pipes(self) -> tuple[int, ...]:
        """The two pipes by which a successor adopts the store; none if it does not run."""
        return () if self._kept is None else self._kept.pipes

    def release(self) -> None:
        """Leave the store to whoever has adopted it."""
        self._background.cancel()
        self.close()

    async def stop(self) -> None:
        """End the store."""
        await self._background.stop()
        self.close()

    def close(self) -> None:
        """Let go of the store, which ends by itself."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _launch(self) -> None:
        self._path.unlink(missing_ok=True)
        self._has_ended.clear()
        command = (*_GUARD, store_program(), *_arguments(self._path))
        self._kept = Kept.start(command, os.environ, self._heard, self._has_ended.set)

    async def _keep_running(self) -> None:
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        while True:
            await self._has_ended.wait()
            pause_seconds = self._pauses.after(loop.time() - began_at)
            self._logger.warning("store ended", last_lines=list(self._last_lines), next_start_seconds=pause_seconds)
            await asyncio.sleep(pause_seconds)
            began_at = loop.time()
            try:
                self._launch()
                await self._answers()
            except (StoreMissing, OSError) as fault:
                self._logger.warning("store does not start", reason=str(fault))
                self.close()
                self._has_ended.set()
            else:
                self._logger.info("store started again")

    async def _answers(self) -> None:
        """Wait until the store answers; raises `StoreMissing` if it ends first or takes too long."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not self._has_ended.is_set():
                    if await self._says_pong():
                        return
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            pass
        raise StoreMissing(f"the store did not start: {'; '.join(self._last_lines) or 'it said nothing'}")

    async def _says_pong(self) -> bool:
        try:
            return await self._ask("PING") == "+PONG"
        except OSError:
            return False

    async def _ask(self, *words: str) -> str:
        """The first line of the answer to a command."""
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            encoded = [word.encode() for word in words]
            writer.write(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(each), each) for each in encoded))
            return (await reader.readline()).decode().rstrip()
        finally:
            writer.close()

    def _heard(self, line: bytes) -> None:
        self._last_lines.append(line.decode(errors="replace"))


def store_program() -> str:
    """The store's program; raises `StoreMissing` if there is none."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        raise StoreMissing(
            "several processes share their account by a store, and neither valkey-server nor redis-server is on the "
            "PATH; install one (Debian and Ubuntu: `apt-get install valkey-server` or `redis-server`), name a store "
            "that runs elsewhere with replicas.store, or serve with one process"
        )
    return found


def _arguments(path: Path) -> tuple[str, ...]:
    """No port, no disk, no more memory than is good, and no key thrown away: a full store refuses, and is noticed."""
    return (
        *("--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"),
        *("--save", "", "--appendonly", "no", "--dir", str(path.parent)),
        *("--maxmemory", MAX_MEMORY, "--maxmemory-policy", "noeviction"),
        *("--daemonize", "no", "--loglevel", "warning", "--logfile", ""),
    )
