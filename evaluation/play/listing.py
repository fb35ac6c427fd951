"""`vtc-gateway workloads` lists the catalogue, describes a workload or a trace, and writes it as a trace.

The exit status is 0, or 1 if the workload is wrong; stderr then has each fault with its line and remedy.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from evaluation.report.document import Sheet, SheetRow
from evaluation.report.terminal import output_console, say, show
from evaluation.requests import Request
from evaluation.workloads import ConfigError, ReadOptions, Workload, find, names
from evaluation.workloads.traces import write_csv, write_jsonl

_SECONDS_PER_MINUTE = 60


@dataclass(frozen=True, slots=True)
class WorkloadsOptions:
    """What to show and where to write it. Without a source the command lists the catalogue."""

    source: str | None
    read_options: ReadOptions
    csv_file: Path | None = None
    jsonl_file: Path | None = None


def run(options: WorkloadsOptions) -> int:
    """Carry the command out and return the exit status."""
    if options.source is None:
        rows = [SheetRow((name, find(name).description)) for name in names()]
        show(Sheet("", ("workload", "what it shows"), rows, words=1))
        return 0
    try:
        workload = find(options.source, options.read_options)
        for file, write in ((options.csv_file, write_csv), (options.jsonl_file, write_jsonl)):
            if file is not None:
                write(workload.requests, file)
    except ConfigError as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"{error.filename}: cannot be written: {error.strerror}; name another file")
        return 1
    _tell(workload)
    return 0


def _tell(workload: Workload) -> None:
    console = output_console()
    for text in (workload.description, *workload.notes):
        console.print(text, markup=False, highlight=False)
    rows = [
        SheetRow((tenant, f"{weight:g}", *_cells(workload.of(tenant), workload.seconds)))
        for tenant, weight in workload.tenants.items()
    ]
    show(Sheet(_title(workload), ("tenant", "weight", "requests", "per minute", *_LENGTHS), rows))


_LENGTHS = ("prompt", "longest", "output", "longest")


def _title(workload: Workload) -> str:
    return f"{workload.name}: {workload.seconds:g} s, {len(workload.requests)} requests"


def _cells(requests: tuple[Request, ...], seconds: float) -> list[str]:
    if not requests:
        return ["0"] + [""] * 5
    lengths = ([each.prompt_tokens for each in requests], [each.output_tokens for each in requests])
    return [
        str(len(requests)),
        f"{len(requests) * _SECONDS_PER_MINUTE / seconds:.1f}",
        *(text for each in lengths for text in (f"{fmean(each):.0f}", str(max(each)))),
    ]
