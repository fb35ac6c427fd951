"""What was found, in every form: the report with its sections, the numbers as JSON, the blocks of the documentation.

Every sentence is made from numbers of the runs. The same source gives the same numbers, byte for byte, because they
depend on no clock, no path and no machine. A block of a page begins with `<!-- run: NAME -->` and ends with
`<!-- end of run -->`. The text between is written from a whole run, never by hand.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from evaluation.paper.experiment import POOL_TOKENS, Experiment, Trial
from evaluation.paper.judgement import judge, our_row, sheets_of
from evaluation.paper.measures import MeasuredRun, MeasuredRuns
from evaluation.pictures.picture import Picture
from evaluation.report.delivery import verdict_document
from evaluation.report.document import Document, Mark, Section, Sheet, Statement, targets_sheet
from evaluation.report.pages import render_sheet
from evaluation.report.verdicts import Verdict, missed, number

PAPER = "'Fairness in Serving Large Language Models' (Sheng et al., OSDI '24, arXiv 2401.00588)"
PICTURES_FOLDER = "figures"
OTHER_TRACE = (
    "The trace of this run is not the published one (without --trace it is generated, with the published statistics): "
    "the published numbers are shown and not judged."
)
_BLOCK = re.compile(r"(<!-- run: (\w+) -->\n).*?(<!-- end of run -->)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Findings:
    """One experiment with its runs and the verdicts on it, those on its claims first."""

    experiment: Experiment
    measured_runs: MeasuredRuns
    verdicts: Sequence[Verdict]
    real_trace: bool

    @property
    def conclusions(self) -> list[tuple[str, Verdict]]:
        """The sentence of each claim, with its number, and the verdict on it."""
        pairs = zip(self.experiment.claims, self.verdicts, strict=False)
        return [(claim.sentence.format(verdict.text), verdict) for claim, verdict in pairs]

    @property
    def name(self) -> str:
        """The title up to its colon."""
        return self.experiment.title.partition(":")[0]

    @property
    def picture(self) -> Picture | None:
        """What is drawn."""
        build = self.experiment.picture
        return None if build is None else build(self.measured_runs)

    @property
    def picture_file(self) -> str | None:
        """Where it is drawn, relative to the report."""
        return None if self.experiment.picture is None else f"{PICTURES_FOLDER}/{self.experiment.key}.png"


def find(experiment: Experiment, measured_runs: Mapping[Trial, MeasuredRun], *, real_trace: bool) -> Findings:
    """Name the runs of an experiment and judge it."""
    named = {label: measured_runs[trial] for label, trial in experiment.trials.items()}
    return Findings(experiment, named, judge(experiment, named, real_trace=real_trace), real_trace)


def all_verdicts(findings: Sequence[Findings]) -> list[Verdict]:
    """The verdicts on all experiments."""
    return [verdict for each in findings for verdict in each.verdicts]


def run_count(findings: Sequence[Findings]) -> int:
    """How many distinct runs there were."""
    return len({trial for each in findings for trial in each.experiment.trials.values()})


def _targets(findings: Sequence[Findings]) -> Sheet:
    """Every target; the missed ones come first."""
    return targets_sheet("Targets", sorted(all_verdicts(findings), key=lambda verdict: verdict.passed))


# -- the report


def assemble(findings: Sequence[Findings], facts: Sequence[str]) -> Document:
    """The whole report."""
    sections: list[Section] = []
    part = ""
    for each in findings:
        begun = "What the paper leaves out" if each.experiment.is_beyond else "The paper"
        sections.append(_section(each, "" if begun == part else begun))
        part = begun
    return Document(
        title="Fairness in LLM serving: the published evaluation on this scheduler",
        introduction=(
            f"Every figure and table of {PAPER}, run again in virtual time on the scheduler that this gateway runs in "
            "production, then what the paper leaves out. Published numbers stand beside ours.",
        ),
        statements=_overview(findings),
        sections=[*sections, Section("targets", "Targets", sheets=[_targets(findings)])],
        facts=facts,
    )


def _overview(findings: Sequence[Findings]) -> list[Statement]:
    """How many targets are met, the first conclusion of every experiment, and where to find the missed targets."""
    verdicts = all_verdicts(findings)
    met = len(verdicts) - len(missed(verdicts))
    statements = [Statement(f"{met} of {len(verdicts)} targets are met.", Mark.of(met == len(verdicts)))]
    for each in findings:
        for sentence, verdict in each.conclusions[:1]:
            statements.append(Statement(f"{each.name}: {sentence}.", Mark.of(verdict.passed)))
    wrong = [(each.name, len(missed(each.verdicts)), len(each.verdicts)) for each in findings]
    if names := ", ".join(f"{name} ({misses} of {total})" for name, misses, total in wrong if misses):
        text = f"Missed: {names}. The last table says by how much, the sections say why."
        statements.append(Statement(text, Mark.FAILS))
    return statements


def _section(findings: Findings, part: str) -> Section:
    experiment = findings.experiment
    remarks = list(experiment.remarks) if missed(findings.verdicts) else []
    if experiment.needs_trace and not findings.real_trace:
        remarks.append(OTHER_TRACE)
    picture = findings.picture
    return Section(
        key=experiment.key,
        title=experiment.title,
        setting=experiment.setting,
        statements=[
            Statement(f"{sentence[0].upper()}{sentence[1:]} (wanted {verdict.target.text}).", Mark.of(verdict.passed))
            for sentence, verdict in findings.conclusions
        ],
        sheets=sheets_of(experiment, findings.measured_runs),
        picture=findings.picture_file,
        alt=picture.alt if picture else "",
        part=part,
        remarks=remarks,
    )


# -- the numbers


def encode_numbers(findings: Sequence[Findings], seed: int) -> bytes:
    """Every number of the report as JSON; what is not a number becomes null."""
    trials = {trial: each.measured_runs[label] for each in findings for label, trial in each.experiment.trials.items()}
    document = {
        "seed": seed,
        "real_trace": any(each.real_trace for each in findings),
        "trials": {
            trial_name(trial): {"trial": trial, "reading": measured_run} for trial, measured_run in trials.items()
        },
        "experiments": {each.experiment.key: _numbers(each) for each in findings},
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def trial_name(trial: Trial) -> str:
    """A trial in words, unlike that of any other: `overload vtc oracle paper`."""
    words = [trial.workload, trial.policy, trial.predictor, trial.engine.value]
    words += ["profiled"] if trial.profiled else []
    words += [f"pool {trial.pool_tokens}"] if trial.pool_tokens != POOL_TOKENS else []
    words += [f"window {trial.window_requests}"] if trial.window_requests is not None else []
    words += [f"slower by {trial.slower_percent} %"] if trial.slower_percent else []
    words += [f"until {trial.until_seconds:g} s"] if trial.until_seconds is not None else []
    words += [] if trial.keys_share else ["one level"]
    return " ".join(words)


def _numbers(findings: Findings) -> dict[str, Any]:
    experiment = findings.experiment
    return {
        "title": experiment.title,
        "runs": {label: trial_name(trial) for label, trial in experiment.trials.items()},
        "printed": [
            {
                "name": each.name,
                "published": each.published,
                "ours": each.measure(findings.measured_runs),
                "unit": each.unit.strip(),
            }
            for each in experiment.printed
        ],
        "published_table": None if experiment.table is None else dict(experiment.table.published),
        "verdicts": [verdict_document(each) for each in findings.verdicts],
    }


# -- the page of the documentation


class NotAWholeRun(Exception):
    """The page is of every experiment on the published trace."""


def refresh(path: Path, findings: Sequence[Findings], *, is_whole: bool) -> None:
    """Write the blocks of the page at `path` anew; raises `NotAWholeRun`."""
    if not is_whole or not all(each.real_trace for each in findings):
        raise NotAWholeRun("the page is of a run of everything on the published trace: give --trace, and no --only")
    texts = blocks(findings)
    page = _BLOCK.sub(lambda found: f"{found[1]}\n{texts[found[2]]}\n{found[3]}", path.read_text("utf-8"))
    path.write_text(page, "utf-8")


def block(page: str, name: str) -> str:
    """The text of one block of `page`."""
    return next(
        found[0].removeprefix(found[1]).removesuffix(found[3]) for found in _BLOCK.finditer(page) if found[2] == name
    )


def blocks(findings: Sequence[Findings]) -> dict[str, str]:
    """Every block by name, as Markdown."""
    verdicts = all_verdicts(findings)
    met = len(verdicts) - len(missed(verdicts))
    (table2,) = (each for each in findings if each.experiment.key == "table2")
    lines: Mapping[str, Iterable[str]] = {
        "count": (f"{run_count(findings)} runs; {met} of {len(verdicts)} targets are met.",),
        "conclusions": [line for each in findings for line in conclusions(each)],
        "table2": _table_2(table2),
        "missed": _missed(findings),
        "targets": render_sheet(_targets(findings)),
    }
    return {name: "\n".join(text).rstrip("\n") + "\n" for name, text in lines.items()}


def conclusions(findings: Findings) -> Iterator[str]:
    """One line for an experiment that concludes something: its claims, each with its number and whether it holds."""
    sentences = [
        f"{'' if verdict.passed else Mark.FAILS.value}{sentence}" for sentence, verdict in findings.conclusions
    ]
    if sentences:
        yield f"- **{findings.name}**: {'; '.join(sentences)}."


def _table_2(findings: Findings) -> Iterator[str]:
    table = findings.experiment.table
    assert table is not None
    yield "| policy | max, published | ours | average, published | ours | tokens/s, published | ours | refused |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for label, published in table.published.items():
        measured_run = findings.measured_runs[label]
        ours = our_row(measured_run, profiled=False)
        pairs = zip(
            (published.max_difference, published.average_difference, published.tokens_per_second),
            (ours.max_difference, ours.average_difference, ours.tokens_per_second),
            strict=True,
        )
        cells = [number(value) for pair in pairs for value in pair]
        yield f"| {' | '.join((label, *cells))} | {measured_run.refused_percent:.0f} % |"


def _missed(findings: Sequence[Findings]) -> Iterator[str]:
    for each in findings:
        if wrong := missed(each.verdicts):
            names = [
                f"{verdict.target.name.partition(': ')[2]} {verdict.text} (wanted {verdict.target.text})"
                for verdict in wrong
            ]
            reasons = " ".join(remark.strip() for remark in each.experiment.remarks)
            yield f"- **{each.name}**: {'; '.join(names)}. {reasons}".rstrip()
