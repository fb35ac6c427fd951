"""Compares the runs of an experiment with its targets, and shows them in tables.

Targets are printed numbers, conclusions, rows of a table and their order. Tables have printed numbers beside ours,
published rows above ours, and all measures of every run. Each difference stands beside its throughput, refusals and
isolation.
"""

import math
from collections.abc import Iterator
from itertools import combinations

from evaluation.metrics.service import Difference
from evaluation.paper.experiment import TOLERANCE, AtSpeeds, Comparability, Experiment, Row, is_within, signed
from evaluation.paper.measures import MeasuredRun, MeasuredRuns
from evaluation.report.document import RowKind, Sheet, SheetRow
from evaluation.report.verdicts import Verdict, at_most, number

COLUMN_WORDS = {
    "max_difference": "maximum difference",
    "average_difference": "average difference",
    "difference_variance": "variance of the difference",
    "tokens_per_second": "throughput",
}
COLUMNS = tuple(COLUMN_WORDS)
# Throughputs this close count as equal: those published for the policies that refuse nobody lie within 1 %.
SAME_THROUGHPUT = 0.03


def our_row(measured_run: MeasuredRun, *, profiled: bool) -> Row:
    """Our row of a published table."""
    difference: Difference = measured_run.profiled_as_published if profiled else measured_run.summary.difference
    return Row(difference.maximum, difference.average, difference.variance, measured_run.summary.tokens_per_second)


def judge(experiment: Experiment, measured_runs: MeasuredRuns, *, real_trace: bool) -> list[Verdict]:
    """Every verdict on `experiment`. Without the real trace there is none on the numbers published for that trace."""
    verdicts = [claim.judge(experiment.key, measured_runs) for claim in experiment.claims]
    if experiment.needs_trace and not real_trace:
        return verdicts
    for printed in experiment.printed:
        name = f"{experiment.key}: {printed.name}, deviation from the published"
        target = at_most(name, 100 * TOLERANCE, " %")
        verdicts.append(target.judge(100 * abs(printed.deviation(measured_runs))))
    if experiment.table is not None:
        verdicts += _judge_table(experiment.key, experiment.table, measured_runs)
    return verdicts


def _judge_table(key: str, table: Comparability, measured_runs: MeasuredRuns) -> Iterator[Verdict]:
    ours = {label: our_row(measured_runs[label], profiled=table.profiled) for label in table.published}
    for label in table.published:
        for column in ("max_difference", "average_difference"):
            what = f"{key}: {label}, {COLUMN_WORDS[column]}"
            published, measured = getattr(table.published[label], column), getattr(ours[label], column)
            if table.within is not None:
                target = at_most(f"{what}, deviation", 100 * table.within, " %")
                yield target.judge(100 * abs(measured / published - 1))
            if table.factor is not None:
                target = at_most(f"{what}, ratio to the published either way", table.factor, " x")
                yield target.judge(max(measured / published, published / measured))
    if table.throughput_within is not None:
        target = at_most(f"{key}: throughput, largest deviation", 100 * table.throughput_within, " %")
        deviations = {
            label: abs(ours[label].tokens_per_second / row.tokens_per_second - 1)
            for label, row in table.published.items()
        }
        farthest = max(deviations, key=lambda label: deviations[label])
        yield target.judge(100 * deviations[farthest], farthest)
    if table.ordered:
        for column in COLUMNS:
            wrong = _inversions(table, ours, column)
            target = at_most(f"{key}: pairs of rows out of order by {COLUMN_WORDS[column]}", 0)
            yield target.judge(len(wrong), "; ".join(wrong))


def _inversions(table: Comparability, ours: dict[str, Row], column: str) -> list[str]:
    """The pairs of rows whose order differs from the published table."""
    margin = SAME_THROUGHPUT if column == "tokens_per_second" else 0.0
    wrong = []
    for one, other in combinations(table.published, 2):
        published, measured = (
            (getattr(rows[one], column), getattr(rows[other], column)) for rows in (table.published, ours)
        )
        apart = abs(published[0] / published[1] - 1)
        if apart > margin and (published[0] < published[1]) != (measured[0] < measured[1]):
            wrong.append(f"{one} and {other} (published {100 * apart:.0f} % apart)")
    return wrong


DIFFERENCE_COLUMNS = ("max difference", "average", "variance", "tokens/s")
BESIDE_COLUMNS = ("refused", "modest tenants' TTFT", "they got", "Jain", "p99 TTFT")


def sheets_of(experiment: Experiment, measured_runs: MeasuredRuns) -> list[Sheet]:
    """Every table of one experiment."""
    sheets = []
    if experiment.printed:
        sheets.append(_printed_sheet(experiment, measured_runs))
    if experiment.at_speeds is not None and any(each.printed for each in experiment.at_speeds.of):
        sheets.append(_speeds_sheet(experiment.at_speeds, measured_runs))
    table = experiment.table
    sheets.append(_runs_sheet(table, measured_runs))
    if table is not None and (table.profiled or any(each.summary.refused_share for each in measured_runs.values())):
        sheets.append(_otherwise_sheet(table, measured_runs))
    return sheets


def deviation(ours: float, published: float) -> str:
    """How far ours is from the published value: +3 %, or a factor where it is far."""
    if math.isnan(ours) or published == 0:
        return "-"
    ratio = ours / published
    return f"{ratio:.3g} x" if ratio > 3 or ratio < 1 / 3 else f"{100 * (ratio - 1):+.0f} %"


def _printed_sheet(experiment: Experiment, measured_runs: MeasuredRuns) -> Sheet:
    rows = []
    for printed in experiment.printed:
        ours = printed.measure(measured_runs)
        far = not abs(printed.deviation(measured_runs)) <= TOLERANCE
        cells = (
            printed.name,
            f"{number(printed.published)}{printed.unit}",
            f"{number(ours)}{printed.unit}",
            deviation(ours, printed.published),
        )
        rows.append(SheetRow(cells, RowKind.MISSED if far else RowKind.PLAIN))
    return Sheet("Printed in the paper", ("number", "published", "ours", "deviation"), rows)


def _speeds_sheet(at_speeds: AtSpeeds, measured_runs: MeasuredRuns) -> Sheet:
    rows = []
    for figure, printed, values in at_speeds.printed(measured_runs):
        inside = "inside" if is_within(printed.published, values) else "outside"
        cells = [f"{number(value)}{printed.unit}" for value in (printed.published, *values)]
        rows.append(SheetRow((f"{figure}: {printed.name}", *cells, inside)))
    columns = ("number", "published", *map(signed, at_speeds.percents), "published lies")
    return Sheet("Printed numbers at other speeds", columns, rows, words=1)


def _runs_sheet(table: Comparability | None, measured_runs: MeasuredRuns) -> Sheet:
    """All measures of every run, under the published row where there is one."""
    rows = []
    nothing = [""] * len(BESIDE_COLUMNS)
    profiled = table is not None and table.profiled
    for label, measured_run in measured_runs.items():
        ours = our_row(measured_run, profiled=profiled)
        published = None if table is None else table.published.get(label)
        if published is not None:
            rows.append(SheetRow((f"{label}, published", *_row_cells(published), *nothing), RowKind.QUIET))
        name = label if table is None else f"{label}, ours"
        rows.append(SheetRow((name, *_row_cells(ours), *_beside(measured_run))))
        if published is not None:
            far = [deviation(getattr(ours, column), getattr(published, column)) for column in COLUMNS]
            rows.append(SheetRow(("deviation", *far, *nothing), RowKind.QUIET))
    columns = (*DIFFERENCE_COLUMNS, *BESIDE_COLUMNS)
    if table is None:
        return Sheet("All measures of every run", ("run", *columns), rows)
    unit = "ms of the profiled engine per second" if profiled else "input + 2 x output tokens per second"
    return Sheet(f"Difference in {unit}", ("policy", *columns), rows)


def _otherwise_sheet(table: Comparability, measured_runs: MeasuredRuns) -> Sheet:
    """The same runs, measured as they should be: a refusal is demand not met, and demand has the unit of service."""
    rows = []
    for label, measured_run in measured_runs.items():
        other = measured_run.profiled if table.profiled else measured_run.summary.difference_with_refused
        ours = our_row(measured_run, profiled=table.profiled)
        refused = f"{100 * measured_run.summary.refused_share:.0f} %"
        cells = (number(ours.average_difference), number(other.average), number(other.maximum), refused)
        rows.append(SheetRow((label, *cells, number(ours.tokens_per_second))))
    title = "demand in the unit of service" if table.profiled else "refused requests counted as demand"
    columns = ("policy", "average as published", "average", "maximum", "refused", "tokens/s")
    return Sheet(f"Measured otherwise: {title}", columns, rows)


def _row_cells(row: Row) -> list[str]:
    return [number(getattr(row, column)) for column in COLUMNS]


def _beside(measured_run: MeasuredRun) -> list[str]:
    summary = measured_run.summary
    return [
        f"{100 * summary.refused_share:.0f} %",
        _or_dash(summary.isolation.mean_ttft_seconds, "{:.3g} s"),
        _or_dash(100 * summary.isolation.served_share, "{:.0f} %"),
        _or_dash(summary.jain_index, "{:.3f}"),
        _or_dash(summary.p99_ttft_seconds, "{:.3g} s"),
    ]


def _or_dash(value: float, form: str) -> str:
    return "-" if math.isnan(value) else form.format(value)
