"""Holds the runs of an experiment against its targets: printed numbers, conclusions, rows and order of a table."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from evaluation.metrics import Difference
from evaluation.paper.experiment import TOLERANCE, Comparability, Experiment, Row
from evaluation.paper.reading import Reading, Readings
from evaluation.report.verdicts import Comparison, Target, Verdict

COLUMNS = ("max_difference", "average_difference", "difference_variance", "tokens_per_second")
COLUMN_WORDS = {
    "max_difference": "maximum difference",
    "average_difference": "average difference",
    "difference_variance": "variance of the difference",
    "tokens_per_second": "throughput",
}
# Throughputs this near to each other are one: the published ones of the policies that refuse nobody lie within 1 %.
SAME_THROUGHPUT = 0.03


def our_row(reading: Reading, *, profiled: bool) -> Row:
    """Our row of a published table."""
    difference: Difference = reading.profiled_as_published if profiled else reading.summary.difference
    return Row(difference.maximum, difference.average, difference.variance, reading.summary.tokens_per_second)


def judge(experiment: Experiment, readings: Readings, *, real_trace: bool) -> list[Verdict]:
    """Every verdict on `experiment`; without the real trace none on the numbers that were published for it."""
    verdicts = [claim.judge(experiment.key, readings) for claim in experiment.claims]
    if experiment.needs_trace and not real_trace:
        return verdicts
    for printed in experiment.printed:
        name = f"{experiment.key}: {printed.name}, deviation from the published"
        target = Target(name, Comparison.AT_MOST, 100 * TOLERANCE, " %")
        verdicts.append(target.judge(100 * abs(printed.deviation(readings))))
    if experiment.table is not None:
        verdicts += _judge_table(experiment.key, experiment.table, readings)
    return verdicts


def _judge_table(key: str, table: Comparability, readings: Readings) -> Iterator[Verdict]:
    ours = {label: our_row(readings[label], profiled=table.profiled) for label in table.published}
    for label in table.published:
        for column in ("max_difference", "average_difference"):
            what = f"{key}: {label}, {COLUMN_WORDS[column]}"
            published, measured = getattr(table.published[label], column), getattr(ours[label], column)
            if table.within is not None:
                target = Target(f"{what}, deviation", Comparison.AT_MOST, 100 * table.within, " %")
                yield target.judge(100 * abs(measured / published - 1))
            if table.factor is not None:
                target = Target(f"{what}, ratio to the published either way", Comparison.AT_MOST, table.factor, " x")
                yield target.judge(max(measured / published, published / measured))
    if table.throughput_within is not None:
        target = Target(
            f"{key}: throughput, largest deviation", Comparison.AT_MOST, 100 * table.throughput_within, " %"
        )
        deviations = {
            label: abs(ours[label].tokens_per_second / row.tokens_per_second - 1)
            for label, row in table.published.items()
        }
        farthest = max(deviations, key=lambda label: deviations[label])
        yield target.judge(100 * deviations[farthest], farthest)
    if table.ordered:
        for column in COLUMNS:
            wrong = _inversions(table, ours, column)
            target = Target(f"{key}: pairs of rows out of order by {COLUMN_WORDS[column]}", Comparison.AT_MOST, 0)
            yield target.judge(len(wrong), "; ".join(wrong))


def _inversions(table: Comparability, ours: dict[str, Row], column: str) -> list[str]:
    """The pairs of rows that the published table has the other way round."""
    margin = SAME_THROUGHPUT if column == "tokens_per_second" else 0.0
    wrong = []
    for one, other in combinations(table.published, 2):
        published = _values(table.published[one], table.published[other], column)
        measured = _values(ours[one], ours[other], column)
        apart = abs(published[0] / published[1] - 1)
        if apart > margin and (published[0] < published[1]) != (measured[0] < measured[1]):
            wrong.append(f"{one} and {other} (published {100 * apart:.0f} % apart)")
    return wrong


def _values(one: Row, other: Row, column: str) -> Sequence[float]:
    return getattr(one, column), getattr(other, column)
