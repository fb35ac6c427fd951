"""The demo: a flood and two modest tenants on one engine, live, then a table.

One modest tenant sends now and then, the other has a few users who each wait for their answer; the flood
begins after a while and never lets up. Under `vtc` neither modest tenant should notice; under `fcfs` both
do. Everything shown is measured at the clients or read from the gateway's state dump.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Console
from rich.live import Live

from evaluation.bench.probe import Sample, probe_session
from evaluation.bench.settings import EngineChoice, EngineKind, WindowSettings
from evaluation.bench.stage import Gateway, stage
from evaluation.load.prompts import Lengths
from evaluation.load.tenants import ClosedLoop, Load, LoadTenant, OpenLoop, Tally, weights_of
from evaluation.metrics.statistics import percentile
from evaluation.report.delivery import Delivery, Report
from evaluation.report.document import Sheet, SheetRow
from evaluation.report.terminal import Progress, output_console, table

REFRESH_SECONDS = 0.25
PLAIN_SECONDS = 3.0
RECENT_SECONDS = 5.0
RATE_WIDTH_SECONDS = 2.0
SEQUENCES = 16
BAR_WIDTH = 28
SEED = 1

FLOOD = "flood"
CHAT = Lengths(24, 64)


class Actor(NamedTuple):
    """A tenant of the demo with the words that say what it does."""

    load: LoadTenant
    behaviour: str

    @property
    def name(self) -> str:
        """Its name at the gateway."""
        return self.load.name


@dataclass(frozen=True, slots=True)
class DemoOptions(Delivery):
    """What to show."""

    policy: str = "vtc"
    seconds: float = 30.0
    engine: EngineKind = EngineKind.EMBEDDED

    @property
    def flood_after_seconds(self) -> float:
        """When the flood begins: late enough that one sees the calm before it."""
        return self.seconds / 5

    @property
    def cast(self) -> tuple[Actor, ...]:
        """The tenants."""
        flood = LoadTenant(FLOOD, ClosedLoop(64), CHAT, Lengths(32, 160), starts_after_seconds=self.flood_after_seconds)
        return (
            Actor(flood, "64 at once"),
            Actor(LoadTenant("alice", OpenLoop(2.0), CHAT, Lengths(24, 64)), "2 per second"),
            Actor(LoadTenant("bob", ClosedLoop(4), CHAT, Lengths(24, 64)), "4 at once"),
        )


@dataclass(frozen=True, slots=True)
class Show:
    """What the demo saw: `start` and `end` are loop time."""

    options: DemoOptions
    start: float
    end: float
    tallies: Mapping[str, Tally]
    samples: Sequence[Sample]

    @property
    def flood_from(self) -> float:
        """When the flood began, loop time."""
        return self.start + self.options.flood_after_seconds

    def service(self, name: str, start: float, end: float) -> float:
        """What a tenant received per second in this time."""
        return self.tallies[name].service.between(start, end) / (end - start) if end > start else 0.0

    def ttfts(self, name: str, start: float, end: float) -> list[str]:
        """Median and p95 of the TTFT of the requests whose first token came in this time, in words."""
        firsts = ((record.first_token_at, record.sent_at) for record in self.tallies[name].records)
        found = [at - sent_at for at, sent_at in firsts if at is not None and start <= at <= end]
        return [seconds_text(percentile(found, percent) if found else None) for percent in (50, 95)]


async def measure(options: DemoOptions) -> Report:
    """Let the tenants loose and show who gets what."""
    return Report("demo", {}, [], {}, sheets=[summary(await _perform(options, output_console()))])


async def _perform(options: DemoOptions, console: Console) -> Show:
    progress, tenants = Progress(), [actor.load for actor in options.cast]
    async with (
        stage(progress, EngineChoice(options.engine, sequences=SEQUENCES)) as running,
        running.gateway(options.policy, weights_of(tenants), WindowSettings(SEQUENCES)) as gateway,
        probe_session() as session,
        Load(gateway.endpoint, tenants, SEED) as load,
        running.probe(session, gateway).sampling() as probe,
    ):
        progress.clear()
        start = asyncio.get_running_loop().time()
        show = Show(options, start, start + options.seconds, load.tallies, probe.samples)
        await _display(show, console, load, gateway)
    return show


async def _display(show: Show, console: Console, load: Load, gateway: Gateway) -> None:
    """Refresh the view until the end; where there is no terminal print it now and then."""
    loop = asyncio.get_running_loop()
    screen = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
    due = show.start
    with screen or nullcontext():
        while (due := due + (REFRESH_SECONDS if screen else PLAIN_SECONDS)) <= show.end:
            await asyncio.sleep(max(0.0, due - loop.time()))
            load.raise_failure()
            gateway.process.raise_if_ended()
            seen = table(view(show, loop.time()))
            if screen:
                screen.update(seen, refresh=True)
            else:
                console.print(seen)


# -- what is shown


def view(show: Show, now: float) -> Sheet:
    """The demo at loop time `now`: who gets how much, and how far apart the counters are."""
    since, recent = max(show.start, now - RATE_WIDTH_SECONDS), now - RECENT_SECONDS
    whole = sum(show.service(actor.name, since, now) for actor in show.options.cast)
    state = show.samples[-1].gateway if show.samples else None
    rows = []
    for actor in show.options.cast:
        service = show.service(actor.name, since, now)
        bar = "█" * round(BAR_WIDTH * service / whole) if whole else ""
        account = state.tenants.get(actor.name) if state else None
        counts = (account.queued, account.in_flight, round(account.counter)) if account else (0, 0, 0)
        figures = (
            f"{service:,.0f}",
            *show.ttfts(actor.name, recent, now),
            *(f"{count:,}" for count in counts),
            bar.ljust(BAR_WIDTH),
        )
        rows.append(SheetRow((f"{actor.name} {actor.behaviour}", *figures)))
    title = f"policy {show.options.policy}, {now - show.start:.0f}/{show.options.seconds:.0f} s; {_state(show)}"
    columns = ("tenant", "service/s", "TTFT p50", "TTFT p95", "queued", "in flight", "counter", "share of the service")
    return Sheet(title, columns, rows, words=1)


def _state(show: Show) -> str:
    """How far apart the counters are, next to the bound, and what the engine does."""
    if not show.samples:
        return "spread 0 of 0"
    sample = show.samples[-1]
    spread = f"spread {sample.gateway.spread:,.0f} of {sample.gateway.spread_bound:,.0f}"
    return f"{spread}, the computed bound; engine: {sample.running} running, {sample.waiting} waiting"


def seconds_text(seconds: float | None) -> str:
    """A duration for people."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def summary(show: Show) -> Sheet:
    """The closing table: everybody's service since the flood began."""
    start, end = show.flood_from, show.end
    rows = []
    for actor in show.options.cast:
        records = show.tallies[actor.name].records
        finished = sum(record.is_complete and record.sent_at >= start for record in records)
        service = f"{show.service(actor.name, start, end):,.0f}"
        cells = (str(finished), service, *show.ttfts(actor.name, start, end))
        rows.append(SheetRow((f"{actor.name} {actor.behaviour}", *cells)))
    states = [sample.gateway for sample in show.samples]
    worst = max((state.spread for state in states), default=0.0)
    bound = max((state.spread_bound for state in states), default=0.0)
    title = (
        f"policy {show.options.policy}, from the flood's beginning; "
        f"largest observed spread of counters {worst:,.0f}, computed bound {bound:,.0f}"
    )
    return Sheet(title, ("tenant", "requests", "service/s", "TTFT p50", "TTFT p95"), rows)
