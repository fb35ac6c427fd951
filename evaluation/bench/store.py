"""The store that gateways of a bench share: a process on a Unix socket, and what can befall it."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from evaluation.load.processes import Child, program

READY_SECONDS = 30.0


class Store:
    """A running server; `url` is where it is."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._socket = folder / "store.sock"
        self._folder = folder
        self._stack = stack
        self._process: Child | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"unix://{self._socket}"

    async def start(self) -> None:
        """Run it, empty. Raises `FileNotFoundError` with a remedy."""
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found is None:
            raise FileNotFoundError("a store is needed: install valkey-server or redis-server")
        self._socket.unlink(missing_ok=True)
        command = [found, "--port", "0", "--unixsocket", str(self._socket), "--save", "", "--appendonly", "no"]
        self._process = await self._stack.enter_async_context(program("store", command, self._folder))
        await self._process.until(self._listens, READY_SECONDS)

    async def _listens(self) -> bool:
        return self._socket.exists()

    async def freeze(self) -> None:
        """Stop it: it keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    async def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End it at once; `start` runs a new one."""
        self._signal(signal.SIGKILL)

    async def empty(self) -> None:
        """Let it forget everything."""
        reader, writer = await asyncio.open_unix_connection(str(self._socket))
        writer.write(b"FLUSHALL\r\n")
        await reader.readline()
        writer.close()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


@asynccontextmanager
async def a_store(folder: Path) -> AsyncIterator[Store]:
    """A running store while the context is open."""
    async with AsyncExitStack() as stack:
        store = Store(folder, stack)
        await store.start()
        yield store
