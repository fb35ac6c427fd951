"""Drives the fair schedulers of an installed vLLM without a model; prints what they did, as JSON.

`drive_schedulers.py MODEL_FOLDER`, under vLLM's own interpreter with the fair order on its path. GPUs schedule a step
ahead, which no processor does: here both kinds run, the second as its engine would run it, two steps in flight.
"""

import json
import sys
from abc import abstractmethod
from collections import Counter, deque
from typing import Any

import torch
from vllm.engine.arg_utils import EngineArgs
from vllm.sampling_params import SamplingParams
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.request_queue import RequestQueue
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus
from vllm.v1.structured_output import StructuredOutputManager
from vtc_engine_order.release import Unsupported
from vtc_engine_order.scheduler import check_interface, fair_scheduler

BLOCK_TOKENS = 16
SEQUENCES = 4
PROMPT, TOKENS = 10, 60
FLOOD, MODEST = 30, 6
WORD = 65


class Engine:
    """A scheduler with a model that says the same word for ever."""

    def __init__(self, folder: str, blocks: int, *, is_async: bool) -> None:
        arguments = EngineArgs(model=folder, load_format="dummy", max_model_len=256, max_num_seqs=SEQUENCES)
        arguments.block_size, arguments.enable_prefix_caching = BLOCK_TOKENS, False
        config = arguments.create_engine_config()
        config.scheduler_config.async_scheduling = is_async
        config.cache_config.num_gpu_blocks = blocks
        spec = FullAttentionSpec(block_size=BLOCK_TOKENS, num_kv_heads=1, head_size=1, dtype=torch.float32)
        self.scheduler = fair_scheduler(
            vllm_config=config,
            kv_cache_config=KVCacheConfig(blocks, [], [KVCacheGroupSpec(["layer"], spec)]),
            structured_output_manager=StructuredOutputManager(config),
            block_size=BLOCK_TOKENS,
            log_stats=True,
        )
        self._flying: deque[Any] = deque()
        self._depth = 2 if is_async else 1
        self.finished: list[str] = []
        self.preemptions = 0

    def ask(self, tenant: str, number: int, **told: Any) -> Request:
        """A request of `tenant` in the queue."""
        extra = {"vtc_tenant": tenant, **told} if tenant else None
        parameters = SamplingParams(max_tokens=TOKENS, ignore_eos=True, extra_args=extra)
        request = Request(f"{tenant}-{number}", list(range(PROMPT)), parameters, None)
        self.scheduler.add_request(request)
        return request

    def step(self) -> None:
        """One turn of the engine: schedule, and take in the oldest step that flies where as many do as may."""
        planned = self.scheduler.schedule()
        self._flying.append(planned)
        if len(self._flying) == self._depth:
            self._land(self._flying.popleft())

    def _land(self, planned: Any) -> None:
        ids = list(planned.num_scheduled_tokens)
        requests = {name: self.scheduler.requests.get(name) for name in ids}
        self.preemptions += len(planned.preempted_req_ids or ())
        sampled = [[] if name in planned.num_scheduled_tokens and is_chunk(requests[name]) else [WORD] for name in ids]
        output = ModelRunnerOutput(ids, {name: index for index, name in enumerate(ids)}, sampled)
        for outputs in self.scheduler.update_from_output(planned, output).values():
            self.finished += [each.request_id for each in outputs.outputs if each.finish_reason is not None]

    def run_out(self) -> None:
        """Steps until nothing is left."""
        for _ in range(100_000):
            if not self.scheduler.has_unfinished_requests() and not any(
                planned.num_scheduled_tokens for planned in self._flying
            ):
                return
            self.step()
        raise AssertionError("it does not come to an end")


def is_chunk(request: Request | None) -> bool:
    """Whether a request is still in its prompt."""
    return request is not None and request.is_prefill_chunk


def share(folder: str, *, is_async: bool) -> dict[str, Any]:
    """Who is served while a flood and a modest tenant wait, and what is left in memory afterwards."""
    engine = Engine(folder, 64, is_async=is_async)
    for number in range(FLOOD):
        engine.ask("flood", number)
    engine.step()
    for number in range(MODEST):
        engine.ask("modest", number)
    engine.run_out()
    names = [name.partition("-")[0] for name in engine.finished]
    last = len(names) - names[::-1].index("modest")
    fair = engine.scheduler.waiting.fair
    return {
        "kind": type(engine.scheduler).__name__,
        "before_the_last_modest": Counter(names[:last])["flood"],
        "finished": len(names),
        "counters": {name: fair.counter(name) for name in ("flood", "modest")},
        "claims_left": len(fair._claims),
    }


def preempt(folder: str, *, is_async: bool) -> dict[str, Any]:
    """The same with a cache in which four requests find no place."""
    engine = Engine(folder, 14, is_async=is_async)
    for number in range(6):
        engine.ask("flood", number)
        engine.ask("modest", number, vtc_weight=2.0)
    engine.run_out()
    fair = engine.scheduler.waiting.fair
    return {
        "finished": len(engine.finished),
        "preemptions": engine.preemptions,
        "counters": {name: fair.counter(name) for name in ("flood", "modest")},
    }


def abort(folder: str, *, is_async: bool) -> dict[str, Any]:
    """Requests aborted while they wait and while they run; some without a tenant."""
    engine = Engine(folder, 64, is_async=is_async)
    requests = [engine.ask("flood" if number % 2 else "", number, vtc_weight="heavy") for number in range(20)]
    for _ in range(5):
        engine.step()
    engine.scheduler.finish_requests([each.request_id for each in requests[1:-1]], RequestStatus.FINISHED_ABORTED)
    engine.run_out()
    fair = engine.scheduler.waiting.fair
    return {"finished": sorted(engine.finished), "claims_left": len(fair._claims), "waiting": len(fair)}


def refusals() -> list[str]:
    """What is said of a vLLM that differs."""

    class Queue(RequestQueue):
        @abstractmethod
        def steal_request(self) -> None: ...

    class Renamed(Scheduler):
        def _free_request(self, request: Any) -> None: ...

    said = []
    for queue, schedulers in ((Queue, (Scheduler, AsyncScheduler)), (RequestQueue, (Renamed,))):
        try:
            check_interface(queue, schedulers)
        except Unsupported as fault:
            said.append(str(fault))
    return said


if __name__ == "__main__":
    runs = {
        name: {kind: scene(sys.argv[1], is_async=kind == "async") for kind in ("sync", "async")}
        for name, scene in (("share", share), ("preempt", preempt), ("abort", abort))
    }
    json.dump(runs | {"refusals": refusals()}, sys.stdout)
