"""Puts the tenants' load on the endpoint and looks at what each receives.

Every act starts from rest. A warm-up fills every queue before the measured window. An act about the first moments after
a change measures from the change. The arena keeps the first `MAX_REFUSALS` refusals of the suite.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from evaluation.conformance.capacity import Scale
from evaluation.conformance.greeting import credential
from evaluation.conformance.observation import Observed, Received, Refusal, received, together
from evaluation.conformance.tenants import Cast, Tenant
from evaluation.load.client import Endpoint
from evaluation.load.prompts import Lengths
from evaluation.load.series import Span
from evaluation.load.tenants import Arrivals, ClosedLoop, Load, LoadTenant
from evaluation.report.terminal import Progress

MAX_REFUSALS = 1000
SECONDS_BETWEEN_STEPS = 0.25

# Times what the endpoint runs at once: a flood alone keeps a queue of several answers.
FLOOD = 8
CROWD = 2

SHORT_PROMPT_TOKENS = 32


class Arena:
    """One endpoint with its tenants, and the sizes that fit it."""

    def __init__(self, endpoint: Endpoint, cast: Cast, scale: Scale, progress: Progress) -> None:
        self.cast = cast
        self.scale = scale
        self.refusals: list[Refusal] = []
        self.refused = 0
        self._endpoint = endpoint
        self._progress = progress
        self._seed = 0

    @property
    def urls(self) -> int:
        """How many gateways of the fleet there are."""
        return len(self._endpoint.urls)

    # -- who

    def flood(self, tenant: Tenant) -> LoadTenant:
        """Far more than the endpoint can run."""
        return self.load(tenant, ClosedLoop(FLOOD * self.scale.outstanding))

    def crowd(self, tenant: Tenant, key: int = 0) -> LoadTenant:
        """Twice what the endpoint runs at once: backlogged even alone and with every weight."""
        return self.load(tenant, ClosedLoop(CROWD * self.scale.outstanding), key)

    def leaver(self, tenant: Tenant, after_tokens: int) -> LoadTenant:
        """A crowd whose clients close the connection after so many tokens."""
        return replace(self.crowd(tenant), leaves_after_tokens=after_tokens)

    def within(self, tenant: Tenant) -> LoadTenant:
        """An equal part of what the endpoint runs at once."""
        return self.load(tenant, ClosedLoop(max(1, self.scale.outstanding // len(self.cast.tenants))))

    def load(self, tenant: Tenant, arrivals: Arrivals, key: int = 0) -> LoadTenant:
        """Any arrivals, with short prompts and the usual answers."""
        name = credential(tenant.name, key)
        return LoadTenant(name, arrivals, self.prompt(SHORT_PROMPT_TOKENS), self._usual_answer)

    def prompt(self, tokens: int) -> Lengths:
        """A prompt of `tokens`, as the bytes that the load client counts in."""
        length = round(tokens * self._endpoint.bytes_per_token)
        return Lengths(length, length)

    @property
    def _usual_answer(self) -> Lengths:
        # Of equal lengths whole batches would end together.
        tokens = self.scale.answer_tokens
        return Lengths(max(1, tokens // 2), tokens + tokens // 2)

    # -- what happens

    @asynccontextmanager
    async def playing(self, tenants: Sequence[LoadTenant]) -> AsyncIterator[Load]:
        """Keep the load up while the context is open."""
        self._seed += 1
        load = Load(self._endpoint, tenants, self._seed)
        try:
            async with load:
                yield load
        finally:
            self._keep_refusals(load)

    async def observe(self, what: str, tenants: Sequence[LoadTenant], part: float = 1.0) -> Observed:
        """Run a warm-up from rest, then a window; `part` is the part of both lengths if there are several windows."""
        await self.rest()
        async with self.playing(tenants) as load:
            await self.pass_time(f"{what}: warm-up", part * self.scale.warmup_seconds)
            return self.look(load, await self.pass_time(what, part * self.scale.window_seconds))

    async def rest(self) -> None:
        """Let the endpoint notice that the last act's clients have gone."""
        await asyncio.sleep(self.scale.answer_seconds)

    async def pass_time(self, what: str, seconds: float) -> Span:
        """Let `seconds` pass, and show the progress."""
        self._progress.step(what, seconds)
        loop = asyncio.get_running_loop()
        start = last = loop.time()
        while (now := loop.time()) < start + seconds:
            await asyncio.sleep(min(SECONDS_BETWEEN_STEPS, start + seconds - now))
            self._progress.advance(loop.time() - last)
            last = loop.time()
        return Span(start, last)

    def look(self, load: Load, span: Span, *others: Load) -> Observed:
        """What every tenant of these loads received in `span`, which ends now."""
        tallies = {name: tally for each in (load, *others) for name, tally in each.tallies.items()}
        seen = {name: received(tally, span.start, span.end) for name, tally in tallies.items()}
        return Observed(span.end - span.start, self._by_tenant(seen))

    def _by_tenant(self, seen: dict[str, Received]) -> dict[str, Received]:
        tenants: dict[str, Received] = {}
        for tenant in self.cast.tenants:
            names = [credential(tenant.name, number) for number in range(len(tenant.keys))]
            parts = [seen[name] for name in names if name in seen]
            if parts:
                tenants[tenant.name] = together(parts)
        return tenants

    def _keep_refusals(self, load: Load) -> None:
        for tally in load.tallies.values():
            refusals = received(tally, float("-inf"), float("inf")).refusals
            self.refused += len(refusals)
            self.refusals.extend(refusals[: MAX_REFUSALS - len(self.refusals)])
