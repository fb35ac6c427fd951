"""A workload drawn from its description.

Each tenant draws its moments, its prompts, its answers and its disconnects from four generators of its own, named by
seed and tenant: taking a tenant away, or changing one of these, moves nothing else. Moments are whole microseconds,
so that they survive a file of text.
"""

from collections.abc import Iterator
from itertools import cycle, repeat
from random import Random

from evaluation.requests import Request
from evaluation.workloads.schema import Disconnects, TenantFile, WorkloadFile
from evaluation.workloads.workload import Workload

_DIGITS = 6


def generate(file: WorkloadFile, seed: int | None = None) -> Workload:
    """The workload that `file` describes; `seed` replaces the file's own."""
    seed = file.seed if seed is None else seed
    requests = [
        request
        for tenant in file.tenants
        for name in tenant.names
        for request in _requests(tenant, name, file.seconds, seed)
    ]
    requests.sort(key=lambda request: request.arrival_seconds)
    weights = {name: tenant.weight for tenant in file.tenants for name in tenant.names}
    return Workload(file.name, file.description, file.seconds, weights, tuple(requests))


def _requests(tenant: TenantFile, name: str, seconds: float, seed: int) -> Iterator[Request]:
    prompts, outputs, leaves = (Random(f"{seed}/{name}/{part}") for part in ("prompt", "output", "disconnects"))
    moments = tenant.arrivals.moments(seconds, Random(f"{seed}/{name}/arrivals"))
    keys = cycle(f"{name}/{number}" for number in range(1, tenant.keys + 1)) if tenant.keys > 1 else repeat("")
    for moment, key in zip(moments, keys, strict=False):
        output_tokens = tenant.output.draw(outputs)
        yield Request(
            arrival_seconds=min(round(moment, _DIGITS), seconds),
            tenant=name,
            prompt_tokens=tenant.prompt.draw(prompts),
            output_tokens=output_tokens,
            key=key,
            max_output_tokens=tenant.max_output_tokens,
            leaves_after_tokens=_leaves_after(tenant.disconnects, output_tokens, leaves),
        )


def _leaves_after(disconnects: Disconnects | None, output_tokens: int, source: Random) -> int | None:
    if disconnects is None:
        return None
    leaves, after_tokens = source.random() < disconnects.share, disconnects.after_tokens.draw(source)
    return after_tokens if leaves and after_tokens < output_tokens else None
