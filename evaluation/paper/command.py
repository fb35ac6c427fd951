"""`vtc-gateway paper` runs the experiments, writes the report and compares it with its targets.

The exit status is 0. With `check` it is 1 if a target is missed; stderr names each. It is 2 if the command cannot run.
"""

import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from evaluation.paper.experiment import TRACE, Experiment, experiments
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
from evaluation.paper.laboratory import Laboratory, Source, distinct_trials, is_published, load_workload
from evaluation.pictures.drawing import PlotsMissing, require_matplotlib
from evaluation.report.delivery import EXIT_NOT_RUN, exit_status
from evaluation.report.pages import render_html, render_markdown
from evaluation.report.terminal import Progress, say
from evaluation.report.verdicts import missed
from evaluation.simulation.run import RequestTooLarge
from evaluation.workloads import ConfigError

PROCESSES = 2
YARDSTICK_ROUNDS = 10_000_000


class UnknownExperiment(Exception):
    """A name that no experiment has; the message lists those that there are."""


NOT_RUN = (NotAWholeRun, PlotsMissing, UnknownExperiment, ConfigError, RequestTooLarge, BrokenProcessPool, OSError)


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

    @property
    def source(self) -> Source:
        """What the runs draw from."""
        return Source(self.trace, self.seed)


def run(options: PaperOptions) -> int:
    """Run what is asked for and return the exit status."""
    started = time.monotonic()
    try:
        require_matplotlib()
        chosen = choose(options.only)
        load_workload(TRACE, options.source)  # report a trace that cannot be read at once
        findings = _perform(chosen, options)
        if options.page is not None:
            refresh(options.page, findings, is_whole=not options.only)
    except NOT_RUN as fault:
        say(f"the evaluation could not be run: {fault}")
        return EXIT_NOT_RUN
    write_report(findings, options, _facts(findings, options.source, time.monotonic() - started))
    verdicts = all_verdicts(findings)
    if options.json:
        Console(soft_wrap=True).out((options.out / "numbers.json").read_text("utf-8"), end="", highlight=False)
    else:
        met = len(verdicts) - len(missed(verdicts))
        text = f"{met} of {len(verdicts)} targets met; the report: {options.out / 'index.html'}"
        Console(soft_wrap=True).print(text, markup=False, highlight=False)
    return exit_status(verdicts, check=options.check)


def choose(only: Sequence[str]) -> list[Experiment]:
    """The experiments named, in the order of the paper."""
    known = [experiment.key for experiment in experiments()]
    unknown = [name for name in only if name not in known]
    if unknown:
        raise UnknownExperiment(f"no experiment is called {', '.join(unknown)}; there are {', '.join(known)}")
    return [experiment for experiment in experiments() if not only or experiment.key in only]


def write_report(findings: Sequence[Findings], options: PaperOptions, facts: Sequence[str]) -> None:
    """The page, the Markdown and the numbers; the pictures are there already."""
    document = assemble(findings, facts)
    (options.out / "index.html").write_text(render_html(document), "utf-8")
    (options.out / "report.md").write_text(render_markdown(document), "utf-8")
    (options.out / "numbers.json").write_bytes(encode_numbers(findings, options.seed))


def _perform(chosen: Sequence[Experiment], options: PaperOptions) -> list[Findings]:
    source, out = options.source, options.out
    real_trace = is_published(load_workload(TRACE, source))
    trials = distinct_trials(chosen)
    (out / PICTURES_FOLDER).mkdir(parents=True, exist_ok=True)
    progress = Progress()
    progress.step("simulating and drawing", len(trials) + sum(each.picture is not None for each in chosen), "steps")
    try:
        with Laboratory(source, PROCESSES, lambda: progress.advance(1)) as laboratory:
            measured_runs = laboratory.run(trials)
            findings = [find(each, measured_runs, real_trace=real_trace) for each in chosen]
            laboratory.draw(
                {out / each.picture_file: each.picture for each in findings if each.picture_file and each.picture}
            )
    finally:
        progress.clear()
    return findings


def _facts(findings: Sequence[Findings], source: Source, seconds: float) -> list[str]:
    trace = "the given trace" if source.trace else "a generated trace"
    loop = loop_seconds()
    return [
        f"{run_count(findings)} runs on {trace}, seed {source.seed}, in {seconds:.1f} s on {PROCESSES} processes.",
        f"A loop of ten million additions takes {loop:.2f} s on one core of this machine: the whole took "
        f"{seconds / loop:.0f} times as long.",
    ]


def loop_seconds() -> float:
    """CPU seconds of ten million additions on one core: a yardstick by which times of other machines compare."""
    start = time.process_time()
    total = 0
    for number in range(YARDSTICK_ROUNDS):
        total += number
    return time.process_time() - start
