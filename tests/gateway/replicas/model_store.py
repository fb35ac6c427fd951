"""A store for gateways in virtual time: the model of its script, behind the port that the owner uses."""

import asyncio
import copy
from collections.abc import AsyncIterator, Sequence

import orjson

from gateway.config import Replicas
from gateway.replicas.budget_call import BudgetCall, BudgetReply
from gateway.replicas.call import TURN, Call, Message, Reply
from gateway.replicas.quota_call import QUOTAS, QuotaCall, QuotaMessage, QuotaReply
from gateway.store.failures import StoreFailed

from .budget_model import BudgetModel
from .quota_model import QuotaModel
from .store_model import StoreModel

WAY_SECONDS = 0.0002  # from a gateway to the store, and back
TIMEOUT_SECONDS = 0.05
EPOCH_MILLISECONDS = 1_700_000_000_000


class ModelStore:
    """One server; gateways reach it by `connect`."""

    def __init__(self) -> None:
        self.pools: dict[str, StoreModel] = {}
        self.quotas = QuotaModel()
        self.budgets = BudgetModel()
        self.calls = 0
        self.way_seconds = WAY_SECONDS
        self.server = "server"  # its run id
        self.is_silent = False  # it takes calls and answers none
        self.is_gone = False  # nobody can connect to it
        self.giving_up_seconds = TIMEOUT_SECONDS  # after which who connects to a silent store gives up
        self.deaf_to = ""  # the gateway of which no call about room arrives
        self.limits_fail_because = ""  # calls about limits fail, and only they
        self.no_messages_because = ""
        self.mistake: Exception | None = None  # that answers meet
        self.inboxes: dict[str, asyncio.Queue[tuple[str, Message | QuotaMessage]]] = {}

    def connect(self, replicas: Replicas) -> "ModelClient":
        """The way of one gateway."""
        return ModelClient(self)

    def turn(self, pool: str, call: Call) -> Reply:
        """Carry out one call, and send the messages."""
        reply, messages = self.pools.setdefault(pool, StoreModel()).turn(call, self._now)
        for name, message in messages.items():
            self._send(TURN.channel(pool, name), message)
        return reply

    def limits(self, fleet: str, call: QuotaCall) -> QuotaReply:
        """Carry out one call about limits, and send the messages."""
        reply, messages = self.quotas.turn(call, self._now)
        for name, message in messages.items():
            self._send(QUOTAS.channel(fleet, name), message)
        return reply

    def turn_budgets(self, call: BudgetCall) -> BudgetReply:
        """Carry out one call about budgets."""
        return self.budgets.turn(call, self._now)[0]

    def snapshot(self) -> dict[str, StoreModel]:
        """A copy of its pools as they are now; calls are shared, because they never change."""
        calls = [member.call for pool in self.pools.values() for member in pool.members.values()]
        return copy.deepcopy(self.pools, {id(call): call for call in calls})

    def lose(self, pools: dict[str, StoreModel] | None = None) -> None:
        """Another server takes its place, with `pools` or empty."""
        self.server += "+"
        self.pools, self.quotas, self.budgets = pools or {}, QuotaModel(), BudgetModel()

    @property
    def _now(self) -> int:
        return EPOCH_MILLISECONDS + int(asyncio.get_running_loop().time() * 1000)

    def _send(self, where: str, message: Message | QuotaMessage) -> None:
        if where in self.inboxes:
            self.inboxes[where].put_nowait((where, message))


class ModelClient:
    """One gateway's connections."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store

    @property
    def deaf_because(self) -> str:
        """Why no messages come."""
        return self._store.no_messages_because

    async def connected(self) -> str:
        """There is one server."""
        if self._store.is_gone:
            raise StoreFailed("store: it cannot be reached")
        if self._store.is_silent:
            await asyncio.sleep(self._store.giving_up_seconds)
            raise StoreFailed("store: no answer")
        return self._store.server

    async def turns(self, calls: Sequence[tuple[str, Call]], /) -> list[Reply]:
        """One round trip."""
        self._store.calls += 1
        await asyncio.sleep(self._store.way_seconds)
        if self._store.is_silent or any(call.name == self._store.deaf_to for _, call in calls):
            await asyncio.sleep(TIMEOUT_SECONDS)
            raise StoreFailed("store: no answer")
        replies = [self._store.turn(pool, call) for pool, call in calls]
        if self._store.mistake is not None:
            raise self._store.mistake
        await asyncio.sleep(self._store.way_seconds)
        return replies

    async def limits(self, fleet: str, call: QuotaCall, /) -> QuotaReply:
        """One round trip."""
        await asyncio.sleep(self._store.way_seconds)
        if self._store.limits_fail_because:
            raise StoreFailed(self._store.limits_fail_because)
        if self._store.is_silent:
            await asyncio.sleep(TIMEOUT_SECONDS)
            raise StoreFailed("store: no answer")
        reply = self._store.limits(fleet, call)
        await asyncio.sleep(self._store.way_seconds)
        return reply

    async def budgets(self, fleet: str, call: BudgetCall, /) -> BudgetReply:
        """One round trip."""
        await asyncio.sleep(self._store.way_seconds)
        if self._store.is_silent:
            await asyncio.sleep(TIMEOUT_SECONDS)
            raise StoreFailed("store: no answer")
        reply = self._store.turn_budgets(call)
        await asyncio.sleep(self._store.way_seconds)
        return reply

    async def messages(self, channels: Sequence[str], /) -> AsyncIterator[tuple[str, bytes]]:
        """What the store sends between calls."""
        inbox: asyncio.Queue[tuple[str, Message | QuotaMessage]] = asyncio.Queue()
        self._store.inboxes |= dict.fromkeys(channels, inbox)
        while True:
            where, message = await inbox.get()
            await asyncio.sleep(self._store.way_seconds)
            yield where, _written(message)

    async def close(self) -> None:
        """Nothing is open."""


def _written(message: Message | QuotaMessage) -> bytes:
    if isinstance(message, QuotaMessage):
        flat = [word for grant in message.grants for word in grant]
        return orjson.dumps([message.generation, message.incarnation, flat, message.wanted, message.claimed])
    flat = [word for grant in message.grants for word in grant]
    return orjson.dumps(
        [message.generation, message.incarnation, message.seq, int(message.is_recall), int(message.is_asked), flat]
    )
