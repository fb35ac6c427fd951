"""Puts the report together: every section from its experiment and runs, every sentence from numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import yaml

from evaluation.console.verdicts import Verdict, missed, number
from evaluation.paper.document import Document, Mark, Section, Statement
from evaluation.paper.experiment import Claim, Experiment, Readings, Trial
from evaluation.paper.figures.picture import Picture
from evaluation.paper.judgement import judge
from evaluation.paper.published import PAPER
from evaluation.paper.reading import Reading
from evaluation.paper.sheets import sheets_of, targets_sheet

PICTURES_FOLDER = "figures"
OTHER_TRACE = (
    "The trace of this run is not the published one (without --trace it is generated, with the published statistics): "
    "the published numbers are shown and not judged."
)


@dataclass(frozen=True, slots=True)
class Findings:
    """One experiment with its runs and the verdicts on it."""

    experiment: Experiment
    readings: Readings
    verdicts: Sequence[Verdict]
    real_trace: bool

    @property
    def picture(self) -> Picture | None:
        """What is drawn."""
        build = self.experiment.picture
        return None if build is None else build(self.readings)

    @property
    def picture_file(self) -> str | None:
        """Where it is drawn, relative to the report."""
        return None if self.experiment.picture is None else f"{PICTURES_FOLDER}/{self.experiment.key}.png"


def find(experiment: Experiment, readings: Mapping[Trial, Reading], *, real_trace: bool) -> Findings:
    """Name the runs of an experiment and judge it."""
    named = {label: readings[trial] for label, trial in experiment.trials.items()}
    return Findings(experiment, named, judge(experiment, named, real_trace=real_trace), real_trace)


def assemble(findings: Sequence[Findings], facts: Sequence[str]) -> Document:
    """The whole report."""
    verdicts = [verdict for each in findings for verdict in each.verdicts]
    remarks = load_remarks()
    return Document(
        title="Fairness in LLM serving: the published evaluation on this scheduler",
        introduction=(
            f"Every figure and table of {PAPER}, run again in virtual time on the scheduler that this gateway runs in "
            "production, then what the paper leaves out. Published numbers stand beside ours.",
        ),
        statements=_overview(findings, verdicts),
        sections=_in_parts([_section(each, remarks.get(each.experiment.key, ())) for each in findings], findings),
        targets=targets_sheet(verdicts),
        facts=facts,
    )


def load_remarks() -> dict[str, list[str]]:
    """Why ours differs, by experiment: shown where a target of that experiment is missed."""
    text = files("evaluation.paper").joinpath("remarks.yaml").read_text("utf-8")
    remarks: Any = yaml.safe_load(text)
    return {key: list(texts) for key, texts in (remarks or {}).items()}


def _in_parts(sections: Sequence[Section], findings: Sequence[Findings]) -> list[Section]:
    """Name the part that begins with a section: what the paper has, then what it leaves out."""
    parts = ["What the paper leaves out" if each.experiment.is_beyond else "The paper" for each in findings]
    begins = [part if part != before else "" for part, before in zip(parts, ["", *parts], strict=False)]
    return [replace(section, part=part) for section, part in zip(sections, begins, strict=True)]


def _overview(findings: Sequence[Findings], verdicts: Sequence[Verdict]) -> list[Statement]:
    """How many targets are met, the first conclusion of every experiment, and where to look for what is missed."""
    failed = missed(verdicts)
    count = f"{len(verdicts) - len(failed)} of {len(verdicts)} targets are met."
    statements = [Statement(count, Mark.FAILS if failed else Mark.HOLDS)]
    statements += [_claim(claim, each) for each in findings for claim in each.experiment.claims[:1]]
    wrong = [(_short_title(each), len(missed(each.verdicts)), len(each.verdicts)) for each in findings]
    names = ", ".join(f"{title} ({misses} of {total})" for title, misses, total in wrong if misses)
    if names:
        text = f"Missed: {names}. The last table says by how much, the sections say why."
        statements.append(Statement(text, Mark.FAILS))
    return statements


def _short_title(findings: Findings) -> str:
    return findings.experiment.title.partition(":")[0]


def _claim(claim: Claim, findings: Findings) -> Statement:
    holds = claim.judge(findings.experiment.key, findings.readings).passed
    return Statement(f"{_short_title(findings)}: {claim.text(findings.readings)}.", Mark.HOLDS if holds else Mark.FAILS)


def _section(findings: Findings, remarks: Sequence[str]) -> Section:
    experiment, readings = findings.experiment, findings.readings
    shown = list(remarks) if missed(findings.verdicts) else []
    if experiment.needs_trace and not findings.real_trace:
        shown.append(OTHER_TRACE)
    picture = findings.picture
    return Section(
        key=experiment.key,
        title=experiment.title,
        setting=experiment.setting,
        statements=[_sentence(claim, findings) for claim in experiment.claims],
        sheets=sheets_of(experiment, readings),
        picture=findings.picture_file,
        alt=picture.alt if picture else "",
        remarks=shown,
    )


def _sentence(claim: Claim, findings: Findings) -> Statement:
    verdict = claim.judge(findings.experiment.key, findings.readings)
    text = claim.text(findings.readings)
    wanted = f"wanted {claim.comparison.value} {number(claim.limit)}{claim.unit}"
    return Statement(f"{text[0].upper()}{text[1:]} ({wanted}).", Mark.HOLDS if verdict.passed else Mark.FAILS)
