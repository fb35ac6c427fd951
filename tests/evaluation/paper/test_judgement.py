"""An experiment is judged by printed numbers, by claims, and by the rows and the order of a published table."""

from dataclasses import replace

import pytest

from evaluation.metrics.service import Difference
from evaluation.paper.experiment import Claim, Comparability, Experiment, Printed, Row, Trial
from evaluation.paper.findings import find
from evaluation.paper.judgement import judge
from evaluation.paper.measures import MeasuredRun
from evaluation.report.verdicts import Comparison, Verdict, missed

from .fabricated import fabricate

TABLE = {"A": Row(100, 50, 10, 800), "B": Row(200, 80, 20, 810), "C": Row(300, 90, 30, 400)}


def _reading(row: Row) -> MeasuredRun:
    measured_run = fabricate(Trial("overload"))
    difference = Difference(row.max_difference, row.average_difference, row.difference_variance)
    return replace(
        measured_run,
        summary=replace(measured_run.summary, difference=difference, tokens_per_second=row.tokens_per_second),
    )


def _judge(table: Comparability, rows: dict[str, Row], *, real_trace: bool = True) -> list[Verdict]:
    experiment = Experiment("t", "T", "", {label: Trial("overload") for label in rows}, table=table, needs_trace=True)
    return judge(experiment, {label: _reading(row) for label, row in rows.items()}, real_trace=real_trace)


def _names(verdicts: list[Verdict]) -> list[str]:
    return [verdict.target.name for verdict in missed(verdicts)]


def test_the_published_rows_meet_their_own_targets() -> None:
    """No target is missed if our numbers are the published ones."""
    table = Comparability(TABLE, within=0.15, factor=2, throughput_within=0.03, ordered=True)
    verdicts = _judge(table, TABLE)
    assert len(verdicts) == 3 * 2 * 2 + 1 + 4
    assert missed(verdicts) == []


@pytest.mark.parametrize(
    ("label", "row", "missing"),
    [
        ("A", Row(116, 50, 10, 800), ["t: A, maximum difference, deviation"]),
        ("B", Row(200, 67, 20, 810), ["t: B, average difference, deviation"]),
        ("C", Row(300, 90, 30, 413), ["t: throughput, largest deviation"]),
        ("C", Row(300, 90, 15, 400), ["t: pairs of rows out of order by variance of the difference"]),
        ("A", Row(100, 50, 10, 815), []),  # 800 and 810 are one throughput
    ],
)
def test_a_row_that_is_off_is_named(label: str, row: Row, missing: list[str]) -> None:
    """The verdict names the policy and the column; throughputs that are near have no order."""
    table = Comparability(TABLE, within=0.15, throughput_within=0.03, ordered=True)
    assert _names(_judge(table, TABLE | {label: row})) == missing


def test_a_factor_counts_either_way() -> None:
    """Half of the published value is as far from it as twice the value."""
    table = Comparability(TABLE, factor=2)
    assert _names(_judge(table, TABLE | {"A": Row(49, 50, 1, 1)})) == _names(
        _judge(table, TABLE | {"A": Row(201, 50, 1, 1)})
    )


def test_without_the_real_trace_its_numbers_are_not_judged() -> None:
    """A generated trace cannot be expected to give the published row."""
    assert _judge(Comparability(TABLE, within=0.15), TABLE, real_trace=False) == []


@pytest.mark.parametrize(("ours", "met"), [(119.0, True), (121.0, False), (81.0, True), (79.0, False)])
def test_a_printed_number_is_met_within_a_fifth(ours: float, met: bool) -> None:
    """Ours may be a fifth larger or a fifth smaller than the printed number."""
    experiment = Experiment("f", "F", "", {"VTC": Trial("overload")}, printed=[Printed("x", 100, " s", lambda _: ours)])
    verdicts = judge(experiment, {}, real_trace=False)
    assert [verdict.passed for verdict in verdicts] == [met]


def test_a_claim_says_its_number() -> None:
    """The measured number fills the gap of the sentence, and the sentence names the target."""
    claim = Claim("FCFS is {} times worse", Comparison.AT_LEAST, 5, lambda _: 32.04)
    experiment = Experiment("fig3", "F", "", {}, claims=[claim])
    ((sentence, verdict),) = find(experiment, {}, real_trace=True).conclusions
    assert sentence == "FCFS is 32.04 times worse" and verdict.passed
    assert claim.judge("fig3", {}).target.name == "fig3: FCFS is … times worse"
    assert claim.judge("fig3", {}).passed
