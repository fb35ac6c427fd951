"""Several suites side by side: `python -m evaluation.conformance.comparison FILE.json...` prints a Markdown table.

A row for each scenario, a column for each file, named as the file is; the last row is the throughput of all tenants
together, without which shares say little: who lets nobody through is fair.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from evaluation.conformance.catalogue import SCENARIOS
from evaluation.conformance.judgement import Outcome
from evaluation.report.verdicts import number

_MARKS = {Outcome.PASSED: "passed", Outcome.FAILED: "**failed**", Outcome.NOT_APPLICABLE: "-"}


def comparison(suites: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of the suites' JSON documents by name."""
    rows = [
        ["scenario", *suites],
        ["---"] * (len(suites) + 1),
        *([scenario.title, *(_cell(suite, scenario.name) for suite in suites.values())] for scenario in SCENARIOS),
        ["output tokens per second, all together", *(_throughput(suite) for suite in suites.values())],
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(suite: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    return next((row for row in suite["scenarios"] if row["name"] == name), None)


def _cell(suite: Mapping[str, Any], name: str) -> str:
    row = _row(suite, name)
    if row is None:
        return "-"
    mark = _MARKS[Outcome(row["outcome"])]
    return mark if row["number"] is None else f"{mark} {number(round(row['number'], 2))}"


def _throughput(suite: Mapping[str, Any]) -> str:
    row = _row(suite, "conservation")
    rate = row["measurements"].get("together_tokens_per_second") if row else None
    return "-" if rate is None else number(round(rate))


def main(files: Sequence[str]) -> None:
    """Print the table of `files`."""
    suites = {Path(file).stem: orjson.loads(Path(file).read_bytes()) for file in files}
    sys.stdout.write(comparison(suites))


if __name__ == "__main__":
    main(sys.argv[1:])
