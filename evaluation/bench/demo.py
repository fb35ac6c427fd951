"""The demo: a flood and two modest tenants on one engine, live, then a table.

One modest tenant sends now and then, the other has a few users who each wait for their answer; the flood
begins after a while and never lets up. Under `vtc` neither modest tenant should notice; under `fcfs` both
do. With several processes the demo shows instead what it is worth that they share one account: a tenant that comes by
one process only, beside one that comes by all, first without sharing and then with it. Everything shown is measured at
the clients or read from the gateway's state dump.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import NamedTuple

from rich.console import Console
from rich.live import Live

from evaluation.bench.probe import Sample, probe_session
from evaluation.bench.settings import EngineChoice, EngineKind, WindowSettings
from evaluation.bench.stage import Gateway, Stage, stage
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
    """What to show, and by how many processes of the gateway."""

    policy: str = "vtc"
    seconds: float = 30.0
    engine: EngineKind = EngineKind.EMBEDDED
    processes: int = 1

    @property
    def flood_after_seconds(self) -> float:
        """When the flood begins and the closing table counts from: late enough that one sees the calm before it."""
        return self.seconds / 5

    @property
    def cast(self) -> tuple[Actor, ...]:
        """The tenants."""
        if self.processes > 1:
            alice = LoadTenant("alice", ClosedLoop(64), CHAT, Lengths(24, 64), comes_by=(0,))
            bob = replace(alice, name="bob", comes_by=())
            return Actor(alice, "64 at once, by one process"), Actor(bob, "64 at once, by all processes")
        flood = LoadTenant(FLOOD, ClosedLoop(64), CHAT, Lengths(32, 160), starts_after_seconds=self.flood_after_seconds)
        return (
            Actor(flood, "64 at once"),
            Actor(LoadTenant("alice", OpenLoop(2.0), CHAT, Lengths(24, 64)), "2 per second"),
            Actor(LoadTenant("bob", ClosedLoop(4), CHAT, Lengths(24, 64)), "4 at once"),
        )


@dataclass(frozen=True, slots=True)
class Show:
    """What the demo saw under `title`: `start` and `end` are loop time."""

    options: DemoOptions
    title: str
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

    def share(self, name: str, start: float, end: float) -> float:
        """The part of all service that a tenant received in this time."""
        whole = sum(self.service(each, start, end) for each in self.tallies)
        return self.service(name, start, end) / whole if whole else 0.0

    def ttfts(self, name: str, start: float, end: float) -> list[str]:
        """Median and p95 of the TTFT of the requests whose first token came in this time, in words."""
        firsts = ((record.first_token_at, record.sent_at) for record in self.tallies[name].records)
        found = [at - sent_at for at, sent_at in firsts if at is not None and start <= at <= end]
        return [seconds_text(percentile(found, percent) if found else None) for percent in (50, 95)]


async def measure(options: DemoOptions) -> Report:
    """Let the tenants loose and show who gets what."""
    console, progress = output_console(), Progress()
    acts = {"": False} if options.processes == 1 else {"each process for itself, ": False, "one account, ": True}
    async with stage(progress, EngineChoice(options.engine, sequences=SEQUENCES)) as running:
        shows = [await _perform(options, console, running, title, shares) for title, shares in acts.items()]
    return Report("demo", {}, [], {}, sheets=[summary(show) for show in shows])


async def _perform(options: DemoOptions, console: Console, running: Stage, title: str, shares: bool) -> Show:
    tenants, window = [actor.load for actor in options.cast], WindowSettings(SEQUENCES)
    store = running.store() if shares else None
    async with (
        running.fleet(options.processes, options.policy, weights_of(tenants), window, store=store) as gateway,
        probe_session() as session,
        Load(gateway.endpoint, tenants, SEED) as load,
        running.probe(session, gateway).sampling() as probe,
    ):
        running.progress.clear()
        start = asyncio.get_running_loop().time()
        show = Show(options, title, start, start + options.seconds, load.tallies, probe.samples)
        await display(show, console, load, gateway)
    return show


async def display(show: Show, console: Console, load: Load, gateway: Gateway) -> None:
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
        await asyncio.sleep(max(0.0, show.end - loop.time()))


# -- what is shown


def view(show: Show, now: float) -> Sheet:
    """The demo at loop time `now`: who gets how much, and, of a gateway of one process, what it knows of each."""
    since, recent = max(show.start, now - RATE_WIDTH_SECONDS), now - RECENT_SECONDS
    known = ("queued", "in flight", "counter") if show.options.processes == 1 else ()
    rows = []
    for actor in show.options.cast:
        share = show.share(actor.name, since, now)
        figures = (
            f"{show.service(actor.name, since, now):,.0f}",
            *show.ttfts(actor.name, recent, now),
            *(_account(show, actor.name) if known else ()),
            ("█" * round(BAR_WIDTH * share)).ljust(BAR_WIDTH),
        )
        rows.append(SheetRow((f"{actor.name} {actor.behaviour}", *figures)))
    title = (
        f"{show.title}policy {show.options.policy}, {now - show.start:.0f}/{show.options.seconds:.0f} s{_state(show)}"
    )
    columns = ("tenant", "service/s", "TTFT p50", "TTFT p95", *known, "share of the service")
    return Sheet(title, columns, rows, words=1)


def _account(show: Show, tenant: str) -> tuple[str, ...]:
    """What the gateway knows of a tenant: requests that wait and that run, and its counter."""
    account = show.samples[-1].gateway.tenants.get(tenant) if show.samples else None
    counts = (account.queued, account.in_flight, round(account.counter)) if account else (0, 0, 0)
    return tuple(f"{count:,}" for count in counts)


def _state(show: Show) -> str:
    """How far apart the counters of a gateway of one process are, next to the bound, and what the engine does."""
    if not show.samples or show.options.processes > 1:
        return ""
    sample = show.samples[-1]
    spread = f"spread {sample.gateway.spread:,.0f} of {sample.gateway.spread_bound:,.0f}"
    return f"; {spread}, the computed bound; engine: {sample.running} running, {sample.waiting} waiting"


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
        service, share = (read(actor.name, start, end) for read in (show.service, show.share))
        cells = (str(finished), f"{service:,.0f}", f"{share:.0%}", *show.ttfts(actor.name, start, end))
        rows.append(SheetRow((f"{actor.name} {actor.behaviour}", *cells)))
    title = f"{show.title}policy {show.options.policy}, after {show.options.flood_after_seconds:.0f} s"
    if states := [sample.gateway for sample in show.samples if show.options.processes == 1]:
        worst, bound = (
            max(values) for values in zip(*((each.spread, each.spread_bound) for each in states), strict=True)
        )
        title += f"; largest observed spread of counters {worst:,.0f}, computed bound {bound:,.0f}"
    return Sheet(title, ("tenant", "requests", "service/s", "share", "TTFT p50", "TTFT p95"), rows)
