"""`vtc-gateway paper` runs the experiments, writes the report and compares it with its targets.

The exit status is 0. With `check` it is 1 if a target is missed; stderr names each. It is 2 if the command cannot run.
"""

import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from evaluation.paper.experiment import TRACE, experiments
from evaluation.paper.findings import (
    PICTURES_FOLDER,
    Findings,
    NotAWholeRun,
    all_verdicts,
    assemble,
    encode_numbers,
    find,
    refresh,
    run_count,
)
from evaluation.paper.laboratory import (
    PROCESSES,
    Source,
    distinct_trials,
    draw_pictures,
    is_published,
    load_workload,
    run_trials,
)
from evaluation.pictures.drawing import PlotsMissing, require_matplotlib
from evaluation.report.delivery import EXIT_NOT_RUN, exit_status
from evaluation.report.pages import render_html, render_markdown
from evaluation.report.terminal import Progress, say
from evaluation.report.verdicts import missed
from evaluation.simulation.run import RequestTooLarge
from evaluation.workloads import ConfigError

NOT_RUN = (NotAWholeRun, PlotsMissing, ConfigError, RequestTooLarge, BrokenProcessPool, OSError)


@dataclass(frozen=True, slots=True)
class PaperOptions:
    """What the command line asks for. `only` empty: everything. `page`: whose blocks are written anew."""

    trace: Path | None = None
    out: Path = Path("report")
    only: Sequence[str] = ()
    json: bool = False
    check: bool = False
    seed: int = 1
    page: Path | None = None


def run(options: PaperOptions) -> int:
    """Run what is asked for and return the exit status."""
    started = time.monotonic()
    try:
        require_matplotlib()
        findings = _perform(options)
        if options.page is not None:
            refresh(options.page, findings, is_whole=not options.only)
    except NOT_RUN as fault:
        say(f"the evaluation could not be run: {fault}")
        return EXIT_NOT_RUN
    trace = "the given trace" if options.trace else "a generated trace"
    seconds = time.monotonic() - started
    fact = f"{run_count(findings)} runs on {trace}, seed {options.seed}, in {seconds:.1f} s on {PROCESSES} processes."
    document, numbers = assemble(findings, [fact]), encode_numbers(findings, options.seed)
    (options.out / "index.html").write_text(render_html(document), "utf-8")
    (options.out / "report.md").write_text(render_markdown(document), "utf-8")
    (options.out / "numbers.json").write_bytes(numbers)
    verdicts = all_verdicts(findings)
    if options.json:
        Console(soft_wrap=True).out(numbers.decode(), end="", highlight=False)
    else:
        met = len(verdicts) - len(missed(verdicts))
        text = f"{met} of {len(verdicts)} targets met; the report: {options.out / 'index.html'}"
        Console(soft_wrap=True).print(text, markup=False, highlight=False)
    return exit_status(verdicts, check=options.check)


def _perform(options: PaperOptions) -> list[Findings]:
    """Run and draw the chosen experiments, in the order of the paper."""
    source, out = Source(options.trace, options.seed), options.out
    real_trace = is_published(load_workload(TRACE, source))  # reports a trace that cannot be read at once
    chosen = [each for each in experiments() if not options.only or each.key in options.only]
    trials = distinct_trials(chosen)
    (out / PICTURES_FOLDER).mkdir(parents=True, exist_ok=True)
    progress = Progress()
    progress.step("simulating and drawing", len(trials) + sum(each.picture is not None for each in chosen), "steps")
    try:
        measured_runs = run_trials(trials, source, lambda: progress.advance(1))
        findings = [find(each, measured_runs, real_trace=real_trace) for each in chosen]
        pictures = {out / each.picture_file: each.picture for each in findings if each.picture_file and each.picture}
        draw_pictures(pictures, lambda: progress.advance(1))
    finally:
        progress.clear()
    return findings
