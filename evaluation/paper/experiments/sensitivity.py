"""How sure the numbers are: predictions with an error, an engine a little slower, and what of Table 2 is chance."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from evaluation.console.verdicts import Comparison, number
from evaluation.paper.document import Sheet, SheetRow
from evaluation.paper.experiment import Claim, Experiment, Measure, Printed, Readings, Trial, ratio
from evaluation.paper.experiments.measures import average_difference, ttft
from evaluation.paper.experiments.synthetic import SYNTHETIC
from evaluation.paper.experiments.traced import LINEAR
from evaluation.paper.figures.builders import bars, gaps, picture
from evaluation.paper.figures.clients import over_percents
from evaluation.paper.published import LARGEST_GAP, MEAN_TTFT, TABLE_2

NOISES = (0, 10, 25, 50, 100)
NOISY: Mapping[str, Trial] = {
    "none": Trial("overload"),
    **{f"±{noise} %": Trial("overload", predictor=f"noisy_oracle:{noise}%") for noise in NOISES},
}
SPEEDS = (-3, 0, 3, 6)
LABELS = ("VTC", "FCFS")
FIGURES = {experiment.key: experiment for experiment in SYNTHETIC if experiment.key in ("fig4", "fig5", "fig6", "fig9")}
PRINTED = [(figure, printed) for figure, experiment in FIGURES.items() for printed in experiment.printed]
CHANCE: Mapping[str, Mapping[int, Trial]] = {
    label: {percent: replace(LINEAR[label], slower_percent=percent) for percent in (-2, -1, 0, 1, 2)}
    for label in ("FCFS", "LCF", "VTC", "VTC predict", "VTC oracle")
}


def _values(figure: str, printed: Printed, readings: Readings) -> list[float]:
    """The number at every speed."""
    return [
        printed.measure({label: readings[f"{figure} {label}, {_signed(percent)}"] for label in LABELS})
        for percent in SPEEDS
    ]


def _is_within(published: float, values: Sequence[float]) -> bool:
    return min(values) <= published <= max(values)


def _printed_within_range(readings: Readings) -> float:
    """How many of the printed numbers lie between our smallest and our largest."""
    return sum(_is_within(printed.published, _values(figure, printed, readings)) for figure, printed in PRINTED)


def _speeds_sheet(readings: Readings) -> Sheet:
    rows = []
    for figure, printed in PRINTED:
        values = _values(figure, printed, readings)
        inside = "inside" if _is_within(printed.published, values) else "outside"
        cells = [f"{number(value)}{printed.unit}" for value in values]
        rows.append(
            SheetRow((f"{figure}: {printed.name}", f"{number(printed.published)}{printed.unit}", *cells, inside))
        )
    columns = ("number", "published", *(_signed(percent) for percent in SPEEDS), "published lies")
    return Sheet("Printed numbers at other speeds", columns, rows)


def _within_chance(readings: Readings) -> float:
    """How many of the published maxima and averages lie within our range over the speeds."""
    hits = 0
    for label, trials in CHANCE.items():
        rows = [readings[f"{label}, {_signed(percent)}"].summary.difference for percent in trials]
        published = TABLE_2[label]
        hits += _is_within(published.max_difference, [row.maximum for row in rows])
        hits += _is_within(published.average_difference, [row.average for row in rows])
    return hits


def _swing(label: str) -> Measure:
    """Largest over smallest maximum difference of one policy, over the speeds."""

    def measure(readings: Readings) -> float:
        rows = [readings[f"{label}, {_signed(percent)}"].summary.difference.maximum for percent in CHANCE[label]]
        return max(rows) / min(rows)

    return measure


def _signed(percent: int) -> str:
    return f"{percent:+d} %" if percent else "as it is"


SENSITIVITY: Sequence[Experiment] = (
    Experiment(
        key="noise",
        title="Predictions that are wrong",
        setting="The workload of Figure 3; predictions drawn within ±n % of the true length.",
        trials=NOISY,
        picture=picture(
            "Predictions with an error",
            "Gap between two tenants over time, largest and average difference, by the error of the prediction.",
            gaps(),
            bars("Largest difference", "cost per second", lambda r: r.summary.difference.maximum),
            bars("Average difference", "cost per second", lambda r: r.summary.difference.average),
        ),
        claims=[
            Claim(
                "predictions off by up to 100 % leave {} of the average difference of no prediction",
                Comparison.AT_MOST,
                1,
                ratio(average_difference("±100 %"), average_difference("none")),
            ),
            Claim(
                "exact ones leave {} of it",
                Comparison.AT_MOST,
                0.1,
                ratio(average_difference("±0 %"), average_difference("none")),
            ),
        ],
        is_beyond=True,
    ),
    Experiment(
        key="speed",
        title="What a few percent of speed do to a queue",
        setting=(
            "Figures 4, 5, 6 and 9 with the engine's steps longer or shorter. A queue grows by the difference of two "
            "rates that are nearly equal, so its length is far more sensitive than either; and evenly spaced requests "
            "of one length fall into step with the admission rounds at some speeds and not at others."
        ),
        trials={
            f"{figure} {label}, {_signed(percent)}": replace(trial, slower_percent=percent)
            for figure in FIGURES
            for percent in SPEEDS
            for label, trial in FIGURES[figure].trials.items()
            if label in LABELS
        },
        picture=picture(
            "Two numbers of the paper, by speed of the engine",
            "Bars for four speeds: a wait of Figure 4 and the largest gap of Figure 6, with the published values.",
            bars(
                "Figure 4: mean TTFT of tenant 1 under FCFS",
                "seconds",
                lambda r: r.tenant("tenant-1").mean_ttft_seconds,
                labels=[f"fig4 FCFS, {_signed(percent)}" for percent in SPEEDS],
                published={f"fig4 FCFS, {_signed(percent)}": MEAN_TTFT["fig4"]["FCFS"][0] for percent in SPEEDS},
            ),
            bars(
                "Figure 6: largest gap under VTC",
                "cost (input + 2 x output)",
                lambda r: r.largest_gap,
                labels=[f"fig6 VTC, {_signed(percent)}" for percent in SPEEDS],
                published={f"fig6 VTC, {_signed(percent)}": LARGEST_GAP["fig6"]["VTC"] for percent in SPEEDS},
            ),
        ),
        sheet=_speeds_sheet,
        claims=[
            Claim(
                f"{{}} of the {len(PRINTED)} numbers printed for Figures 4, 5, 6 and 9 lie within our range",
                Comparison.AT_LEAST,
                len(PRINTED) // 2,
                _printed_within_range,
            ),
            Claim(
                "steps 6 % longer make tenant 1 of Figure 4 wait {} times as long under FCFS",
                Comparison.AT_LEAST,
                1.1,
                ratio(ttft("fig4 FCFS, +6 %", "tenant-1"), ttft("fig4 FCFS, as it is", "tenant-1")),
            ),
        ],
        is_beyond=True,
    ),
    Experiment(
        key="chance",
        title="How much of Table 2 is chance",
        setting=(
            "The runs of Table 2 with steps up to 2 % longer or shorter. The published tables have one run of each "
            "policy; rows that lie nearer to each other than one run to the next have no order."
        ),
        trials={
            f"{label}, {_signed(percent)}": trial
            for label, trials in CHANCE.items()
            for percent, trial in trials.items()
        },
        picture=picture(
            "Difference on the real trace, by speed of the engine",
            "Average and largest difference of five policies over the speed of the engine.",
            over_percents("Average difference", CHANCE, lambda r: r.summary.difference.average),
            over_percents("Largest difference", CHANCE, lambda r: r.summary.difference.maximum),
        ),
        claims=[
            Claim(
                "the largest difference of VTC changes by a factor of {} within 2 % of speed",
                Comparison.ABOVE,
                1,
                _swing("VTC"),
            ),
            Claim(
                "{} of the 10 published maxima and averages lie within our range",
                Comparison.AT_LEAST,
                5,
                _within_chance,
            ),
        ],
        needs_trace=True,
        is_beyond=True,
    ),
)
