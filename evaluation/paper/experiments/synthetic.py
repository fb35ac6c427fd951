"""Figures 3 to 10: two or three tenants on the paper's engine model."""

from collections.abc import Mapping, Sequence

from evaluation.console.verdicts import Comparison
from evaluation.paper.experiment import POOL_TOKENS, Claim, Experiment, Printed, Trial, ratio
from evaluation.paper.experiments.measures import (
    gap_at,
    gap_between,
    largest_gap,
    rate_between,
    ttft,
)
from evaluation.paper.figures.builders import Builder, gaps, picture, rates, responses, waits
from evaluation.paper.published import LARGEST_GAP, MEAN_TTFT, SHIFTED_RATES

AT_MOST, AT_LEAST, ABOVE = Comparison.AT_MOST, Comparison.AT_LEAST, Comparison.ABOVE
# U = max(w_p x longest input, w_q x tokens in flight) = 2 x 10,000; two backlogged tenants lie within 2 U.
TWO_U = 2 * 2 * POOL_TOKENS


def trials(workload: str, *others: str) -> Mapping[str, Trial]:
    """VTC and FCFS on one workload, and the `others` by name of their policy."""
    names = ("vtc", "fcfs", *others)
    return {name.upper(): Trial(workload, policy=name) for name in names}


def _printed_gaps(figure: str) -> list[Printed]:
    return [
        Printed(f"largest gap, {label}", value, " cost", largest_gap(label))
        for label, value in LARGEST_GAP[figure].items()
    ]


def _printed_waits(figure: str) -> list[Printed]:
    return [
        Printed(f"mean TTFT of tenant-{place}, {label}", value, " s", ttft(label, f"tenant-{place}"))
        for label, values in MEAN_TTFT[figure].items()
        for place, value in enumerate(values, 1)
    ]


BOUNDED = Claim(
    "under VTC the gap between the tenants reaches {} of the bound 2U",
    AT_MOST,
    1.0,
    lambda readings: largest_gap("VTC")(readings) / TWO_U,
)


def _times_smaller(least: float) -> Claim:
    return Claim(
        "FCFS's largest gap is {} times VTC's", AT_LEAST, least, ratio(largest_gap("FCFS"), largest_gap("VTC"))
    )


def _gap_picture(key: str, title: str, *, bound: float | None = TWO_U) -> Builder:
    return picture(
        title,
        "Gap between the tenants over ten minutes by policy, then what each tenant gets under VTC and under FCFS.",
        gaps(marks=LARGEST_GAP[key], bound=bound),
        rates("VTC"),
        rates("FCFS"),
    )


def _wait_picture(key: str, title: str) -> Builder:
    return picture(
        title,
        "Mean time to first token of each tenant by policy, then over time under VTC and under FCFS.",
        waits(MEAN_TTFT[key]),
        responses("VTC"),
        responses("FCFS"),
    )


SYNTHETIC: Sequence[Experiment] = (
    Experiment(
        key="fig3",
        title="Figure 3: two tenants, both over their share",
        setting="Tenant 1 sends 90 requests a minute, tenant 2 sends 180; 256 tokens in, 256 out.",
        trials=trials("overload"),
        picture=_gap_picture("fig3", "Two tenants over their share, one asking for twice as much"),
        printed=_printed_gaps("fig3"),
        claims=[_times_smaller(5), BOUNDED],
    ),
    Experiment(
        key="fig4",
        title="Figure 4: three tenants, two below their share",
        setting="15, 30 and 90 requests a minute; 256 tokens in, 256 out.",
        trials=trials("proportional"),
        picture=_wait_picture("fig4", "Two tenants below their share beside one above it"),
        printed=_printed_waits("fig4"),
        claims=[
            Claim(
                "under VTC the tenant above its share waits {} times as long as those below",
                AT_LEAST,
                10,
                ratio(ttft("VTC", "tenant-3"), ttft("VTC", "tenant-2")),
            ),
            Claim(
                "under FCFS it waits {} times as long: all wait alike",
                AT_MOST,
                1.1,
                ratio(ttft("FCFS", "tenant-3"), ttft("FCFS", "tenant-2")),
            ),
        ],
    ),
    Experiment(
        key="fig5",
        title="Figure 5: a tenant that comes and goes, below its share",
        setting="Tenant 1 sends 30 requests a minute, on and off every 60 s; tenant 2 sends 120 all the time.",
        trials=trials("on_off_less"),
        picture=_wait_picture("fig5", "A tenant below its share that is on and off by turns"),
        printed=_printed_waits("fig5"),
        claims=[
            Claim(
                "tenant 1 waits {} times longer under FCFS than under VTC",
                AT_LEAST,
                10,
                ratio(ttft("FCFS", "tenant-1"), ttft("VTC", "tenant-1")),
            )
        ],
    ),
    Experiment(
        key="fig6",
        title="Figure 6: a tenant that comes and goes, over its share",
        setting="Tenant 1 sends 120 requests a minute, on and off every 60 s; tenant 2 sends 180 all the time.",
        trials=trials("on_off_overload", "lcf"),
        picture=_gap_picture("fig6", "On and off, and over its share while it is on"),
        printed=_printed_gaps("fig6"),
        claims=[_times_smaller(5), BOUNDED],
    ),
    Experiment(
        key="fig7",
        title="Figure 7: many short requests against few long ones",
        setting="Poisson arrivals: 480 a minute of 64 in and 64 out against 90 a minute of 256 in and 256 out.",
        trials=trials("poisson_short_long"),
        picture=_gap_picture("fig7", "Many short requests against few long ones"),
        printed=_printed_gaps("fig7"),
        claims=[_times_smaller(5), BOUNDED],
    ),
    Experiment(
        key="fig8",
        title="Figure 8: long prompts against long answers",
        setting="Poisson arrivals: 480 a minute of 512 in and 32 out against 90 a minute of 32 in and 512 out.",
        trials=trials("poisson_short_long_2"),
        picture=_gap_picture("fig8", "Long prompts with short answers against the opposite", bound=None),
        printed=[
            Printed("largest gap, VTC", LARGEST_GAP["fig8"]["VTC"], " cost", largest_gap("VTC")),
            Printed("gap after 300 s, FCFS", LARGEST_GAP["fig8"]["FCFS"], " cost", gap_at("FCFS", 300)),
        ],
        claims=[
            Claim(
                "under VTC the gap of the second five minutes is {} times that of the first: it does not grow",
                AT_MOST,
                1.5,
                ratio(gap_between("VTC", 300, 570), gap_between("VTC", 0, 300)),
            ),
            _times_smaller(3),
        ],
    ),
    Experiment(
        key="fig9",
        title="Figure 9: a steady tenant beside one that grows",
        setting="Tenant 1 sends 30 requests a minute; tenant 2 rises from 12 to 120.",
        trials=trials("increase"),
        picture=_wait_picture("fig9", "A steady tenant beside one that grows beyond its share"),
        printed=_printed_waits("fig9"),
        claims=[
            Claim(
                "the steady tenant waits {} times longer under FCFS than under VTC",
                AT_LEAST,
                5,
                ratio(ttft("FCFS", "tenant-1"), ttft("VTC", "tenant-1")),
            )
        ],
    ),
    Experiment(
        key="fig10",
        title="Figure 10: three phases, and credit from an idle time",
        setting="Five minutes each: on/off at 30 against 120 a minute; 60 against 60; 30 against 90.",
        trials=trials("dist_shift", "lcf"),
        picture=picture(
            "Three phases of five minutes (the second is shaded)",
            "What each of two tenants gets over fifteen minutes, one panel each for VTC, LCF and FCFS.",
            rates("VTC", shade=(300, 600)),
            rates("LCF", shade=(300, 600)),
            rates("FCFS", shade=(300, 600)),
        ),
        printed=[
            Printed(
                f"service of tenant-{place} in phase 2, {label}",
                value,
                " cost/s",
                rate_between(label, f"tenant-{place}", 300, 600),
            )
            for label, values in SHIFTED_RATES.items()
            for place, value in enumerate(values, 1)
        ],
        claims=[
            Claim(
                "in phase 2 VTC serves tenant 1 {} times as much as tenant 2",
                AT_MOST,
                1.05,
                ratio(rate_between("VTC", "tenant-1", 300, 600), rate_between("VTC", "tenant-2", 300, 600)),
            ),
            Claim(
                "LCF, which lets idle time count as credit, serves it {} times as much",
                AT_LEAST,
                1.15,
                ratio(rate_between("LCF", "tenant-1", 300, 600), rate_between("LCF", "tenant-2", 300, 600)),
            ),
        ],
    ),
)
