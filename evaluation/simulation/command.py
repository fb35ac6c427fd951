"""`vtc-gateway simulate`: plays a workload or a trace in virtual time, shows who got what, writes every figure.

Exit status 0; 2 where it cannot be played, the reason on stderr. The only module here that reads or writes.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from evaluation.metrics import by_tenant, loaded_time, summarise_tenant, throughput
from evaluation.requests import Served
from evaluation.simulation.result import Result
from evaluation.simulation.run import simulate
from evaluation.simulation.settings import Settings, sized_to
from evaluation.simulation.timeline import GRID_SECONDS
from evaluation.workloads import ConfigError, Reading, Workload, find

_PLAIN_WIDTH = 160
_UNPLAYABLE = 2
_UPDATES = 100  # of the progress bar in a run


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    """What to play, by which rules, and where to write it; the weights are the workload's.

    `grows` lets the engines grow to the longest request of the workload.
    """

    source: str
    reading: Reading
    settings: Settings
    json_file: Path | None = None
    grows: bool = True


def run(options: SimulateOptions) -> int:
    """Carry the command out; the exit status."""
    console = Console()
    console = console if console.is_terminal else Console(width=_PLAIN_WIDTH)
    try:
        workload = find(options.source, options.reading).workload
        settings = replace(options.settings, weights=workload.tenants)
        settings = _grown(workload, settings) if options.grows else settings
        result = _play(workload, settings)
        if options.json_file is not None:
            options.json_file.write_bytes(encode(workload, settings, result))
    except (ConfigError, ValueError, OSError) as fault:
        Console(stderr=True, soft_wrap=True).print(str(fault), markup=False, highlight=False)
        return _UNPLAYABLE
    _show(console, workload, result)
    return 0


def _grown(workload: Workload, settings: Settings) -> Settings:
    """Engines that hold the longest request of `workload`; says so where the usual ones do not."""
    grown = sized_to(workload.requests, settings)
    if grown != settings:
        size, option = grown.longest
        text = f"{workload.name} has requests longer than the engine holds: it is played with {option} {size}."
        Console(stderr=True, soft_wrap=True).print(text, markup=False, highlight=False)
    return grown


def encode(workload: Workload, settings: Settings, result: Result) -> bytes:
    """Every figure as JSON: the same bytes for the same run."""
    loaded = loaded_time(result.served, until=workload.seconds)
    document = {
        "workload": workload.name,
        "policy": settings.policy,
        "predictor": settings.predictor,
        "engine": settings.engine.value,
        "workers": settings.workers,
        "ended_at_seconds": result.ended_at,
        "tokens_per_second": throughput(result.served, result.ended_at),
        "largest_spread": result.spread.largest,
        "bound": result.spread.bound,
        "dispatches": [[dispatch.at, dispatch.spread, dispatch.bound] for dispatch in result.spread.dispatches],
        "loaded": {
            "seconds": workload.seconds,
            "service": loaded.received,
            "fair_shares": loaded.shares(workload.tenants),
        },
        "engines": [asdict(tally) for tally in result.engines],
        "charged": result.charged,
        "service": {"grid_seconds": GRID_SECONDS, "cumulative": dict(result.timeline.cumulative())},
        "requests": [_record(served) for served in result.served],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def _record(served: Served) -> Mapping[str, object]:
    request = served.request
    return {
        "tenant": request.tenant,
        "arrived_at": request.arrival_seconds,
        "prompt_tokens": request.prompt_tokens,
        "output_tokens": served.output_tokens,
        "ending": served.ending.value,
        "dispatched_at": served.dispatched_at,
        "first_token_at": served.first_token_at,
        "last_token_at": served.last_token_at,
        "preemptions": served.preemptions,
    }


def _play(workload: Workload, settings: Settings) -> Result:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(workload.name, total=_UPDATES)
        shown = 0

        def advance(now: float) -> None:
            nonlocal shown
            reached = int(now / workload.seconds * _UPDATES)
            if reached > shown:
                shown = reached
                bar.update(task, completed=reached)

        return simulate(workload.requests, settings, advance)


def _show(console: Console, workload: Workload, result: Result) -> None:
    console.print(_table(workload, result))
    steps = sum(tally.steps for tally in result.engines)
    batch = sum(tally.sequence_steps for tally in result.engines) / steps if steps else 0.0
    spread = result.spread
    held = "held" if not spread.violations else f"passed {spread.violations} times"
    console.print(
        f"{workload.name}: {result.ended_at:.0f} s, {throughput(result.served, result.ended_at):.0f} tokens/s, "
        f"mean batch {batch:.1f}, {sum(tally.preemptions for tally in result.engines)} preemptions; "
        f"largest spread {spread.largest:.0f}, bound {spread.bound:.0f} {held}",
        highlight=False,
    )


def _table(workload: Workload, result: Result) -> Table:
    """One row for each tenant: service while the workload lasts, for afterwards whoever asked for more gets it."""
    loaded = loaded_time(result.served, until=workload.seconds)
    shares = loaded.shares(workload.tenants)
    title = f"Service and fair share within the workload's {workload.seconds:.0f} s"
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title=title, title_justify="left")
    table.add_column("tenant", no_wrap=True)
    for heading in ("requests", "refused", "service/s", "fair/s", "TTFT p50", "TTFT p95"):
        table.add_column(heading, justify="right", no_wrap=True)
    for tenant, records in by_tenant(result.served).items():
        summary = summarise_tenant(tenant, records)
        table.add_row(
            tenant,
            str(summary.requests),
            str(summary.refused),
            f"{loaded.received[tenant] / workload.seconds:.0f}",
            f"{shares[tenant] / workload.seconds:.0f}",
            f"{summary.median_ttft_seconds:.2f} s",
            f"{summary.p95_ttft_seconds:.2f} s",
        )
    return table
