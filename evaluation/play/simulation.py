"""`vtc-gateway simulate` plays a workload or a trace in virtual time, shows who got what, and writes every figure.

The exit status is 0, or 2 if the workload cannot be played; stderr has the reason.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson

from evaluation.metrics.runs import by_tenant, loaded_time, summarise_tenant
from evaluation.metrics.service import throughput
from evaluation.report.document import Sheet, SheetRow
from evaluation.report.terminal import Progress, output_console, say, show
from evaluation.requests import Served
from evaluation.simulation.result import GRID_SECONDS, Result
from evaluation.simulation.run import simulate
from evaluation.simulation.settings import Settings, sized_to
from evaluation.workloads import ConfigError, ReadOptions, Workload, find

_UNPLAYABLE = 2


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    """What to play, by which rules, and where to write it; the weights are the workload's.

    `grows` lets the engines grow to the longest request of the workload.
    """

    source: str
    read_options: ReadOptions
    settings: Settings
    json_file: Path | None = None
    grows: bool = True


def run(options: SimulateOptions) -> int:
    """Carry the command out and return the exit status."""
    try:
        workload = find(options.source, options.read_options)
        settings = replace(options.settings, weights=workload.tenants)
        settings = _grown(workload, settings) if options.grows else settings
        result = _play(workload, settings)
        if options.json_file is not None:
            options.json_file.write_bytes(encode(workload, settings, result))
    except (ConfigError, ValueError, OSError) as fault:
        say(str(fault))
        return _UNPLAYABLE
    show(_by_tenant(workload, result))
    output_console().print(_summary(workload, result), highlight=False)
    return 0


def _grown(workload: Workload, settings: Settings) -> Settings:
    """Engines that hold the longest request of `workload`. It says so if the usual ones do not."""
    grown = sized_to(workload.requests, settings)
    if grown != settings:
        size, option = grown.longest
        say(f"{workload.name} has requests longer than the engine holds: it is played with {option} {size}.")
    return grown


def _play(workload: Workload, settings: Settings) -> Result:
    progress, last = Progress(), 0.0

    def advance(now: float) -> None:
        nonlocal last
        progress.advance(now - last)
        last = now

    progress.step(workload.name, workload.seconds)
    try:
        return simulate(workload.requests, settings, advance)
    finally:
        progress.clear()


def encode(workload: Workload, settings: Settings, result: Result) -> bytes:
    """Every figure as JSON: the same bytes for the same run."""
    loaded = loaded_time(result.served, until=workload.seconds)
    document = {
        "workload": workload.name,
        "policy": settings.policy,
        "predictor": settings.predictor,
        "engine": settings.engine.value,
        "workers": len(settings.slowness),
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


def _record(served: Served) -> dict[str, object]:
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


def _by_tenant(workload: Workload, result: Result) -> Sheet:
    """One row for each tenant. Service counts while the workload lasts: afterwards whoever asked for more gets it."""
    loaded = loaded_time(result.served, until=workload.seconds)
    shares = loaded.shares(workload.tenants)
    rows = []
    for tenant, records in by_tenant(result.served).items():
        summary = summarise_tenant(tenant, records)
        services = (loaded.received[tenant], shares[tenant])
        cells = [str(summary.requests), str(summary.refused)]
        cells += [f"{service / workload.seconds:.0f}" for service in services]
        cells += [f"{seconds:.2f} s" for seconds in (summary.median_ttft_seconds, summary.p95_ttft_seconds)]
        rows.append(SheetRow((tenant, *cells)))
    title = f"Service and fair share within the workload's {workload.seconds:.0f} s"
    return Sheet(title, ("tenant", "requests", "refused", "service/s", "fair/s", "TTFT p50", "TTFT p95"), rows)


def _summary(workload: Workload, result: Result) -> str:
    steps = sum(tally.steps for tally in result.engines)
    batch = sum(tally.sequence_steps for tally in result.engines) / steps if steps else 0.0
    spread = result.spread
    held = "held" if not spread.violations else f"passed {spread.violations} times"
    return (
        f"{workload.name}: {result.ended_at:.0f} s, {throughput(result.served, result.ended_at):.0f} tokens/s, "
        f"mean batch {batch:.1f}, {sum(tally.preemptions for tally in result.engines)} preemptions; "
        f"largest spread {spread.largest:.0f}, bound {spread.bound:.0f} {held}"
    )
