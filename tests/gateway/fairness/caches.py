"""The bench on the real placement: prompts begin alike; engines cache them, forget them, and tell what they found."""

from collections import OrderedDict
from typing import Any

from gateway.workers import Fleet, prefix_chain

from .bench import Bench, Job

BLOCK = bytes(256)
TEXTS_PER_ENGINE = 3


class Caches(Bench):
    """As the bench, on a fleet of workers whose engines each have the beginnings of a few texts cached."""

    def __init__(self, policy: str = "vtc", predictor: str = "none", **options: Any) -> None:
        """A fleet that knows the locality quantum, and engines that have nothing cached."""
        super().__init__(policy, predictor, fleet=Fleet(), **options)
        for pool in self.admission.pools:
            self.fleet.set_locality(pool, options["locality_quantum"])
        self.cached: dict[str, OrderedDict[int, int]] = {}  # tokens by worker and first block

    def prefix(self, tenant: str, prompt: int, affinity: int) -> tuple[int, ...]:
        """A block for each token of the tenant's text with the number `affinity`."""
        return prefix_chain(BLOCK * prompt, tenant, str(affinity))

    def begin(self, job: Job) -> None:
        """The engine finds what it has cached, and caches the rest; it forgets the text that it used longest ago."""
        cached = self.cached.setdefault(job.ticket.worker, OrderedDict())
        text = job.ticket.prefix[0]
        job.cached_tokens = min(job.prompt_tokens, cached.pop(text, 0))
        cached[text] = job.prompt_tokens
        if len(cached) > TEXTS_PER_ENGINE:
            cached.popitem(last=False)

    def _report(self, job: Job) -> None:
        super()._report(job)
        self.fleet.counted(job.ticket, job.prompt_tokens, job.cached_tokens)

    def check(self) -> None:
        """Hold placement to its invariants too."""
        super().check()
        self.fleet.check_invariants()
