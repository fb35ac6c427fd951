"""The task that asks the store for the limits of tenants, and the requests that wait for its answers.

It has connections of its own, so that a slow call about limits delays no call about room. Left to others: what is said
and what may be used (`gateway.replicas.shared_limits`).
"""

import asyncio
import secrets
from collections.abc import Callable, Collection

from gateway.background import Background
from gateway.replicas.quota_call import QUOTAS, read_message
from gateway.replicas.shared_limits import SharedLimits, Wait
from gateway.replicas.snapshot import SharedLimitSnapshot
from gateway.store.alarm import Alarm, has_come
from gateway.store.failures import StoreFailed
from gateway.store.owner import Store


class Quotas:
    """Keeps one gateway's part in the limits of tenants."""

    def __init__(self, store: Store, fleet: str, limits: SharedLimits, dispatch: Callable[[], None]) -> None:
        """Speak to nobody yet; `dispatch` lets the scheduler use places in flight that have come."""
        self._store = store
        self._fleet_name = fleet
        self._limits = limits
        self._dispatch = dispatch
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm(self._loop)
        self._waiting: list[tuple[Wait, asyncio.Future[None]]] = []
        self._is_answered = False
        self._failure = ""  # of the last call
        self._background = Background("calls about limits", self._live, "the calls about limits broke")
        self._messages = Background("messages about limits", self._listen, "the messages about limits broke")

    # -- life

    async def start(self) -> None:
        """Make the first call, and go on until `stop`."""
        await self._call()
        self._background.start()
        self._messages.start()

    async def stop(self) -> None:
        """Leave the others all that is held here, with a last call."""
        await self._messages.stop()
        await self._background.stop()
        if self._is_answered:
            await self._call(is_leaving=True)
        await self._store.close()

    async def _live(self) -> None:
        while True:
            now = self._loop.time()
            due = self._limits.next_call_at(now)
            if has_come(due, now):
                await self._call()
            else:
                await self._alarm.wait(due)

    @property
    def fault(self) -> str:
        """What fails: the last call, or the messages; "" if nothing does."""
        return self._failure or self._store.deaf_because

    # -- requests

    async def more(self, tenant: str, tokens: float) -> None:
        """Wait until the store has been asked for what a request of `tenant` with `tokens` lacks.

        Cancelled: it waits no more.
        """
        wait = self._limits.expect(tenant, tokens)
        try:
            if not self._limits.is_over(wait):
                over = self._loop.create_future()
                self._waiting.append((wait, over))
                self._wake()
                await over
            self._limits.book.note_refused(tenant, wait.tokens, self._loop.time())
        finally:
            self._limits.forget(wait)

    def touch(self, tenant: str) -> None:
        """Note that a request of `tenant` came or ended."""
        if self._limits.touch(tenant):
            self._dispatch()
        if self._limits.is_called_for:
            self._wake()

    def snapshot(self, tenants: Collection[str] | None) -> tuple[SharedLimitSnapshot, ...]:
        """What this gateway holds of the limits of `tenants`; None: of all whose limits it shares at present."""
        return self._limits.book.snapshot(self._loop.time(), tenants)

    def _wake(self) -> None:
        self._alarm.ring(self._limits.next_call_at(self._loop.time()))

    def _release_waiting(self) -> None:
        still: list[tuple[Wait, asyncio.Future[None]]] = []
        for wait, over in self._waiting:
            if over.done():
                continue
            if self._limits.is_over(wait):
                over.set_result(None)
            else:
                still.append((wait, over))
        self._waiting = still

    # -- the store

    async def _call(self, *, is_leaving: bool = False) -> None:
        try:
            must_dispatch = await self._ask(is_leaving=is_leaving)
        except StoreFailed as failure:
            self._is_answered, self._failure = False, str(failure)
            must_dispatch = self._limits.unanswered(self._loop.time())
        else:
            self._is_answered, self._failure = True, ""
        if must_dispatch:
            self._dispatch()
        self._release_waiting()

    async def _ask(self, *, is_leaving: bool) -> bool:
        failure = None
        try:
            self._limits.store = await self._store.connected()
        except StoreFailed as error:
            failure = error
        call = self._limits.call(self._loop.time(), secrets.token_hex(8), is_leaving=is_leaving)
        if failure is not None:
            raise failure
        return self._limits.answered(await self._store.limits(self._fleet_name, call), self._loop.time())

    async def _listen(self) -> None:
        async for _, body in self._store.messages([QUOTAS.channel(self._fleet_name, self._limits.identity.name)]):
            if self._limits.told(read_message(body)):
                self._dispatch()
            self._wake()
