"""The task that asks the store for parts of the budgets that gateways share.

It has connections of its own, as the calls about limits do. It speaks to nobody before a tenant has a budget. Left to
others: what is said and what may be used (`gateway.replicas.shared_budgets`).
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Final

from gateway.background import Background
from gateway.replicas.shared_budgets import SharedBudgets
from gateway.store.alarm import Alarm, has_come
from gateway.store.failures import StoreFailed
from gateway.store.owner import Store

_LAST_CALLS: Final = 100  # in which a gateway that ends gives back what it holds


class BudgetLeases:
    """Keeps one gateway's part in the budgets of tenants."""

    def __init__(self, store: Store, fleet: str, budgets: SharedBudgets) -> None:
        """Speak to nobody yet."""
        self._store = store
        self._fleet_name = fleet
        self._budgets = budgets
        self._review: Callable[[], None] = _nothing
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm(self._loop)
        budgets.wake = self._wake
        self._is_running = False
        self.fault = ""  # of the last call
        self._background = Background("calls about budgets", self._live, "the calls about budgets broke")

    def attach(self, review: Callable[[], None]) -> None:
        """From now on `review` lets the scheduler look again at who waits for a budget."""
        self._review = review

    async def start(self) -> None:
        """Make the first call, and go on until `stop`."""
        self._is_running = True
        if self._budgets.is_used:
            await self._call()
        self._background.start()

    async def stop(self) -> None:
        """Give back all that no request has reserved, with the last calls."""
        if self._is_running:
            await self._background.stop()
            for _ in range(_LAST_CALLS if self._budgets.is_used else 0):
                await self._call(is_leaving=True)
                if self.fault or self._budgets.has_told_all:
                    break
        await self._store.close()

    def _wake(self) -> None:
        self._alarm.ring(self._budgets.next_call_at(self._loop.time()))

    async def _live(self) -> None:
        while True:
            now = self._loop.time()
            due = self._budgets.next_call_at(now)
            if has_come(due, now):
                await self._call()
            else:
                await self._alarm.wait(due)

    async def _call(self, *, is_leaving: bool = False) -> None:
        try:
            must_review = await self._ask(is_leaving=is_leaving)
            self.fault = ""
        except StoreFailed as failure:
            self.fault = str(failure)
            must_review = self._budgets.unanswered(self._loop.time())
        if must_review:
            self._review()

    async def _ask(self, *, is_leaving: bool) -> bool:
        failure = None
        try:
            self._budgets.store = await self._store.connected()
        except StoreFailed as error:
            failure = error
        call = self._budgets.call(self._loop.time(), secrets.token_hex(8), is_leaving=is_leaving)
        if failure is not None:
            raise failure
        return self._budgets.answered(await self._store.budgets(self._fleet_name, call))


def _nothing() -> None:
    """Do nothing: nobody waits yet."""
