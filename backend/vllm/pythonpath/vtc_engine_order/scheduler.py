"""vLLM's scheduler with a fair waiting queue: for `--scheduler-cls vtc_engine_order.scheduler.fair_scheduler`.

Only the waiting queue is replaced and two of the scheduler's steps are listened to: what was generated, what is over.
Requests that hold KV blocks and wait for a transfer stay in vLLM's own queue. All this is vLLM's private interface, so
a release that was not tested (`release`), or one that lacks a method, is refused at the start, before a request can be
served in a wrong order. Tenant and weight arrive in `vllm_xargs`; requests without them share one tenant.
"""

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler  # type: ignore[import-not-found]
from vllm.v1.core.sched.request_queue import (  # type: ignore[import-not-found]
    FCFSRequestQueue,
    RequestQueue,
)
from vllm.v1.core.sched.scheduler import Scheduler  # type: ignore[import-not-found]
from vllm.v1.request import RequestStatus  # type: ignore[import-not-found]

from .fair_queue import FairQueue, Payer
from .release import Unsupported, check_release

TENANT_ARGUMENT, WEIGHT_ARGUMENT = "vtc_tenant", "vtc_weight"
_ANYBODY = ""
_MIN_WEIGHT, _MAX_WEIGHT = 1e-6, 1e6
_LISTENED_TO = {
    "_update_request_with_output": ["self", "request", "new_token_ids", "is_stale"],
    "_free_request": ["self", "request", "delay_free_blocks"],
}


def payer_of(request: Any) -> Payer:
    """Whom `request` says it belongs to; what makes no sense counts as absent."""
    parameters = request.sampling_params
    extra_arguments = (parameters.extra_args if parameters is not None else None) or {}
    tenant, weight = extra_arguments.get(TENANT_ARGUMENT), extra_arguments.get(WEIGHT_ARGUMENT)
    if not isinstance(tenant, str):
        tenant = _ANYBODY
    if not isinstance(weight, int | float) or not _MIN_WEIGHT <= weight <= _MAX_WEIGHT:
        weight = 1.0
    return Payer(tenant, weight, request.num_prompt_tokens)


class FairRequestQueue(RequestQueue):  # type: ignore[misc]
    """vLLM's interface of a waiting queue over `FairQueue`."""

    def __init__(self) -> None:
        """An empty queue."""
        self.fair: FairQueue[Any] = FairQueue(payer_of)

    def add_request(self, request: Any) -> None:
        """A new request."""
        self.fair.add(request)

    def pop_request(self) -> Any:
        """Take out the next request; charges its prompt."""
        return self._present(self.fair.pop())

    def peek_request(self) -> Any:
        """The next request."""
        return self._present(self.fair.peek())

    def prepend_request(self, request: Any) -> None:
        """A request that was preempted while it ran, or one that was popped and cannot run in this step."""
        if request.status == RequestStatus.PREEMPTED:
            self.fair.resume(request)
        else:
            self.fair.put_back(request)

    def prepend_requests(self, requests: Iterable[Any]) -> None:
        """Several of them, the last one to the front."""
        for request in requests:
            self.prepend_request(request)

    def remove_request(self, request: Any) -> None:
        """Take out a request, if it is in."""
        self.fair.remove((request,))

    def remove_requests(self, requests: Iterable[Any]) -> None:
        """Take out those of `requests` that are in."""
        self.fair.remove(requests)

    def __bool__(self) -> bool:
        """True if something waits."""
        return len(self.fair) > 0

    def __len__(self) -> int:
        """Number of waiting requests."""
        return len(self.fair)

    def __iter__(self) -> Iterator[Any]:
        """The waiting requests in about their order."""
        return iter(self.fair)

    @staticmethod
    def _present(request: Any) -> Any:
        if request is None:
            raise IndexError("the queue is empty")
        return request


class _Fair:
    """Goes before a scheduler class of vLLM's: its waiting queue replaced, its charges heard."""

    waiting: Any

    def __init__(self, *arguments: Any, **named: Any) -> None:
        check()
        super().__init__(*arguments, **named)
        if type(self.waiting) is not FCFSRequestQueue:
            raise Unsupported(
                f"its waiting queue is a {type(self.waiting).__name__}, which is not first come, first served"
            )
        self.waiting = FairRequestQueue()

    def _update_request_with_output(
        self, request: Any, new_token_ids: list[int], is_stale: bool = False
    ) -> tuple[list[int], bool]:
        kept, stopped = super()._update_request_with_output(request, new_token_ids, is_stale)  # type: ignore[misc]
        self.waiting.fair.generated(request, len(kept))
        return kept, stopped

    def _free_request(self, request: Any, delay_free_blocks: bool = False) -> Any:
        freed = super()._free_request(request, delay_free_blocks)  # type: ignore[misc]
        self.waiting.fair.forget(request)
        return freed


class FairScheduler(_Fair, Scheduler):  # type: ignore[misc]
    """For engines without asynchronous scheduling (processors)."""


class FairAsyncScheduler(_Fair, AsyncScheduler):  # type: ignore[misc]
    """For engines that schedule a step ahead (GPUs)."""


def fair_scheduler(*, vllm_config: Any, **named: Any) -> Any:
    """The scheduler for `vllm_config`, called as vLLM calls a scheduler class."""
    kind = FairAsyncScheduler if vllm_config.scheduler_config.async_scheduling else FairScheduler
    return kind(vllm_config=vllm_config, **named)


def check() -> None:
    """Raise `Unsupported` where the installed vLLM is another than those tested, or lacks what is relied upon."""
    check_release()
    check_interface(RequestQueue, (Scheduler, AsyncScheduler))


def check_interface(queue: Any, schedulers: Iterable[Any]) -> None:
    """Raise `Unsupported` where a class has more, less or other methods than those that are replaced here."""
    unknown = queue.__abstractmethods__ - vars(FairRequestQueue).keys()
    if unknown:
        raise Unsupported(f"its queues have methods unknown here: {', '.join(sorted(unknown))}")
    for scheduler in schedulers:
        for name, expected in _LISTENED_TO.items():
            method = getattr(scheduler, name, None)
            found = [] if method is None else list(inspect.signature(method).parameters)
            if found != expected:
                raise Unsupported(f"{scheduler.__name__}.{name} takes {found} instead of {expected}")
