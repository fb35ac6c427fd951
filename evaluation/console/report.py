"""A bench's result: a table for people, a JSON file for programs, an exit status for CI.

Exit status: 0; with `check` 1 where a target was missed, each named on stderr; 2 where the bench itself
could not be run, the reason on stderr.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvloop
from rich.console import Console
from rich.table import Table

from evaluation.console.progress import error_console
from evaluation.console.verdicts import Verdict, missed
from evaluation.load.processes import ChildFailed

PLAIN_WIDTH = 160

EXIT_PASSED = 0
EXIT_MISSED = 1
EXIT_NOT_RUN = 2


@dataclass(frozen=True, slots=True)
class Report:
    """What a bench found. `setting` says under which conditions, `measurements` holds the numbers behind."""

    title: str
    setting: Mapping[str, object]
    verdicts: Sequence[Verdict]
    measurements: Mapping[str, object]
    warnings: Sequence[str] = ()

    def document(self) -> dict[str, object]:
        """The report as JSON data; numbers that are not finite become null."""
        return {
            "bench": self.title,
            "setting": dict(self.setting),
            "passed": not missed(self.verdicts),
            "verdicts": [_verdict_document(verdict) for verdict in self.verdicts],
            "measurements": dict(self.measurements),
            "warnings": list(self.warnings),
        }

    def table(self) -> Table:
        """One row per target."""
        setting = ", ".join(f"{name} {value}" for name, value in self.setting.items())
        table = Table(title=f"{self.title}: {setting}", title_justify="left")
        table.add_column("target", min_width=40)
        table.add_column("wanted", justify="right", no_wrap=True)
        table.add_column("measured", justify="right", no_wrap=True)
        table.add_column("verdict", no_wrap=True)
        table.add_column("from")
        for verdict in self.verdicts:
            mark = "[green]met[/]" if verdict.passed else "[bold red]missed[/]"
            table.add_row(verdict.target.name, verdict.target.text, verdict.text, mark, verdict.note)
        return table


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where a report goes and whether missed targets fail the command."""

    json_file: Path | None
    check: bool


def conduct(bench: Coroutine[Any, Any, Report], delivery: Delivery) -> int:
    """Run `bench`, deliver its report and return the exit status."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report = runner.run(bench)
    except (ChildFailed, aiohttp.ClientError, OSError) as fault:
        error_console().print(f"[bold red]the bench could not be run:[/] {type(fault).__name__}:", highlight=False)
        error_console().print(str(fault), markup=False, highlight=False, soft_wrap=True)
        return EXIT_NOT_RUN
    return deliver(report, delivery)


def deliver(report: Report, delivery: Delivery) -> int:
    """Print the table, write the file, return the exit status."""
    output_console().print(report.table())
    errors = error_console()
    for warning in report.warnings:
        errors.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)
    if delivery.json_file is not None:
        text = orjson.dumps(report.document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        delivery.json_file.write_bytes(text)
    failed = missed(report.verdicts)
    if not delivery.check or not failed:
        return EXIT_PASSED
    for verdict in failed:
        line = f"missed: {verdict.target.name}: wanted {verdict.target.text}, measured {verdict.text}"
        errors.print(line, markup=False, highlight=False, soft_wrap=True)
    return EXIT_MISSED


def output_console() -> Console:
    """The console on stdout, wide enough for the table where there is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


def _verdict_document(verdict: Verdict) -> dict[str, object]:
    return {
        "target": verdict.target.name,
        "comparison": verdict.target.comparison.value,
        "limit": verdict.target.limit,
        "unit": verdict.target.unit.strip(),
        "measured": verdict.measured,
        "text": verdict.text,
        "passed": verdict.passed,
        "note": verdict.note,
    }
