"""The one task that speaks to the store, for all pools of a gateway.

Requests touch memory alone: they use the room at hand (`room`), and `wake` the owner when the store may have to be
asked. The owner asks when a replica says so (`Replica.next_call_at`), for all pools that are due in one round trip. It
takes in the answers, brings the fleet up to date (`windows`), and lets the scheduler use the room that came. Messages
that the store sends between calls come by a second connection. A store that fails is asked again and again; what may
run meanwhile the replicas decide. Left to others: what is said (`gateway.replicas`), and how (`client`).
"""

import asyncio
import math
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from gateway.background import Background
from gateway.config import Replicas
from gateway.replicas.budget_call import BudgetCall, BudgetReply
from gateway.replicas.call import TURN, Call, Reply, read_message
from gateway.replicas.quota_call import QuotaCall, QuotaReply
from gateway.replicas.replica import IDLE_SECONDS, LEAST_SECONDS, Replica
from gateway.store import boot_clock
from gateway.store.alarm import Alarm, has_come
from gateway.store.failures import StoreFailed, quote
from gateway.store.figures import CallFigures
from gateway.store.windows import SharedWindows

BEAT_SECONDS = 0.1
REPORT_SECONDS = 5.0
STANDSTILL_SECONDS = 0.5  # a process that did nothing for so long may have lost the room that it holds unused


class Store(Protocol):
    """The way to the store, as `client.StoreClient` goes it."""

    deaf_because: str  # why no messages come; "" if they do

    async def connected(self) -> str:
        """The run id of the server that calls go to; may raise `StoreFailed`."""
        ...

    async def turns(self, calls: Sequence[tuple[str, Call]], /) -> list[Reply]:
        """Carry out calls, each with its pool; may raise `StoreFailed`."""
        ...

    async def limits(self, fleet: str, call: QuotaCall, /) -> QuotaReply:
        """Carry out a call about the limits of tenants; may raise `StoreFailed`."""
        ...

    async def budgets(self, fleet: str, call: BudgetCall, /) -> BudgetReply:
        """Carry out a call about budgets; may raise `StoreFailed`."""
        ...

    def messages(self, channels: Sequence[str], /) -> AsyncIterator[tuple[str, bytes]]:
        """The messages on `channels`, each with its channel."""
        ...

    async def close(self) -> None:
        """End all connections."""
        ...


class Owner:
    """Keeps the replicas of one gateway in touch with the store."""

    def __init__(
        self,
        store: Store,
        settings: Replicas,
        replicas: dict[str, Replica],
        windows: SharedWindows,
        report: Callable[[str | None], None],
    ) -> None:
        """Speak to nobody yet.

        `settings` names what all replicas share; `replicas` is filled here. `report` hears why the store has begun to
        fail, and None when it answers again.
        """
        self.replicas = replicas
        self.calls = CallFigures()
        self.dispatch: Callable[[Iterable[str]], None] = lambda pools: None  # hears where room may have appeared
        self.fault_of_limits: Callable[[], str] = lambda: ""  # of calls about limits and budgets; "": nothing fails
        self.report_settings: Callable[[int], None] = lambda others: None  # hears how many gateways have others
        self._with_other_settings = 0
        self._store = store
        self._fleet_name, self._lease_seconds = settings.fleet, settings.lease_seconds
        self._windows = windows
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._woken: set[str] = set()
        self._due: dict[str, float] = {}
        self._looked_at = 0.0
        self._answered_at = self._loop.time()
        self._has_begun = asyncio.Event()
        self._alarm = Alarm(self._loop)
        self._failure: StoreFailed | None = None
        self._is_failing = False  # as reported last
        self._reported_at = -math.inf
        self._beat_at = boot_clock.seconds()
        self._beat: asyncio.TimerHandle | None = None
        self._background = Background("calls to the store", self._live, "the calls to the store broke")
        self._messages = self._hearing()

    def _hearing(self) -> Background:
        return Background("messages of the store", self._listen, "the messages of the store broke")

    # -- life

    async def start(self) -> None:
        """Make the first calls, and go on until `stop`.

        Returns when there is room, when the store has failed, or after the time in which a new store gives out nothing.
        """
        self._tick()
        await self._call(list(self.replicas))
        self._background.start()
        self._messages.start()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._lease_seconds + IDLE_SECONDS):
                await self._has_begun.wait()

    async def stop(self) -> None:
        """Give back all room with a last call, and leave."""
        await self._messages.stop()
        await self._background.stop()
        if self._beat is not None:
            self._beat.cancel()
            self._windows.close()
            if self._failure is None:
                with suppress(StoreFailed):  # then the others take its room after the lease
                    await self._ask(self.replicas, is_leaving=True)
        await self._store.close()

    @property
    def failure(self) -> str:
        """Why the last call failed; "" if it was answered."""
        return "" if self._failure is None else str(self._failure)

    @property
    def fault(self) -> str:
        """What fails: the last call, the messages, or what is said of limits; "" if nothing does."""
        return self.failure or self._store.deaf_because or self.fault_of_limits()

    @property
    def age_seconds(self) -> float:
        """The time since the last answered call, or since the start."""
        return self._loop.time() - self._answered_at

    def add(self, pool: str, replica: Replica) -> None:
        """Share `pool` from now on."""
        self.replicas[pool] = replica
        self._pools_changed()
        self.wake(pool)  # a pool that is new to the store has no room for a lease: that begins with the first call

    def remove(self, pool: str) -> None:
        """Share `pool` no longer; what is held of it comes free after the lease, with a reading of the engine."""
        del self.replicas[pool]
        self._due.pop(pool, None)
        self._windows.forget(pool)
        self._pools_changed()

    def _pools_changed(self) -> None:
        if self._messages.is_running:
            self._messages.cancel()
            self._messages = self._hearing()
            self._messages.start()

    # -- when to call

    def wake(self, pool: str) -> None:
        """The store may have to be asked for `pool`."""
        if pool not in self._woken:
            self._woken.add(pool)
            self._alarm.ring(self._looked_at + LEAST_SECONDS)

    async def _live(self) -> None:
        while True:
            now = self._looked_at = self._loop.time()
            for pool in self._woken & self.replicas.keys():
                self._due[pool] = self.replicas[pool].next_call_at(now)
            self._woken.clear()
            due = [pool for pool, at in self._due.items() if has_come(at, now)]
            if due:
                await self._call(due)
            else:
                await self._alarm.wait(min(self._due.values(), default=now + IDLE_SECONDS))

    # -- calls

    async def _call(self, pools: Sequence[str]) -> None:
        """Ask the store for `pools`, in one round trip, and use what came of it."""
        began = self._loop.time()
        replicas = {pool: self.replicas[pool] for pool in pools}
        try:
            self._answered(await self._ask(replicas), replicas)
        except StoreFailed as failure:
            self._failed(failure, replicas)
        except Exception as mistake:  # ours: this task ends and begins again, and until then nobody has an answer
            self._failed(StoreFailed(f"store: a call broke ({quote(repr(mistake))}); report it"), replicas)
            raise
        now = self._loop.time()
        self.calls.note(now - began, is_answered=self._failure is None)
        self._report_change(now)
        if self._failure is not None or all(replica.rooms.idle for replica in self.replicas.values()):
            self._has_begun.set()
        self.dispatch(pools)
        for pool, replica in replicas.items():
            if self._is_present(pool, replica):
                self._due[pool] = replica.next_call_at(now)

    def _is_present(self, pool: str, replica: Replica) -> bool:
        """False if a reload has removed `pool` during a call of `replica`, even if it has added it again since."""
        return self.replicas.get(pool) is replica

    async def _ask(self, replicas: Mapping[str, Replica], *, is_leaving: bool = False) -> list[Reply]:
        server, failure = "", None
        try:
            server = await self._store.connected()
        except StoreFailed as error:
            failure = error
        calls = []
        for pool, replica in replicas.items():
            replica.store = server or replica.store
            self._windows.publish(pool)
            call = replica.call(self._loop.time(), secrets.token_hex(8), is_leaving=is_leaving)
            calls.append((f"{self._fleet_name}:{pool}", call))
        if failure is not None:
            raise failure
        return await self._store.turns(calls)

    def _answered(self, replies: Iterable[Reply], replicas: Mapping[str, Replica]) -> None:
        for reply, (pool, replica) in zip(replies, replicas.items(), strict=True):
            if self._is_present(pool, replica):
                replica.answered(reply)
                self._windows.heard(pool, self._loop.time())
        self._answered_at = self._loop.time()
        self._failure = None
        self._compare_settings()

    def _compare_settings(self) -> None:
        others = max((replica.with_other_settings for replica in self.replicas.values()), default=0)
        if others != self._with_other_settings:
            self._with_other_settings = others
            self.report_settings(others)

    def _failed(self, failure: StoreFailed, replicas: Mapping[str, Replica]) -> None:
        for replica in replicas.values():
            replica.unanswered(self._loop.time())
        self._failure = failure

    def _report_change(self, now: float) -> None:
        """Report that the store fails or answers again; of one that flickers not more often than every few seconds."""
        fault = self.fault
        is_failing = bool(fault)
        if is_failing is not self._is_failing and now >= self._reported_at + REPORT_SECONDS:
            self._is_failing, self._reported_at = is_failing, now
            self._report(fault or None)

    # -- messages

    async def _listen(self) -> None:
        pools = {
            TURN.channel(f"{self._fleet_name}:{pool}", replica.identity.name): pool
            for pool, replica in self.replicas.items()
        }
        async for name, body in self._store.messages(list(pools)):
            pool = pools[name]
            self.replicas[pool].told(read_message(body))
            self.dispatch([pool])
            self.wake(pool)

    # -- standstill, and the end of the lease

    def _tick(self) -> None:
        self.check()
        for replica in self.replicas.values():
            replica.watch_lease(self._loop.time())
        self._beat = self._loop.call_later(BEAT_SECONDS, self._tick)

    def check(self) -> None:
        """Use no room at hand if this process has just stood still; asked before each use."""
        now = boot_clock.seconds()
        if now - self._beat_at > STANDSTILL_SECONDS:
            for pool, replica in self.replicas.items():
                replica.stood_still()
                self.wake(pool)
        self._beat_at = now
