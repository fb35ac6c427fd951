"""What one request holds in memory: its body until the answer begins, then a complete answer until the client has it.

A request is handled inside its custody. If all requests together hold more bytes than they may (`fairness.holdings`),
some are pushed out. The custody cancels the task of such a request at whatever it awaits, as if its client had left,
so that it gives back everything in the same way. The client is still there, and is told why.
"""

import asyncio
from types import TracebackType
from typing import Final

from gateway.clients.refusal import Refusal
from gateway.fairness import Holding, Holdings
from gateway.outcomes import Outcome

_RETRY_SECONDS: Final = 2.0


class Custody(Holding):
    """What the current task's request holds."""

    __slots__ = ("_cancellations", "_holdings", "_is_cancelled", "_task")

    def __init__(
        self, holdings: "Holdings[Custody]", tenant: str, weight: float, task: asyncio.Task[object] | None
    ) -> None:
        """Nothing is held yet; `task` is the current one."""
        super().__init__(tenant, weight)
        self._holdings = holdings
        self._is_cancelled = False
        self._task = task
        self._cancellations = 0 if task is None else task.cancelling()

    def hold(self, size_bytes: int) -> None:
        """Hold `size_bytes` in all; raises `Refusal` if this request is pushed out."""
        for other in self._holdings.resize(self, size_bytes):
            if other is not self:
                other.cancel()
        if self.is_pushed_out:
            raise _pushed_out()

    def hold_from_outside(self, size_bytes: int) -> None:
        """As `hold`, but for callers outside the request's task: if it is pushed out, its task is cancelled."""
        if not self.is_pushed_out:
            for other in self._holdings.resize(self, size_bytes):
                other.cancel()

    def let_go(self) -> None:
        """Hold nothing any more, because the bytes are not needed again."""
        self._holdings.let_go(self)

    def cancel(self) -> None:
        """Cancel the request's task, because its holding was pushed out."""
        task = self._task
        assert task is not None
        self._is_cancelled = True
        task.cancel()

    def __enter__(self) -> "Custody":
        """The request's custody begins."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The request's custody ends; raises `Refusal` if the task was cancelled only because it was pushed out."""
        self._holdings.let_go(self)
        task, self._task = self._task, None
        if not self._is_cancelled:
            return
        assert task is not None
        if task.uncancel() <= self._cancellations and kind is asyncio.CancelledError:
            raise _pushed_out()


def _pushed_out() -> Refusal:
    return Refusal(Outcome.BODY_PUSHED_OUT, _RETRY_SECONDS)
