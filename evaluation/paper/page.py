"""The page of the documentation: what stands between its marks is written from a whole run, never by hand.

A block begins with `<!-- run: NAME -->` and ends with `<!-- end of run -->`. No word around it has a measured number.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from evaluation.console.verdicts import missed, number
from evaluation.paper.assembly import Findings, load_remarks
from evaluation.paper.document import Mark
from evaluation.paper.judgement import our_row
from evaluation.paper.markdown import SIGNS, render_sheet
from evaluation.paper.sheets import targets_sheet

_BLOCK = re.compile(r"(<!-- run: (\w+) -->\n).*?(<!-- end of run -->)", re.DOTALL)


class NotAWholeRun(Exception):
    """The page is of every experiment on the published trace."""


def refresh(path: Path, findings: Sequence[Findings], *, is_whole: bool) -> None:
    """Write the blocks of the page at `path` anew; raises `NotAWholeRun`."""
    if not is_whole or not all(each.real_trace for each in findings):
        raise NotAWholeRun("the page is of a run of everything on the published trace: give --trace, and no --only")
    path.write_text(with_blocks(path.read_text("utf-8"), blocks(findings)), "utf-8")


def with_blocks(page: str, texts: Mapping[str, str]) -> str:
    """`page` with the text of each block that it marks."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{texts[found[2]]}\n{found[3]}", page)


def block(page: str, name: str) -> str:
    """The text of one block of `page`."""
    return next(
        found[0].removeprefix(found[1]).removesuffix(found[3]) for found in _BLOCK.finditer(page) if found[2] == name
    )


def blocks(findings: Sequence[Findings]) -> dict[str, str]:
    """Every block by name, as Markdown."""
    by_key = {each.experiment.key: each for each in findings}
    lines: Mapping[str, Iterable[str]] = {
        "count": (_count(findings),),
        "conclusions": [line for each in findings for line in conclusions(each)],
        "table2": _table_2(by_key["table2"]),
        "missed": _missed(findings),
        "targets": render_sheet(targets_sheet([verdict for each in findings for verdict in each.verdicts])),
    }
    return {name: "\n".join(text).rstrip("\n") + "\n" for name, text in lines.items()}


def _count(findings: Sequence[Findings]) -> str:
    verdicts = [verdict for each in findings for verdict in each.verdicts]
    runs = len({trial for each in findings for trial in each.experiment.trials.values()})
    met = len(verdicts) - len(missed(verdicts))
    return f"{runs} runs; {met} of {len(verdicts)} targets are met."


def conclusions(findings: Findings) -> Iterator[str]:
    """One line for an experiment that concludes something: its claims, each with its number and whether it holds."""
    claims = findings.experiment.claims
    if claims:
        sentences = "; ".join(_claim(findings, index) for index in range(len(claims)))
        yield f"- **{findings.experiment.title.partition(':')[0]}**: {sentences}."


def _claim(findings: Findings, index: int) -> str:
    claim, verdict = findings.experiment.claims[index], findings.verdicts[index]
    return f"{'' if verdict.passed else SIGNS[Mark.FAILS]}{claim.text(findings.readings)}"


def _table_2(findings: Findings) -> Iterator[str]:
    table = findings.experiment.table
    assert table is not None
    yield "| policy | max, published | ours | average, published | ours | tokens/s, published | ours | refused |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for label, published in table.published.items():
        reading = findings.readings[label]
        ours = our_row(reading, profiled=False)
        pairs = zip(
            (published.max_difference, published.average_difference, published.tokens_per_second),
            (ours.max_difference, ours.average_difference, ours.tokens_per_second),
            strict=True,
        )
        cells = [number(value) for pair in pairs for value in pair]
        yield f"| {' | '.join((label, *cells))} | {100 * reading.summary.refused_share:.0f} % |"


def _missed(findings: Sequence[Findings]) -> Iterator[str]:
    remarks = load_remarks()
    for each in findings:
        wrong = missed(each.verdicts)
        if wrong:
            names = [
                f"{verdict.target.name.partition(': ')[2]} {verdict.text} (wanted {verdict.target.text})"
                for verdict in wrong
            ]
            reasons = " ".join(remark.strip() for remark in remarks.get(each.experiment.key, ()))
            yield f"- **{each.experiment.title.partition(':')[0]}**: {'; '.join(names)}. {reasons}".rstrip()
