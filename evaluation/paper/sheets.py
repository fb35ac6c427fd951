"""The tables of a section: printed numbers beside ours, published rows above ours, and all measures of every run.

No difference stands without the throughput, the refusals and the isolation that were had with it.
"""

import math

from evaluation.paper.experiment import TOLERANCE, AtSpeeds, Comparability, Experiment, Row, is_within, signed
from evaluation.paper.judgement import COLUMNS, our_row
from evaluation.paper.reading import Reading, Readings
from evaluation.report.document import RowKind, Sheet, SheetRow
from evaluation.report.verdicts import number

DIFFERENCE_COLUMNS = ("max difference", "average", "variance", "tokens/s")
BESIDE_COLUMNS = ("refused", "modest tenants' TTFT", "they got", "Jain", "p99 TTFT")


def sheets_of(experiment: Experiment, readings: Readings) -> list[Sheet]:
    """Every table of one experiment."""
    sheets = []
    if experiment.printed:
        sheets.append(_printed_sheet(experiment, readings))
    if experiment.at_speeds is not None and any(each.printed for each in experiment.at_speeds.of):
        sheets.append(_speeds_sheet(experiment.at_speeds, readings))
    if experiment.table is not None:
        sheets.append(_published_sheet(experiment.table, readings))
        if experiment.table.profiled or any(reading.summary.refused_share for reading in readings.values()):
            sheets.append(_otherwise_sheet(experiment.table, readings))
    else:
        sheets.append(_runs_sheet(readings))
    return sheets


def deviation(ours: float, published: float) -> str:
    """How far ours is from the published value: +3 %, or a factor where it is far."""
    if math.isnan(ours) or published == 0:
        return "-"
    ratio = ours / published
    return f"{ratio:.3g} x" if ratio > 3 or ratio < 1 / 3 else f"{100 * (ratio - 1):+.0f} %"


def _printed_sheet(experiment: Experiment, readings: Readings) -> Sheet:
    rows = []
    for printed in experiment.printed:
        ours = printed.measure(readings)
        far = not abs(printed.deviation(readings)) <= TOLERANCE
        cells = (
            printed.name,
            f"{number(printed.published)}{printed.unit}",
            f"{number(ours)}{printed.unit}",
            deviation(ours, printed.published),
        )
        rows.append(SheetRow(cells, RowKind.MISSED if far else RowKind.PLAIN))
    return Sheet("Printed in the paper", ("number", "published", "ours", "deviation"), rows)


def _speeds_sheet(at_speeds: AtSpeeds, readings: Readings) -> Sheet:
    rows = []
    for figure, printed, values in at_speeds.printed(readings):
        inside = "inside" if is_within(printed.published, values) else "outside"
        cells = [f"{number(value)}{printed.unit}" for value in (printed.published, *values)]
        rows.append(SheetRow((f"{figure}: {printed.name}", *cells, inside)))
    columns = ("number", "published", *map(signed, at_speeds.percents), "published lies")
    return Sheet("Printed numbers at other speeds", columns, rows, words=1)


def _published_sheet(table: Comparability, readings: Readings) -> Sheet:
    rows = []
    nothing = [""] * len(BESIDE_COLUMNS)
    for label, reading in readings.items():
        ours = our_row(reading, profiled=table.profiled)
        published = table.published.get(label)
        if published is not None:
            rows.append(SheetRow((f"{label}, published", *_row_cells(published), *nothing), RowKind.PUBLISHED))
        rows.append(SheetRow((f"{label}, ours", *_row_cells(ours), *_beside(reading))))
        if published is not None:
            far = [deviation(getattr(ours, column), getattr(published, column)) for column in COLUMNS]
            rows.append(SheetRow(("deviation", *far, *nothing), RowKind.DEVIATION))
    unit = "ms of the profiled engine per second" if table.profiled else "input + 2 x output tokens per second"
    return Sheet(f"Difference in {unit}", ("policy", *DIFFERENCE_COLUMNS, *BESIDE_COLUMNS), rows)


def _otherwise_sheet(table: Comparability, readings: Readings) -> Sheet:
    """The same runs, measured as they should be: refusals are demand not met, demand is in the unit of service."""
    rows = []
    for label, reading in readings.items():
        other = reading.profiled if table.profiled else reading.summary.difference_with_refused
        ours = our_row(reading, profiled=table.profiled)
        refused = f"{100 * reading.summary.refused_share:.0f} %"
        cells = (number(ours.average_difference), number(other.average), number(other.maximum), refused)
        rows.append(SheetRow((label, *cells, number(ours.tokens_per_second))))
    title = "demand in the unit of service" if table.profiled else "refused requests counted as demand"
    columns = ("policy", "average as published", "average", "maximum", "refused", "tokens/s")
    return Sheet(f"Measured otherwise: {title}", columns, rows)


def _runs_sheet(readings: Readings) -> Sheet:
    rows = [
        SheetRow((label, *_row_cells(our_row(reading, profiled=False)), *_beside(reading)))
        for label, reading in readings.items()
    ]
    return Sheet("All measures of every run", ("run", *DIFFERENCE_COLUMNS, *BESIDE_COLUMNS), rows)


def _row_cells(row: Row) -> list[str]:
    return [number(getattr(row, column)) for column in COLUMNS]


def _beside(reading: Reading) -> list[str]:
    summary = reading.summary
    return [
        f"{100 * summary.refused_share:.0f} %",
        _or_dash(summary.isolation.mean_ttft_seconds, "{:.3g} s"),
        _or_dash(100 * summary.isolation.served_share, "{:.0f} %"),
        _or_dash(summary.jain_index, "{:.3f}"),
        _or_dash(summary.p99_ttft_seconds, "{:.3g} s"),
    ]


def _or_dash(value: float, form: str) -> str:
    return "-" if math.isnan(value) else form.format(value)
