"""`vtc-gateway workloads`: lists the catalogue, tells what a workload or a trace holds, writes it as a trace.

Exit status 0; 1 where the workload is wrong, each fault on stderr with its line and remedy.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.table import Table

from evaluation.requests import Request
from evaluation.workloads.catalogue import names
from evaluation.workloads.sources import Found, Reading, find
from evaluation.workloads.traces import TenantMapping, TraceFormat, write_csv, write_jsonl
from evaluation.workloads.workload import Workload
from gateway.config.faults import ConfigError

_SECONDS_PER_MINUTE = 60
_PLAIN_WIDTH = 160


@dataclass(frozen=True, slots=True)
class WorkloadsOptions:
    """What to show and where to write it; without a source the catalogue is listed."""

    source: str | None
    reading: Reading
    csv_file: Path | None = None
    jsonl_file: Path | None = None


def reading(seed: int | None, seconds: float | None, trace_format: str, tenants: int, skew: float) -> Reading:
    """How to read a source, from the command line's values: `auto` is no format."""
    return Reading(
        seed=seed,
        seconds=math.inf if seconds is None else seconds,
        trace_format=None if trace_format == "auto" else TraceFormat(trace_format),
        mapping=TenantMapping(tenants, skew, TenantMapping().seed if seed is None else seed),
    )


def run(options: WorkloadsOptions) -> int:
    """Carry the command out; the exit status."""
    console = Console()
    console = console if console.is_terminal else Console(width=_PLAIN_WIDTH)
    if options.source is None:
        console.print(_catalogue())
        return 0
    try:
        found = find(options.source, options.reading)
        for file, write in ((options.csv_file, write_csv), (options.jsonl_file, write_jsonl)):
            if file is not None:
                write(found.workload.requests, file)
    except ConfigError as error:
        return _refused(error.faults)
    except OSError as error:
        return _refused([f"{error.filename}: cannot be written: {error.strerror}; name another file"])
    _show(console, found)
    return 0


def _refused(faults: Iterable[object]) -> int:
    for fault in faults:
        Console(stderr=True, soft_wrap=True).print(str(fault), markup=False, highlight=False)
    return 1


def _catalogue() -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for name in names():
        table.add_row(f"[bold]{name}[/]", find(name).workload.description)
    return table


def _show(console: Console, found: Found) -> None:
    workload = found.workload
    console.print(
        f"[bold]{workload.name}[/] {workload.seconds:g} s, {len(workload.requests)} requests", highlight=False
    )
    console.print(workload.description, markup=False, highlight=False)
    for note in found.notes:
        console.print(note, markup=False, highlight=False, style="dim")
    console.print(_table(workload))


def _table(workload: Workload) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("tenant", no_wrap=True)
    for heading in ("weight", "requests", "per minute", "prompt", "longest", "output", "longest"):
        table.add_column(heading, justify="right", no_wrap=True)
    for tenant, weight in workload.tenants.items():
        table.add_row(tenant, f"{weight:g}", *_cells(workload.of(tenant), workload.seconds))
    return table


def _cells(requests: tuple[Request, ...], seconds: float) -> list[str]:
    if not requests:
        return ["0"] + [""] * 5
    prompts = [request.prompt_tokens for request in requests]
    outputs = [request.output_tokens for request in requests]
    return [
        str(len(requests)),
        f"{len(requests) * _SECONDS_PER_MINUTE / seconds:.1f}",
        *(text for lengths in (prompts, outputs) for text in (f"{fmean(lengths):.0f}", str(max(lengths)))),
    ]
