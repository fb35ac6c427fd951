"""A network between a gateway and its store that a test can cut, mend and point elsewhere.

As a program, `tcp_relay.py PORT TARGET`, it relays from one port of loopback to another. If it is stopped (SIGSTOP) the
network is cut: connections stay open and are silent. If it goes on, what was sent meanwhile arrives late.
"""

import asyncio
import sys
from contextlib import suppress

CHUNK_BYTES = 64 * 1024


class Relay:
    """Listens on a port of loopback and passes every connection on to `target`, a port of loopback too."""

    def __init__(self, target: int, port: int = 0) -> None:
        self.target = target
        self.port = port
        self._whole = asyncio.Event()
        self._whole.set()
        self._server: asyncio.Server | None = None
        self._ways: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Pass on no byte: connections stay open and are silent, new ones too, as if the cable were out."""
        self._whole.clear()

    def mend(self) -> None:
        """Pass on again what waits and what comes."""
        self._whole.set()

    def break_all(self) -> None:
        """End every connection."""
        for way in self._ways:
            way.cancel()

    async def stop(self) -> None:
        """End it and every connection."""
        assert self._server is not None
        self._server.close()
        self.break_all()
        if self._ways:
            await asyncio.wait(self._ways)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = asyncio.current_task()
        assert way is not None
        self._ways.add(way)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._pass_both_ways(reader, writer)
        finally:
            writer.close()
            self._ways.discard(way)

    async def _pass_both_ways(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._whole.wait()
        from_target, to_target = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            ways = [self._pass_on(reader, to_target), self._pass_on(from_target, writer)]
            tasks = [asyncio.create_task(way) for way in ways]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
        finally:
            to_target.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self._whole.wait()
                writer.write(data)
                await writer.drain()


async def _relay(port: int, target: int) -> None:
    relay = Relay(target, port)
    await relay.start()
    print(f"ready tcp://127.0.0.1:{relay.port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_relay(int(sys.argv[1]), int(sys.argv[2])))
