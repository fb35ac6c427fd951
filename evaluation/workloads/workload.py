"""A workload: who sends what and when, whatever serves it. This module also draws one from its description.

Files, traces and generators all become this one value. Requests are in the order of their arrival. Each tenant draws
its moments, its prompts, its answers and its disconnects from four generators of its own, named by seed and tenant. So
nothing else moves if a tenant is taken away or one of these changes. Moments are whole microseconds, so that a text
file keeps them exactly.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import cycle, pairwise, repeat
from random import Random

from evaluation.requests import Request
from evaluation.workloads.schema import Disconnects, TenantFile, WorkloadFile

PREFIX_BLOCK_TOKENS = 512
"""Tokens of one block of `Request.prefix_ids`: the block of the Mooncake traces."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Arrivals over `seconds`; `tenants` maps each name to its weight, also where it sends nothing.

    `notes` say in words what the reader of a trace had to decide.
    """

    name: str
    description: str
    seconds: float
    tenants: Mapping[str, float]
    requests: tuple[Request, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Hold the order that every reader relies on."""
        assert all(early.arrival_seconds <= late.arrival_seconds for early, late in pairwise(self.requests))
        assert all(request.tenant in self.tenants for request in self.requests)

    def of(self, tenant: str) -> tuple[Request, ...]:
        """The requests of one tenant."""
        return tuple(request for request in self.requests if request.tenant == tenant)

    def until(self, seconds: float) -> "Workload":
        """The same, cut off after `seconds`."""
        kept = tuple(request for request in self.requests if request.arrival_seconds < seconds)
        return replace(self, seconds=min(seconds, self.seconds), requests=kept)


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
