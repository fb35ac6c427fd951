"""What the gateway tells beside its answers: the ledger and the webhook, each built if the configuration has one."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.accounts import Owner, Scope
from gateway.config import Config, EndUsers, Postgres, Tenant
from gateway.events import Event, LifeChanged, Observer
from gateway.fairness.running import Running
from gateway.fairness.shared_time import SharedTime
from gateway.ledger.faults import LedgerFault
from gateway.ledger.folder import LedgerFolder
from gateway.ledger.recorder import Find, Recorder
from gateway.ledger.snapshot import LedgerSnapshot
from gateway.ledger.worker_times import Reading
from gateway.ledger.writer import LedgerWriter
from gateway.processes import ParentLink
from gateway.proxy.budgets import QUARTER_SECONDS, Budgets, LedgerUnread, Used
from gateway.replicas.shared_budgets import SharedBudgets
from gateway.telemetry import life
from gateway.terms import budget_terms, tariff
from gateway.watch.reconciliation import Reconciliation
from gateway.webhook import WebhookSender, WebhookSnapshot
from gateway.wire.end_user import pseudonym
from gateway.workers import Fleet

if TYPE_CHECKING:
    from gateway.ledger.follower import Follower

_OPEN_SECONDS = 5.0  # within which the writer opens its file, or fails


class Books:
    """The ledger and the webhook of this process, or none; `observers` are what observes events for them."""

    def __init__(
        self,
        config: Config,
        parent: ParentLink | None,
        parts: tuple[Running, Fleet, Reconciliation],
        find: Find,
        emit: Callable[[Event], None],
        shared: SharedBudgets | None = None,
    ) -> None:
        """Keep the ledger of `config`, for the requests and the workers of `parts`, and tell its webhook.

        Each process of a gateway has a file of its own. `find` says what a request has used so far. What happens to the
        ledger goes to `emit`. `shared` is this gateway's part in budgets that several gateways share.
        """
        self._loop = asyncio.get_running_loop()
        self._emit = emit
        self._running, fleet, self._reconciliation = parts
        fleet.tell_of_departures(self._worker_left)
        self._writer: LedgerWriter | None = None
        self._recorder: Recorder | None = None
        self._follower: Follower | None = None
        self.budgets: Budgets | None = None  # of the tenants; none without a ledger, which says what they used before
        if config.ledger is not None:
            process = "" if parent is None else f"-{parent.member.name}"
            path = config.ledger.folder / f"{config.listen.port}{process}.sqlite"
            if config.ledger.postgres is not None:
                self._follower = _follower(path, config.ledger.postgres, self._report_database)
            wrote = None if self._follower is None else self._follower.wake
            self._writer = LedgerWriter(path, config.ledger, self._report, self._moved, wrote=wrote)
            self._recorder = Recorder(self._writer, find, self._readings)
            self._ledger = config.ledger
            self._path, self._shared = path, shared
            self.budgets = Budgets(self._used, lambda: self.is_written, emit, shared=shared)

        self._webhook: WebhookSender | None = None
        if config.webhook is not None:
            self._webhook = WebhookSender(config.webhook, lambda reason: emit(life.webhook(reason)))

    @property
    def observers(self) -> Sequence[Observer]:
        """What observes; nothing if there is neither."""
        return tuple(each for each in (self._recorder, self._webhook) if each is not None)

    @property
    def is_written(self) -> bool:
        """True unless the last attempt to write the ledger has failed."""
        return self._writer is not None and self._writer.works

    def configure(self, config: Config, changed: Iterable[Tenant]) -> None:
        """Take over the prices of the pools, and the budgets of the tenants that have `changed`."""
        if self._recorder is not None:
            self._recorder.configure(config.pools)
        if self.budgets is not None:
            self.budgets.configure(
                {tenant.name: budget_terms(tenant) for tenant in changed},
                {tenant.name for tenant in config.tenants},
                {pool.model: tariff(pool) for pool in config.pools},
            )

    def review(self) -> None:
        """Let those run who wait for a budget of which more may be left."""
        if self.budgets is not None:
            self.budgets.review()

    def start(self) -> None:
        """Begin to write and to send on what is written, and find out what is left of the budgets."""
        if self._follower is not None:
            self._follower.start()
        if self._recorder is not None:
            self._recorder.start()
        if self._webhook is not None:
            self._webhook.start()
        if self.budgets is not None:
            self.budgets.start()

    async def stop(self) -> None:
        """Send and write what is left, and say if something could not be."""
        if self.budgets is not None:
            self.budgets.close()
        if self._webhook is not None and (events := await self._webhook.stop()):
            self._emit(life.webhook_lost(events))
        if self._recorder is not None and (rows := await self._recorder.stop()):
            self._emit(life.ledger_lost(rows))
        if self._follower is not None and (rows := await asyncio.to_thread(self._follower.close)):
            self._emit(life.ledger_behind(rows))

    def snapshot(self) -> LedgerSnapshot | None:
        """How the ledger fares; None if none is kept."""
        if self._writer is None:
            return None
        return replace(self._writer.snapshot(), postgres=None if self._follower is None else self._follower.snapshot())

    def webhook(self) -> WebhookSnapshot | None:
        """How the webhook fares; None if there is none."""
        return None if self._webhook is None else self._webhook.snapshot()

    def _readings(self) -> Iterable[Reading]:
        for worker, time in self._running.times(self._loop.time()):
            yield self._reading(worker, time)

    def _reading(self, worker: str, time: SharedTime) -> Reading:
        generated, read = (self._reconciliation.generated, self._reconciliation.read)
        counts = (generated.totals[worker], read.totals[worker])
        return Reading(worker, time.busy_seconds, time.idle_seconds, *counts)

    def _worker_left(self, worker: str) -> None:
        """Note the last figures of a worker that left the fleet, and forget it."""
        now = self._loop.time()
        if self._recorder is not None:
            time = self._running.time_of(worker, now)
            time.advance(now)
            self._recorder.worker_left(self._reading(worker, time))
        self._running.forget(worker)
        self._reconciliation.forget_growth(worker)

    # -- called in other threads

    def _used(self, scope: Scope, since: float) -> list[Used]:
        """What each owner has used since a moment, as all files of the ledger say; raises `LedgerUnread`."""
        assert self._writer is not None
        self._writer.tried.wait(_OPEN_SECONDS)  # it makes the file, or brings it up to date
        try:
            folder = LedgerFolder(self._ledger.folder)
            writers = dict.fromkeys(folder.files, "")
            if self._shared is not None:
                writers = folder.writers()
                if self._writer.tried.is_set() and self.is_written:
                    self._shared.join(writers[self._path])
            first, by_end_user = int(since) // QUARTER_SECONDS, scope is Scope.END_USER
            return [
                Used(self._owner(scope, tenant, name), float(tokens), float(cost), float(money_nano), writers[file])
                for file, tenant, name, tokens, cost, money_nano in folder.used(first, by_end_user=by_end_user)
            ]
        except LedgerFault as fault:
            raise LedgerUnread(str(fault)) from None

    def _owner(self, scope: Scope, tenant: str, name: str) -> Owner:
        if scope is Scope.END_USER:
            return Owner(tenant, "", pseudonym(name) if self._ledger.end_users is EndUsers.PLAIN else name)
        return Owner(tenant, name if scope is Scope.KEY else "")

    def _report(self, reason: str | None) -> None:
        self._emit_on_loop(life.ledger(reason))
        if reason is None and self.budgets is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.budgets.note_ledger)

    def _report_database(self, reason: str | None) -> None:
        self._emit_on_loop(life.ledger_database(reason))

    def _moved(self, place: Path, reason: str) -> None:
        self._emit_on_loop(life.ledger_moved(place, reason))

    def _emit_on_loop(self, event: LifeChanged) -> None:
        with suppress(RuntimeError):  # the loop is closed: the gateway has ended
            self._loop.call_soon_threadsafe(self._emit, event)


def _follower(path: Path, terms: Postgres, report: Callable[[str | None], None]) -> "Follower":
    from gateway.ledger.follower import Follower  # its library is loaded only where it is used

    return Follower(path, terms, report)
