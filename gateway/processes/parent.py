"""The parent of several gateway processes: it owns what they share and serves nothing itself.

It binds the listening socket, starts the store, starts the processes and starts each again that ends by itself. It
reports one URL when all of them are ready. Its end is the end of everything: a process drains when its channel to the
parent closes, and the store ends when its input does.
"""

import asyncio
import secrets
import signal
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, islice

from gateway.background import Background
from gateway.config import Config, Replicas
from gateway.processes.channel import Channel, Message
from gateway.processes.directory import RuntimeDirectory
from gateway.processes.engines import Engines
from gateway.processes.estate import Estate
from gateway.processes.gateway_process import GatewayProcess
from gateway.processes.listening import bound
from gateway.processes.member import Member
from gateway.processes.office import Office
from gateway.processes.pauses import Pauses
from gateway.processes.store import StoreBeside
from gateway.processes.succession import Door, Predecessor, TakeOverFailed, own
from gateway.replicas.call import TURN, UNUSED
from gateway.telemetry.logs import Logger

WAIT_SECONDS = 60.0  # a successor waits so long for a gateway that starts, which takes seconds, or ends
LOOK_SECONDS = 0.1
END_SECONDS = 15.0  # a process gets `listen.drain_seconds` to end by itself, and these beyond that


class ProcessFailed(Exception):
    """A gateway process ended before it was ready; its own log lines say why."""


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """What to run: so many processes of `vtc-gateway serve` with these arguments, meeting in `directory`.

    `takes_over` says what to do if a gateway runs there already: replace it, or leave it alone and fail.
    """

    processes: int
    arguments: Sequence[str]
    directory: RuntimeDirectory
    takes_over: bool = False


class Parent:
    """The gateway as a whole."""

    def __init__(
        self,
        config: Config,
        plan: ProcessPlan,
        logger: Logger,
        succeeds: Callable[[], None],
        replaced: Callable[[], None],
    ) -> None:
        """Run nothing before `start`.

        `succeeds` is called when all is ready to take over from a gateway that runs; what it raises lets that run on.
        `replaced` is called when a successor has taken office.
        """
        self._config = config
        self._plan = plan
        self._logger = logger
        self._succeeds = succeeds
        self._replaced = replaced
        self._door = Door(plan.directory.parent, self._meet)
        self._salt = secrets.token_hex(32)
        self._heir: Channel | None = None  # who has asked for the sockets
        self._store = StoreBeside(plan.directory, logger)  # runs only if the configuration names no store
        self._engines = Engines()
        self._estate = Estate(plan.directory.path)
        self._listeners: Sequence[socket.socket] = ()
        self._processes: dict[str, GatewayProcess] = {}
        self._keepers: list[Background] = []
        self._news = asyncio.Event()
        self._failure: str | None = None
        self._office = Office(plan.directory.office)
        self._is_started = False
        self._is_ending = False

    async def start(self) -> str:
        """Start everything; returns the URL for clients when every process is ready.

        Raises `DirectoryFault`, `OSError`, `StoreMissing`, `ProcessFailed` or `TakeOverFailed`; then `stop` must be
        called.
        """
        predecessor = await self._predecessor()
        if predecessor is None:
            await self._begin()
            await self._start_processes(taken=())
        else:
            try:
                await self._succeed(predecessor)
            finally:
                predecessor.close()
        self._door.open()
        self._is_started = True
        url = next(iter(self._processes.values())).ready_at
        self._logger.info("ready", url=url, processes=sorted(self._processes))
        return url

    async def _predecessor(self) -> Predecessor | None:
        """The parent in office; None if it is this one now."""
        found = self._find()
        if found is not None or self._office.is_held:
            return found
        fault = "a gateway with this configuration is about to start or to end; wait until it has"
        if not self._plan.takes_over:
            raise TakeOverFailed(fault)
        self._logger.info("waiting for the gateway that starts or ends", longest_seconds=WAIT_SECONDS)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while found is None and not self._office.is_held:
                    await asyncio.sleep(LOOK_SECONDS)
                    found = self._find()
        except TimeoutError:
            raise TakeOverFailed(fault) from None
        return found

    def _find(self) -> Predecessor | None:
        """The parent in office; if there is none, this one is from now on. None also while one starts or ends."""
        self._plan.directory.prepare()
        found = Predecessor.at(self._plan.directory.parent)
        if found is None:
            self._office.take()
        return found

    async def _begin(self) -> None:
        """Begin in an empty office: what a gateway before has left there belongs to nobody."""
        if late := self._plan.directory.answering():
            self._logger.info("an earlier gateway has not ended", processes=sorted(late))
        self._plan.directory.clear()
        self._listeners = await bound(self._config.listen.host, self._config.listen.port)
        if self._config.replicas is None:
            await self._store.start(() if late else self._unused_accounts())

    def _unused_accounts(self) -> Sequence[str]:
        """What tells a new store that nobody has used the accounts of the pools before.

        It is true if no process of an earlier gateway lives. With a process the engines lose its requests.
        """
        fleet = Replicas(store=self._store.url, expected=1).fleet
        return [TURN.key(f"{fleet}:{pool.model}", UNUSED) for pool in self._config.pools]

    async def _succeed(self, predecessor: Predecessor) -> None:
        """Take the office from the parent that has it, once everything of ours is ready."""
        if not self._plan.takes_over:
            raise TakeOverFailed("a gateway with this configuration runs already; end it, or replace it: --take-over")
        has_store = self._config.replicas is None
        answer, descriptors = await predecessor.ask({"take_over": self._address(), "has_store": has_store})
        self._salt = answer["salt"]  # so what the workers have cached stays of use
        listeners = own(descriptors)
        self._listeners = listeners or await bound(self._config.listen.host, self._config.listen.port)
        await self._start_processes(taken={*answer["processes"], *self._plan.directory.gateways()})
        self._succeeds()
        _, (office, *pipes) = await predecessor.ask({"take_office": True})
        self._office.inherit(office)
        if has_store:
            self._store.adopt(*pipes)

    async def _start_processes(self, taken: Collection[str]) -> None:
        """Start every process, by the lowest numbers that are not `taken`, and wait until all are ready.

        Taken are the numbers of the predecessor's processes, and of those before them that still answer what they have.
        """
        names = (str(number) for number in count(1) if str(number) not in taken)
        for name in islice(names, self._plan.processes):
            keeper = Background(f"gateway process {name}", partial(self._keep_running, name), "its keeper broke")
            keeper.start()
            self._keepers.append(keeper)
        await self._until(lambda: self._failure is not None or self._are_ready())
        if self._failure is not None:
            raise ProcessFailed(self._failure)

    def _address(self) -> list[object]:
        return [self._config.listen.host, self._config.listen.port]

    # -- a successor

    def _meet(self, end: socket.socket) -> None:
        channel = Channel(end, lambda message, _: self._hear(channel, message), lambda: self._forget(channel))

    def _hear(self, channel: Channel, message: Message) -> None:
        match message:
            case {"take_over": address, "has_store": bool(has_store)}:
                fault = self._fault_of_heir(has_store=has_store)
                if fault:
                    channel.send({"refused": fault})
                    return
                self._heir = channel
                is_same = address == self._address()
                listeners = [listener.fileno() for listener in self._listeners] if is_same else []
                channel.send({"processes": sorted(self._processes), "salt": self._salt}, listeners)
            case {"take_office": True} if channel is self._heir:
                channel.send({"office": "yours"}, [self._office.descriptor, *self._store.pipes()])
                self._leave_office()

    def _fault_of_heir(self, *, has_store: bool) -> str:
        """Why a successor cannot take over; "" if it can."""
        if self._heir is not None or self._is_ending:
            return "the gateway that runs is being replaced already, or ends"
        if any(worker.is_launched for pool in self._config.pools for worker in pool.workers):
            return (
                "workers with `launch` end with their gateway and cannot be handed over: stop it and start it anew, "
                "or run them as services of their own and name their `url`"
            )
        if has_store is not (self._config.replicas is None):
            return "a store cannot be exchanged while requests run: stop the gateway and start it anew"
        return ""

    def _forget(self, channel: Channel) -> None:
        """Go on as before: whoever wanted to take over has ended."""
        if self._heir is channel:
            self._heir = None

    def _leave_office(self) -> None:
        """Let the processes answer what they have; everything else is the successor's now."""
        self._office.leave()
        self._store.release()
        self._door.close()
        self._logger.info("replaced")
        self._replaced()

    def reload(self) -> None:
        """Let every process read the configuration again."""
        for process in self._processes.values():
            process.signal(signal.SIGHUP)

    async def stop(self) -> None:
        """Let every process drain, then end everything; after a successor has taken office, only what is ours."""
        self._is_ending = True
        self._door.close()
        for process in self._processes.values():
            process.end(is_replaced=self._is_replaced)
        for listener in self._listeners:
            listener.close()
        try:
            async with asyncio.timeout(self._config.listen.drain_seconds + END_SECONDS):
                await self._until(lambda: not self._processes)
        except TimeoutError:
            self._kill_processes()
        for keeper in self._keepers:
            await keeper.stop()
        await self._engines.close()
        await self._store.stop()
        if self._office.is_held:
            self._plan.directory.remove()
            self._office.leave()
        if self._is_started:
            self._logger.info("stopped")

    def kill(self) -> None:
        """End every process at once."""
        self._kill_processes()
        if self._office.is_held:
            self._plan.directory.remove()

    @property
    def _is_replaced(self) -> bool:
        """True if the processes of another parent accept at the sockets: of a successor, or still of a predecessor."""
        return not self._office.is_held

    def _kill_processes(self) -> None:
        for process in self._processes.values():
            process.signal(signal.SIGKILL)

    def _are_ready(self) -> bool:
        return len(self._processes) == self._plan.processes and all(
            process.ready_at for process in self._processes.values()
        )

    async def _keep_running(self, name: str) -> None:
        """Run one process again and again; in its pauses its socket stays, so that the others name it as silent."""
        try:
            await self._keep_starting(name)
        finally:
            self._plan.directory.gateway(name).unlink(missing_ok=True)

    async def _keep_starting(self, name: str) -> None:
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
                process.end(is_replaced=self._is_replaced)
            return await process.ended()
        finally:
            process.close()
            del self._processes[name]
            self._estate.bury(f"{name}-{process.pid}")
            self._news.set()

    def _member(self, name: str) -> Member:
        listeners = tuple(listener.fileno() for listener in self._listeners)
        directory = str(self._plan.directory.path)
        return Member(name, self._plan.processes, directory, listeners, store=self._store.url, salt=self._salt)

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._news.clear()
            await self._news.wait()
