"""The parent of several gateway processes: it owns what they share and serves nothing itself.

It binds the listening socket, starts the store, starts the processes and starts each again that ends by itself. It
reports one URL when all of them are ready. Its end is the end of everything: a process drains when its channel to the
parent closes, and the store ends when its input does.
"""

import asyncio
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from gateway.background import Background
from gateway.config import Config
from gateway.processes.directory import RuntimeDirectory
from gateway.processes.engines import Engines
from gateway.processes.estate import Estate
from gateway.processes.gateway_process import GatewayProcess
from gateway.processes.listening import bound
from gateway.processes.member import Member
from gateway.processes.pauses import Pauses
from gateway.processes.store import StoreBeside
from gateway.telemetry.logs import Logger

END_SECONDS = 15.0  # a process gets `listen.drain_seconds` to end by itself, and these beyond that


class ProcessFailed(Exception):
    """A gateway process ended before it was ready; its own log lines say why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: so many processes of `vtc-gateway serve` with these arguments, meeting in `directory`."""

    processes: int
    arguments: Sequence[str]
    directory: RuntimeDirectory


class Parent:
    """The gateway as a whole."""

    def __init__(self, config: Config, plan: Plan, logger: Logger) -> None:
        """Run nothing before `start`."""
        self._config = config
        self._plan = plan
        self._logger = logger
        self._store = StoreBeside(plan.directory, logger)  # runs only if the configuration names no store
        self._engines = Engines()
        self._estate = Estate(plan.directory.path)
        self._listeners: Sequence[socket.socket] = ()
        self._processes: dict[str, GatewayProcess] = {}
        self._keepers: list[Background] = []
        self._news = asyncio.Event()
        self._failure: str | None = None
        self._is_started = False
        self._is_ending = False

    async def start(self) -> str:
        """Start everything; returns the URL for clients when every process is ready.

        Raises `DirectoryFault`, `OSError`, `StoreMissing` or `ProcessFailed`; then `stop` must be called.
        """
        listen = self._config.listen
        self._plan.directory.prepare()
        self._listeners = await bound(listen.host, listen.port)
        if self._config.replicas is None:
            await self._store.start()
        for number in range(1, self._plan.processes + 1):
            name = str(number)
            keeper = Background(f"gateway process {name}", partial(self._keep_running, name), "its keeper broke")
            keeper.start()
            self._keepers.append(keeper)
        await self._until(lambda: self._failure is not None or self._are_ready())
        if self._failure is not None:
            raise ProcessFailed(self._failure)
        self._is_started = True
        url = next(iter(self._processes.values())).ready_at
        self._logger.info("ready", url=url, processes=sorted(self._processes))
        return url

    def reload(self) -> None:
        """Let every process read the configuration again."""
        for process in self._processes.values():
            process.signal(signal.SIGHUP)

    async def stop(self) -> None:
        """Let every process drain, then end everything."""
        self._is_ending = True
        for process in self._processes.values():
            process.end()
        try:
            async with asyncio.timeout(self._config.listen.drain_seconds + END_SECONDS):
                await self._until(lambda: not self._processes)
        except TimeoutError:
            self.kill()
        for keeper in self._keepers:
            await keeper.stop()
        await self._engines.close()
        await self._store.stop()
        for listener in self._listeners:
            listener.close()
        self._plan.directory.remove()
        if self._is_started:
            self._logger.info("stopped")

    def kill(self) -> None:
        """End every process at once."""
        for process in self._processes.values():
            process.signal(signal.SIGKILL)
        self._plan.directory.remove()

    def _are_ready(self) -> bool:
        return len(self._processes) == self._plan.processes and all(
            process.ready_at for process in self._processes.values()
        )

    async def _keep_running(self, name: str) -> None:
        loop, pauses = asyncio.get_running_loop(), Pauses()
        while not self._is_ending:
            began_at = loop.time()
            status = await self._run(name)
            if self._is_ending:
                return
            if not self._is_started:
                self._failure = f"gateway process {name} ended with status {status} before it was ready"
                self._news.set()
                return
            pause_seconds = pauses.after(loop.time() - began_at)
            self._logger.error("gateway process ended", name=name, status=status, next_start_seconds=pause_seconds)
            await asyncio.sleep(pause_seconds)

    async def _run(self, name: str) -> int:
        """Run one process from its start to its end; returns its status."""
        process = self._processes[name] = GatewayProcess(name, self._news.set, self._engines)
        try:
            await process.start(self._plan.arguments, self._member(name))
            if self._is_ending:
                process.end()
            return await process.ended()
        finally:
            process.close()
            del self._processes[name]
            self._plan.directory.gateway(name).unlink(missing_ok=True)
            self._estate.bury(f"{name}-{process.pid}")
            self._news.set()

    def _member(self, name: str) -> Member:
        listeners = tuple(listener.fileno() for listener in self._listeners)
        directory = str(self._plan.directory.path)
        return Member(name, self._plan.processes, directory, listeners, store=self._store.url)

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._news.clear()
            await self._news.wait()
