"""`vtc-gateway paper`: runs the experiments, writes the report, holds it to its targets.

Exit status: 0; with `check` 1 where a target is missed, each named on stderr; 2 where it cannot be run.
"""

import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from evaluation.console.plots import PlotsMissing, require_matplotlib
from evaluation.console.progress import error_console
from evaluation.console.report import EXIT_MISSED, EXIT_NOT_RUN, EXIT_PASSED
from evaluation.console.verdicts import missed
from evaluation.paper.assembly import PICTURES_FOLDER, Findings, assemble, find
from evaluation.paper.experiment import TRACE, Experiment
from evaluation.paper.experiments import EXPERIMENTS
from evaluation.paper.html import render_html
from evaluation.paper.laboratory import Laboratory, Source, distinct_trials, is_published, load_workload
from evaluation.paper.markdown import render_markdown
from evaluation.paper.numbers import encode_numbers
from evaluation.paper.page import NotAWholeRun, refresh
from evaluation.paper.progress import Bar
from evaluation.paper.yardstick import loop_seconds
from evaluation.simulation import RequestTooLarge
from evaluation.workloads import ConfigError

PROCESSES = 2


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
    console = error_console()
    started = time.monotonic()
    try:
        require_matplotlib()
        experiments = choose(options.only)
        load_workload(TRACE, options.source)  # a trace that cannot be read is told at once
        findings = _perform(experiments, options, Bar(console))
        if options.page is not None:
            refresh(options.page, findings, is_whole=not options.only)
    except NOT_RUN as fault:
        console.print(f"the evaluation could not be run: {fault}", markup=False, highlight=False, soft_wrap=True)
        return EXIT_NOT_RUN
    facts = _facts(findings, options.source, time.monotonic() - started, loop_seconds())
    write_report(findings, options.out, facts, options.seed)
    return _tell(findings, options, console)


def choose(only: Sequence[str]) -> list[Experiment]:
    """The experiments named, in the order of the paper."""
    known = [experiment.key for experiment in EXPERIMENTS]
    unknown = [name for name in only if name not in known]
    if unknown:
        raise UnknownExperiment(f"no experiment is called {', '.join(unknown)}; there are {', '.join(known)}")
    return [experiment for experiment in EXPERIMENTS if not only or experiment.key in only]


def write_report(findings: Sequence[Findings], out: Path, facts: Sequence[str], seed: int) -> None:
    """The page, the Markdown and the numbers; the pictures are there already."""
    document = assemble(findings, facts)
    (out / "index.html").write_text(render_html(document), "utf-8")
    (out / "report.md").write_text(render_markdown(document), "utf-8")
    (out / "numbers.json").write_bytes(encode_numbers(findings, seed))


def _perform(experiments: Sequence[Experiment], options: PaperOptions, bar: Bar) -> list[Findings]:
    source, out = options.source, options.out
    real_trace = is_published(load_workload(TRACE, source))
    trials = distinct_trials(experiments)
    pictures = sum(experiment.picture is not None for experiment in experiments)
    (out / PICTURES_FOLDER).mkdir(parents=True, exist_ok=True)
    with bar.over(len(trials) + pictures) as advance, Laboratory(source, PROCESSES, advance) as laboratory:
        readings = laboratory.run(trials)
        findings = [find(each, readings, real_trace=real_trace) for each in experiments]
        laboratory.draw(
            {out / each.picture_file: each.picture for each in findings if each.picture_file and each.picture}
        )
    return findings


def _facts(findings: Sequence[Findings], source: Source, seconds: float, loop: float) -> list[str]:
    runs = len({trial for each in findings for trial in each.experiment.trials.values()})
    trace = "the given trace" if source.trace else "a generated trace"
    return [
        f"{runs} runs on {trace}, seed {source.seed}, in {seconds:.1f} s on {PROCESSES} processes.",
        f"A loop of ten million additions takes {loop:.2f} s on one core of this machine: the whole took "
        f"{seconds / loop:.0f} times as long.",
    ]


def _tell(findings: Sequence[Findings], options: PaperOptions, console: Console) -> int:
    verdicts = [verdict for each in findings for verdict in each.verdicts]
    failed = missed(verdicts)
    if options.json:
        Console(soft_wrap=True).out((options.out / "numbers.json").read_text("utf-8"), end="", highlight=False)
    else:
        text = f"{len(verdicts) - len(failed)} of {len(verdicts)} targets met; the report: {options.out / 'index.html'}"
        Console(soft_wrap=True).print(text, markup=False, highlight=False)
    if not options.check or not failed:
        return EXIT_PASSED
    for verdict in failed:
        text = f"missed: {verdict.target.name}: {verdict.text}, wanted {verdict.target.text}"
        console.print(f"{text} {f'({verdict.note})' if verdict.note else ''}".rstrip(), markup=False, soft_wrap=True)
    return EXIT_MISSED
