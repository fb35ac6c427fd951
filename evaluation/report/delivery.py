"""A bench's result: a table for people, a JSON file for programs, an exit status for CI.

The exit status is 0. With `check` it is 1 if a target was missed; stderr names each. It is 2 if the bench itself could
not run; stderr has the reason.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvloop

from evaluation.load.client import NoModelError
from evaluation.load.processes import ChildFailed
from evaluation.pictures.drawing import PlotsMissing
from evaluation.report.document import Sheet, targets_sheet
from evaluation.report.terminal import say, show
from evaluation.report.verdicts import Verdict, missed

EXIT_PASSED = 0
EXIT_MISSED = 1
EXIT_NOT_RUN = 2


@dataclass(frozen=True, slots=True)
class Report:
    """What a bench found. `setting` says under which conditions, `measurements` holds the numbers behind, `sheets`
    show some of them."""

    title: str
    setting: Mapping[str, object]
    verdicts: Sequence[Verdict]
    measurements: Mapping[str, object]
    warnings: Sequence[str] = ()
    sheets: Sequence[Sheet] = ()

    @property
    def targets(self) -> Sheet:
        """One row per target."""
        setting = ", ".join(f"{name} {value}" for name, value in self.setting.items())
        return targets_sheet(f"{self.title}: {setting}", self.verdicts)

    def document(self) -> dict[str, object]:
        """The report as JSON data; numbers that are not finite become null."""
        return {
            "bench": self.title,
            "setting": dict(self.setting),
            "passed": not missed(self.verdicts),
            "verdicts": [verdict_document(verdict) for verdict in self.verdicts],
            "measurements": dict(self.measurements),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where a report goes, and whether missed targets fail the command. The options of every bench begin with these."""

    json_file: Path | None = None
    check: bool = False


def conduct(bench: Coroutine[Any, Any, Report], delivery: Delivery) -> int:
    """Run `bench`, deliver its report and return the exit status."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report = runner.run(bench)
    except (ChildFailed, NoModelError, PlotsMissing, aiohttp.ClientError, OSError) as fault:
        say(f"the bench could not be run: {type(fault).__name__}:\n{fault}")
        return EXIT_NOT_RUN
    return deliver(report, delivery)


def deliver(report: Report, delivery: Delivery) -> int:
    """Print the tables, write the file, return the exit status."""
    for sheet in (*report.sheets, *([report.targets] if report.verdicts else [])):
        show(sheet)
    for warning in report.warnings:
        say(f"warning: {warning}")
    if delivery.json_file is not None:
        write_json(delivery.json_file, report.document())
    return exit_status(report.verdicts, check=delivery.check)


def exit_status(verdicts: Sequence[Verdict], *, check: bool) -> int:
    """The exit status: 1 if missed targets count and there are some, which stderr names; else 0."""
    failed = missed(verdicts) if check else []
    for each in failed:
        note = f" ({each.note})" if each.note else ""
        say(f"missed: {each.target.name}: wanted {each.target.text}, measured {each.text}{note}")
    return EXIT_MISSED if failed else EXIT_PASSED


def write_json(path: Path, document: object) -> None:
    """`document` for people and programs; numbers that are not finite become null."""
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def verdict_document(verdict: Verdict) -> dict[str, object]:
    """A verdict as JSON data."""
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
