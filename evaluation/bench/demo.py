"""The demo: a flood and two modest tenants on one engine, live, then a table and a picture.

One modest tenant sends now and then, the other has a few users who each wait for their answer; the flood
begins after a while and never lets up. Under `vtc` neither modest tenant should notice; under `fcfs` both
do. Everything shown is measured at the clients or read from the gateway's state dump.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import uvloop
from rich.console import Console
from rich.live import Live

from evaluation.bench.engines import EngineChoice, EngineKind
from evaluation.bench.probe import Sample, probe_session
from evaluation.bench.screen import TenantRow, View, line, render, seconds_text
from evaluation.bench.settings import SLACK, WindowSettings
from evaluation.bench.stage import Gateway, Stage, stage
from evaluation.load.processes import ChildFailed
from evaluation.load.prompts import Lengths
from evaluation.load.tenants import ClosedLoop, Load, LoadTenant, OpenLoop, Spaced, Tally
from evaluation.metrics import max_min_shares, percentile
from evaluation.pictures.drawing import PlotsMissing, draw, has_matplotlib, require_matplotlib
from evaluation.pictures.picture import BLUE, GREEN, GREY, VERMILION, Curve, LinePanel, Picture
from evaluation.report.delivery import EXIT_NOT_RUN, EXIT_PASSED
from evaluation.report.document import Sheet, SheetRow
from evaluation.report.terminal import Progress, output_console, say, show

REFRESH_SECONDS = 0.25
PLAIN_LINE_SECONDS = 2.0
RECENT_SECONDS = 5.0
RATE_WIDTH_SECONDS = 2.0
SEQUENCES = 16
PICTURE = Path("demo.png")
NO_PICTURE = "no picture, which needs matplotlib: pip install 'vtc-gateway[bench]'"

FLOOD = "flood"
CHAT = Lengths(24, 64)


@dataclass(frozen=True, slots=True)
class Actor:
    """A tenant of the demo with the words and the colours that stand for it."""

    load: LoadTenant
    behaviour: str
    colour: str


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to show, and where to put the picture (None: `PICTURE`, where one can be drawn)."""

    policy: str = "vtc"
    seconds: float = 30.0
    plot: Path | None = None
    engine: EngineKind = EngineKind.EMBEDDED
    profile: str = "cpu-tiny"
    seed: int = 1

    @property
    def flood_after_seconds(self) -> float:
        """When the flood begins: long enough to see the calm before it."""
        return self.seconds / 5

    @property
    def cast(self) -> tuple[Actor, ...]:
        """The tenants."""
        flood = LoadTenant(FLOOD, ClosedLoop(64), CHAT, Lengths(32, 160), starts_after_seconds=self.flood_after_seconds)
        return (
            Actor(flood, "64 at once", VERMILION),
            Actor(LoadTenant("alice", OpenLoop(2.0), CHAT, Lengths(24, 64)), "2 per second", BLUE),
            Actor(LoadTenant("bob", ClosedLoop(4), CHAT, Lengths(24, 64)), "4 at once", GREEN),
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


def run(options: DemoOptions) -> int:
    """Run the demo and return its exit status."""
    try:
        if options.plot is not None:
            require_matplotlib()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            seen = runner.run(_perform(options, Console()))
    except (PlotsMissing, ChildFailed, aiohttp.ClientError, OSError) as fault:
        say(f"the demo could not be run: {fault}")
        return EXIT_NOT_RUN
    show(summary(seen))
    leave_picture(seen, options.plot, output_console())
    return EXIT_PASSED


def leave_picture(show: Show, file: Path | None, console: Console) -> None:
    """Draw `show` into `file`, or say why there is no picture where none was asked for by name."""
    if file is None and not has_matplotlib():
        console.print(NO_PICTURE, markup=False, highlight=False)
        return
    draw(picture(show), file or PICTURE)
    console.print(f"plot: {file or PICTURE}", highlight=False)


async def _perform(options: DemoOptions, console: Console) -> Show:
    progress = Progress()
    tenants = [actor.load for actor in options.cast]
    async with (
        stage(progress, EngineChoice(options.engine, options.profile, SEQUENCES)) as running,
        running.gateway(options.policy, tenants, WindowSettings(SEQUENCES)) as gateway,
    ):
        progress.clear()
        return await _play(options, running, gateway, console)


async def _play(options: DemoOptions, running: Stage, gateway: Gateway, console: Console) -> Show:
    loop = asyncio.get_running_loop()
    tenants = [actor.load for actor in options.cast]
    async with probe_session() as session, Load(gateway.endpoint, tenants, options.seed) as load:
        probe = running.probe(session, gateway)
        start = loop.time()
        show = Show(options, start, start + options.seconds, load.tallies, probe.samples)
        async with probe.sampling():
            await _display(show, console, load, gateway)
    return show


async def _display(show: Show, console: Console, load: Load, gateway: Gateway) -> None:
    """Refresh the view until the end; one line now and then where there is no terminal."""
    loop = asyncio.get_running_loop()
    screen = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
    period = REFRESH_SECONDS if screen else PLAIN_LINE_SECONDS
    with screen or nullcontext():
        due = show.start + period
        while due <= show.end:
            await asyncio.sleep(max(0.0, due - loop.time()))
            load.raise_failure()
            gateway.process.raise_if_ended()
            view = view_at(show, loop.time())
            if screen:
                screen.update(render(view), refresh=True)
            else:
                console.print(line(view), markup=False, highlight=False, soft_wrap=True)
            due += period


def view_at(show: Show, now: float) -> View:
    """The demo at loop time `now`."""
    sample = show.samples[-1] if show.samples else None
    return View(
        policy=show.options.policy,
        elapsed_seconds=now - show.start,
        seconds=show.options.seconds,
        rows=[_row(actor, show, sample, now) for actor in show.options.cast],
        spread=sample.gateway.spread if sample else 0.0,
        spread_bound=sample.gateway.spread_bound if sample else 0.0,
        engine_running=sample.running if sample else 0,
        engine_waiting=sample.waiting if sample else 0,
    )


def _row(actor: Actor, show: Show, sample: Sample | None, now: float) -> TenantRow:
    tally = show.tallies[actor.load.name]
    state = sample.gateway.tenants.get(actor.load.name) if sample else None
    since = max(show.start, now - RATE_WIDTH_SECONDS)
    recent = _ttfts(tally, now - RECENT_SECONDS, now)
    return TenantRow(
        name=actor.load.name,
        behaviour=actor.behaviour,
        colour=actor.colour,
        service_per_second=tally.service.between(since, now) / (now - since) if now > since else 0.0,
        ttft_p50_seconds=percentile(recent, 50) if recent else None,
        ttft_p95_seconds=percentile(recent, 95) if recent else None,
        queued=state.queued if state else 0,
        in_flight=state.in_flight if state else 0,
        counter=state.counter if state else 0.0,
    )


def _ttfts(tally: Tally, start: float, end: float) -> list[float]:
    """TTFT of the requests whose first token came between `start` and `end`."""
    return [
        record.ttft_seconds
        for record in tally.records
        if record.ttft_seconds is not None and start <= record.sent_at + record.ttft_seconds <= end
    ]


def summary(show: Show) -> Sheet:
    """The closing table: everybody's service since the flood began, next to the max-min fair share of it."""
    shares = fair_shares(show)
    seconds = show.end - show.flood_from
    rows = []
    for actor in show.options.cast:
        tally = show.tallies[actor.load.name]
        ttfts = _ttfts(tally, show.flood_from, show.end)
        finished = sum(record.is_complete and record.sent_at >= show.flood_from for record in tally.records)
        service, share = tally.service.between(show.flood_from, show.end), shares[actor.load.name]
        waits = [seconds_text(percentile(ttfts, percent) if ttfts else None) for percent in (50, 95)]
        cells = (str(finished), f"{service / seconds:,.0f}", f"{share / seconds:,.0f}", *waits)
        rows.append(SheetRow((f"{actor.load.name} {actor.behaviour}", *cells)))
    states = [sample.gateway for sample in show.samples]
    worst = max((state.spread for state in states), default=0.0)
    bound = max((state.spread_bound for state in states), default=0.0)
    title = (
        f"policy {show.options.policy}, from the flood's beginning; "
        f"largest observed spread of counters {worst:,.0f}, computed bound {bound:,.0f}"
    )
    return Sheet(title, ("tenant", "requests", "service/s", "max-min fair share/s", "TTFT p50", "TTFT p95"), rows)


def fair_shares(show: Show) -> dict[str, float]:
    """Max-min fair division of the service given since the flood began.

    An open-loop tenant wants what it asked for; a closed-loop one at most the part of the window that its
    outstanding requests can fill.
    """
    seconds = show.end - show.flood_from
    capacity = sum(tally.service.between(show.flood_from, show.end) for tally in show.tallies.values())
    demands: dict[str, float] = {}
    for actor in show.options.cast:
        match actor.load.arrivals:
            case OpenLoop() | Spaced() as arrivals:
                demands[actor.load.name] = arrivals.requests_per_second * actor.load.mean_cost * seconds
            case ClosedLoop(outstanding):
                demands[actor.load.name] = capacity * min(1.0, outstanding / (SEQUENCES + SLACK))
    return max_min_shares(demands, dict.fromkeys(demands, 1.0), capacity)


def picture(show: Show) -> Picture:
    """Service, TTFT and the spread of counters over one time axis; the time of the flood is shaded."""
    shade = (show.options.flood_after_seconds, show.options.seconds)
    cast = show.options.cast
    service = [Curve(actor.load.name, actor.colour, _rates(actor, show)) for actor in cast]
    ttfts = [Curve(actor.load.name, actor.colour, _waits(actor, show), dots=True) for actor in cast]
    spread = [(sample.at - show.start, sample.gateway.spread) for sample in show.samples]
    bound = [(sample.at - show.start, sample.gateway.spread_bound) for sample in show.samples]
    counters = [Curve("spread", BLUE, spread), Curve("bound", GREY, bound, dashed=True)]
    behaviour = "; ".join(f"{actor.load.name}: {actor.behaviour}" for actor in cast)
    return Picture(
        f"One flood, two modest tenants: policy {show.options.policy} ({behaviour})",
        [
            LinePanel("Service received", "input + 2 x output tokens per second", service, shade=shade),
            LinePanel("Time to first token of each request (log scale)", "seconds", ttfts, shade=shade, is_log=True),
            LinePanel("Spread of the waiting tenants' counters, and its bound", "cost", counters, shade=shade),
        ],
        "Service, time to first token and spread of the counters over time, before and while the flood is there.",
        is_stacked=True,
    )


def _rates(actor: Actor, show: Show) -> list[tuple[float, float]]:
    rates = show.tallies[actor.load.name].service.rates(show.start, show.end, RATE_WIDTH_SECONDS, REFRESH_SECONDS)
    return [(at - show.start, rate) for at, rate in rates]


def _waits(actor: Actor, show: Show) -> list[tuple[float, float]]:
    records = show.tallies[actor.load.name].records
    waits = ((record.sent_at - show.start, record.ttft_seconds) for record in records)
    return [(at, seconds) for at, seconds in waits if seconds is not None]
