"""Workers that died with requests: whether they did, and how the requests that were there go on.

A lost connection is a death only where the worker is gone too: it is asked at once for its health, and no connection or
an engine that calls itself dead means yes. A worker that the supervisor was ending died of that, a silent one is not
dead. Whom a death accuses and who must wait is `quarantine`'s; here suspects wait for their trial, and a trial that
lasts is cut short by a timer.
"""

import asyncio
from collections.abc import Callable

from gateway.endpoints.failures import GatewayShort, HostUnknown, WorkerSilent, WorkerUnreachable
from gateway.endpoints.upstream import fetch
from gateway.endpoints.workers import WorkerEndpoint, WorkerEndpoints
from gateway.watch.health import Health
from gateway.workers import Blame, Clearance, Quarantine, Signal, Suspect, SuspectSnapshot
from gateway.workers.quarantine import TRIAL_SECONDS, Standing

_CONFIRMATION_SECONDS = 2.0
_MAX_ANSWER_BYTES = 64 * 1024


class DeathGuard:
    """Deaths of workers, and the requests that may have caused them."""

    def __init__(
        self,
        endpoints: WorkerEndpoints,
        health: Health,
        is_being_ended: Callable[[str], bool],
        vouch: Callable[[str], None],
    ) -> None:
        """Nobody is suspected; `is_being_ended` tells which workers the supervisor ends itself.

        `vouch` is told of each that is found alive.
        """
        self._vouch = vouch
        self._endpoints = endpoints
        self._health = health
        self._is_being_ended = is_being_ended
        self._quarantine = Quarantine()
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._timers: dict[Suspect, asyncio.TimerHandle] = {}
        self._confirmations: dict[str, asyncio.Task[bool]] = {}
        self._reports: set[asyncio.Task[Blame | None]] = set()
        self._accounts: set[Suspect] = set()  # of which an confirmation is still to tell
        self._is_closed = False

    def is_convicted(self, case: Suspect) -> bool:
        """True for a body that is refused."""
        return self._quarantine.standing(case, self._loop.time()) is Standing.CONVICTED

    def detained(self) -> tuple[SuspectSnapshot, ...]:
        """Every body that was at a death of late, the latest first."""
        return self._quarantine.detained(self._loop.time())

    def forget_worker(self, worker: str) -> None:
        """`worker` was removed, and no request is there."""
        self._quarantine.forget_worker(worker)

    # -- trials

    async def send(self, case: Suspect, worker: str) -> Clearance:
        """Whether `case` may go to `worker`, once no other stands trial there; WAIT where the worker died meanwhile."""
        life = self._quarantine.life(worker)
        while not self._is_closed and life == self._quarantine.life(worker):
            turn = self._quarantine.send(case, worker, self._loop.time())
            if turn is not Clearance.WAIT:
                self._limit(case)
                return turn
            waiting = self._loop.create_future()
            self._waiting.setdefault(worker, []).append(waiting)
            await waiting
        return Clearance.WAIT

    def _limit(self, case: Suspect) -> None:
        if self._quarantine.is_on_trial(case):
            self._timers[case] = self._loop.call_later(TRIAL_SECONDS, self.survived, case)

    def survived(self, case: Suspect) -> None:
        """The first byte came, or the worker has lived with it for a while."""
        self._disarm(case)
        self._quarantine.survived(case)
        self._call(case.worker)

    def answered(self, case: Suspect) -> None:
        """The whole answer came."""
        self._quarantine.answered(case, self._loop.time())

    def leave(self, case: Suspect) -> None:
        """`case` is no longer at its worker; one of which an confirmation is to tell stays until then."""
        if case not in self._accounts:
            self._disarm(case)
            self._quarantine.leave(case)
            self._call(case.worker)

    def _disarm(self, case: Suspect) -> None:
        timer = self._timers.pop(case, None)
        if timer is not None:
            timer.cancel()

    def _call(self, worker: str) -> None:
        """Somebody's trial at `worker` may be over: those who wait look again, in their order."""
        if self._waiting and not self._has_trial(worker):
            for waiting in self._waiting.pop(worker, ()):
                if not waiting.done():
                    waiting.set_result(None)

    def _has_trial(self, worker: str) -> bool:
        return self._quarantine.has_trial(worker) and not self._is_closed

    # -- inquests

    async def judge(self, case: Suspect) -> Blame | None:
        """The connection of `case` was lost: what its worker's death means for it, None where the worker lives."""
        return await asyncio.shield(self.report(case))  # a client that leaves does not take the account with it

    def report(self, case: Suspect) -> "asyncio.Task[Blame | None]":
        """As `judge`, without waiting for it."""
        task = asyncio.create_task(  # noqa: TID251 - `close` awaits it
            self._judge(case), name=f"account of {case.worker}"
        )
        self._accounts.add(case)
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)
        return task

    async def _judge(self, case: Suspect) -> Blame | None:
        confirmation = self._inquest(case.worker)
        await asyncio.wait({confirmation})
        self._accounts.discard(case)
        if confirmation.cancelled() or not confirmation.result():
            self.leave(case)
            return None
        self._disarm(case)
        blame = self._quarantine.died(case, self._loop.time())
        self._call(case.worker)
        return blame

    def _inquest(self, worker: str) -> "asyncio.Task[bool]":
        task = self._confirmations.get(worker)
        if task is None:
            is_excused = self._is_being_ended(worker)
            task = asyncio.create_task(  # noqa: TID251 - `_judge` awaits it
                self._has_died(worker, self._endpoints[worker], is_excused), name=f"confirmation of {worker}"
            )
            self._confirmations[worker] = task
            task.add_done_callback(lambda _: self._confirmations.pop(worker, None))
        return task

    async def _has_died(self, worker: str, endpoint: WorkerEndpoint, is_excused: bool) -> bool:
        try:
            answer = await fetch(
                endpoint.control,
                endpoint.health_request,
                seconds=_CONFIRMATION_SECONDS,
                max_bytes=_MAX_ANSWER_BYTES,
                fresh=True,
            )
            is_dead = answer.status >= 500
            if not is_dead:
                self._vouch(worker)
        except (WorkerSilent, HostUnknown, GatewayShort):
            is_dead = False
        except WorkerUnreachable:
            is_dead = True
        if is_dead:
            self._health.report(worker, Signal.GONE, "its connections broke and it is gone")
        return is_dead and not is_excused

    # -- end

    async def close(self) -> None:
        """Let nobody wait any more."""
        self._is_closed = True
        for worker in list(self._waiting):
            self._call(worker)
        for case in list(self._timers):
            self._disarm(case)
        for confirmation in self._confirmations.values():
            confirmation.cancel()
        if self._reports:
            await asyncio.wait(set(self._reports))
