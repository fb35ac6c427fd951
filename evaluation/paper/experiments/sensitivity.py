"""How sure the numbers are: predictions with an error, an engine a little slower, and what of Table 2 is chance."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from evaluation.console.verdicts import Comparison
from evaluation.paper.experiment import Claim, Experiment, Measure, Readings, Trial, ratio
from evaluation.paper.experiments.measures import average_difference, ttft
from evaluation.paper.experiments.traced import LINEAR
from evaluation.paper.figures.builders import bars, gaps, picture
from evaluation.paper.figures.clients import over_percents
from evaluation.paper.published import TABLE_2

NOISES = (0, 10, 25, 50, 100)
NOISY: Mapping[str, Trial] = {
    "none": Trial("overload"),
    **{f"±{noise} %": Trial("overload", predictor=f"noisy_oracle:{noise}%") for noise in NOISES},
}
SLOWER = (-5, 0, 3, 5, 8)
CHANCE: Mapping[str, Mapping[int, Trial]] = {
    label: {percent: replace(LINEAR[label], slower_percent=percent) for percent in (-2, -1, 0, 1, 2)}
    for label in ("FCFS", "LCF", "VTC", "VTC predict", "VTC oracle")
}


def _within_chance(readings: Readings) -> float:
    """How many of the published maxima and averages lie within our range over the speeds."""
    hits = 0
    for label, trials in CHANCE.items():
        rows = [readings[f"{label}, {_signed(percent)}"].summary.difference for percent in trials]
        published = TABLE_2[label]
        hits += min(row.maximum for row in rows) <= published.max_difference <= max(row.maximum for row in rows)
        hits += min(row.average for row in rows) <= published.average_difference <= max(row.average for row in rows)
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
            "A bad prediction costs part of the gain, never the bound",
            "The gap grows with the noise and stays below that of no prediction.",
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
            "The workloads of Figures 4 and 9 with the engine's steps longer or shorter. A queue grows by the "
            "difference of two rates that are nearly equal, so its length is far more sensitive than either."
        ),
        trials={
            f"figure {figure}, {_signed(percent)}": Trial(workload, "fcfs", slower_percent=percent)
            for figure, workload in ((4, "proportional"), (9, "increase"))
            for percent in SLOWER
        },
        picture=picture(
            "Mean time to first token under FCFS, by speed of the engine",
            "A step a few percent longer makes the waits of Figure 4 longer by a fifth and of Figure 9 by more.",
            bars(
                "Tenant 1 of Figure 4",
                "seconds",
                lambda r: r.tenant("tenant-1").mean_ttft_seconds,
                labels=[f"figure 4, {_signed(percent)}" for percent in SLOWER],
            ),
            bars(
                "Tenant 1 of Figure 9",
                "seconds",
                lambda r: r.tenant("tenant-1").mean_ttft_seconds,
                labels=[f"figure 9, {_signed(percent)}" for percent in SLOWER],
            ),
        ),
        claims=[
            Claim(
                "steps 5 % longer make tenant 1 of Figure 4 wait {} times as long",
                Comparison.AT_LEAST,
                1.1,
                ratio(ttft("figure 4, +5 %", "tenant-1"), ttft("figure 4, as it is", "tenant-1")),
            )
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
            "The lines of the three kinds of VTC cross; FCFS and LCF stay above them.",
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
