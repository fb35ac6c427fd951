"""Figure 15 (requests and pools of other sizes), 16 (weights) and 19, Tables 4 to 6 (the lengths known in advance)."""

from collections.abc import Mapping, Sequence

from evaluation.console.verdicts import Comparison
from evaluation.metrics import jain_index
from evaluation.paper.experiment import Claim, Comparability, Experiment, Printed, Trial, ratio
from evaluation.paper.experiments.measures import gap_between, largest_difference, largest_gap, of
from evaluation.paper.experiments.synthetic import TWO_U
from evaluation.paper.figures.builders import bars, gaps, picture, rates
from evaluation.paper.published import LARGEST_GAP, TABLE_4, TABLE_5, TABLE_6
from evaluation.paper.reading import Reading

WARM_UP_SECONDS = 120.0

LENGTHS: Mapping[str, Trial] = {
    f"{tokens} tokens": Trial(f"pool_35k_{tokens}", pool_tokens=35_000) for tokens in (256, 512, 768)
}
POOLS: Mapping[str, Trial] = {
    "35k pool": LENGTHS["512 tokens"],
    "65k pool": Trial("pool_65k_512", pool_tokens=65_000),
}
OVERLOAD: Mapping[str, Trial] = {
    "VTC": Trial("overload"),
    "VTC ±50 %": Trial("overload", predictor="noisy_oracle:50%"),
    "VTC oracle": Trial("overload", predictor="oracle"),
}
OVERLOAD_MULTI: Mapping[str, Trial] = {
    "VTC": Trial("overload_multi"),
    "VTC ±50 %": Trial("overload_multi", predictor="noisy_oracle:50%"),
    "VTC oracle": Trial("overload_multi", predictor="oracle"),
}


def per_weight(reading: Reading) -> list[float]:
    """Service at the end of the fifth minute over the weight, the weights being 1, 2, 3, ... by name of tenant."""
    at = reading.series.ticks.index(300.0)
    return [totals[at] / weight for weight, (_, totals) in enumerate(sorted(reading.series.totals.items()), 1)]


PREDICTED: Sequence[Experiment] = (
    Experiment(
        key="fig15",
        title="Figure 15: longer requests, a larger pool",
        setting=(
            "Two tenants over their share at 1 : 2; pools of 35,000 and 65,000 tokens. The published runs are of "
            "Llama-2-13B on an A100; ours keep the speed of the A10G model, since the gap depends on the pool alone."
        ),
        trials={**LENGTHS, **POOLS},
        picture=picture(
            "Longer requests, a larger pool",
            "Gap between two tenants over time, for requests of three lengths and for pools of two sizes.",
            gaps("Pool of 35,000 tokens", labels=list(LENGTHS), from_second=WARM_UP_SECONDS),
            gaps(
                "Requests of 512 in, 512 out",
                labels=list(POOLS),
                marks={f"{size} pool": gap for size, gap in LARGEST_GAP["fig15"].items()},
                from_second=WARM_UP_SECONDS,
            ),
        ),
        printed=[
            Printed(
                f"largest gap after warm-up, pool of {size}",
                gap,
                " cost",
                gap_between(f"{size} pool", WARM_UP_SECONDS, 600),
            )
            for size, gap in LARGEST_GAP["fig15"].items()
        ],
        claims=[
            Claim(
                "with a pool 1.86 times as large the gap is {} times as large",
                Comparison.AT_LEAST,
                1.2,
                ratio(gap_between("65k pool", WARM_UP_SECONDS, 600), gap_between("35k pool", WARM_UP_SECONDS, 600)),
            )
        ],
    ),
    Experiment(
        key="fig16",
        title="Figure 16: weights 1 : 2 : 3 : 4, with equal demand",
        setting=(
            "Four tenants with 66 requests a minute each. In the published run the demand has the same ratio as the "
            "weights, so that any policy would look weighted; here all ask for the same."
        ),
        trials={"VTC": Trial("weighted"), "FCFS": Trial("weighted", "fcfs")},
        picture=picture(
            "Equal demand, weights of 1, 2, 3 and 4",
            "What each of four tenants gets over ten minutes, under VTC and under FCFS.",
            rates("VTC", top=700),
            rates("FCFS", top=700),
        ),
        claims=[
            Claim(
                "under VTC the most and the least served tenant per weight are {} times apart",
                Comparison.AT_MOST,
                1.1,
                of("VTC", lambda reading: max(per_weight(reading)) / min(per_weight(reading))),
            ),
            Claim(
                "Jain's index of service per weight is {}",
                Comparison.AT_LEAST,
                0.99,
                of("VTC", lambda reading: jain_index(per_weight(reading))),
            ),
            Claim(
                "under FCFS they are {} times apart",
                Comparison.AT_LEAST,
                3,
                of("FCFS", lambda reading: max(per_weight(reading)) / min(per_weight(reading))),
            ),
        ],
    ),
    Experiment(
        key="fig19",
        title="Figure 19: knowing the length in advance",
        setting="Two tenants over their share; VTC, VTC with predictions off by up to 50 %, VTC with exact ones.",
        trials=OVERLOAD,
        picture=picture(
            "What a prediction is worth",
            "Gap between two tenants over time and largest difference, by quality of the prediction.",
            gaps("Accumulated gap between the tenants"),
            bars(
                "Largest difference",
                "cost per second",
                lambda reading: reading.summary.difference.maximum,
                published={label: row.max_difference for label, row in TABLE_5.items()},
            ),
        ),
        claims=[
            Claim(
                "VTC's largest difference is {} times that with predictions off by up to 50 %",
                Comparison.AT_LEAST,
                3,
                ratio(largest_difference("VTC"), largest_difference("VTC ±50 %")),
            ),
            Claim(
                "and {} times that with exact ones",
                Comparison.AT_LEAST,
                5,
                ratio(largest_difference("VTC"), largest_difference("VTC oracle")),
            ),
            Claim(
                "the gap of VTC without a prediction reaches {} of 2U",
                Comparison.AT_MOST,
                1,
                lambda readings: largest_gap("VTC")(readings) / TWO_U,
            ),
        ],
    ),
    Experiment(
        key="table4",
        title="Table 4: two overloaded tenants, service as profiled cost",
        setting="The workload of Figure 3; VTC charges the profiled cost, and service is measured in it.",
        trials={
            "FCFS": Trial("overload", "fcfs"),
            "VTC": Trial("overload", profiled=True),
            "VTC oracle": Trial("overload", predictor="oracle", profiled=True),
        },
        table=Comparability(TABLE_4, profiled=True, factor=2, held=tuple(TABLE_4)),
    ),
    Experiment(
        key="table5",
        title="Table 5: two overloaded tenants, by quality of the prediction",
        setting="The workload of Figure 3.",
        trials=OVERLOAD,
        table=Comparability(TABLE_5, factor=2, ordered=True, held=tuple(TABLE_5)),
    ),
    Experiment(
        key="table6",
        title="Table 6: eight overloaded tenants, by quality of the prediction",
        setting="Three tenants with 24 requests a minute, five with 36; 256 tokens in, 256 out.",
        trials=OVERLOAD_MULTI,
        table=Comparability(TABLE_6, factor=2, ordered=True, held=tuple(TABLE_6)),
    ),
)
