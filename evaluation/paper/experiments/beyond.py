"""What the paper leaves out: tails, unknown lengths, disconnects, the window, identities, noise, speed, a flood.

All but `tails`, `identities`, `noise` and `speed` run on the engine model that behaves as vLLM does, behind the
gateway's window.
"""

from collections.abc import Mapping, Sequence

from evaluation.console.verdicts import Comparison
from evaluation.paper.experiment import Claim, Experiment, Trial, ratio
from evaluation.paper.experiments.measures import (
    apart,
    average_difference,
    largest_gap,
    of,
    service_of,
    spread_over_bound,
    tokens_per_second,
    ttft,
    worst,
)
from evaluation.paper.experiments.traced import LINEAR
from evaluation.paper.figures.builders import bars, gaps, picture, rates
from evaluation.paper.figures.clients import bounds, shares
from evaluation.simulation import EngineModel

VLLM = EngineModel.VLLM
WINDOWS = (8, 16, 32, 64, 128)
NOISES = (0, 10, 25, 50, 100)

UNKNOWN: Mapping[str, Trial] = {
    "VTC": Trial("unknown_lengths", engine=VLLM),
    "VTC predict": Trial("unknown_lengths", predictor="moving_average", engine=VLLM),
    "VTC quantile": Trial("unknown_lengths", predictor="quantile", engine=VLLM),
    "VTC stated maximum": Trial("unknown_lengths", predictor="oracle", engine=VLLM),
    "FCFS": Trial("unknown_lengths", "fcfs", engine=VLLM),
}
WINDOWED: Mapping[str, Trial] = {
    f"window {size}": Trial("overload", engine=VLLM, window_requests=size) for size in WINDOWS
}
NOISY: Mapping[str, Trial] = {
    "none": Trial("overload"),
    **{f"±{noise} %": Trial("overload", predictor=f"noisy_oracle:{noise}%") for noise in NOISES},
}
SLOWER = (-5, 0, 3, 5, 8)


def _signed(percent: int) -> str:
    return f"{percent:+d} %" if percent else "as it is"


BEYOND: Sequence[Experiment] = (
    Experiment(
        key="tails",
        title="Tails and Jain's index: the real trace",
        setting="The runs of Table 2. A mean hides who waited longest; a difference hides how it is spread.",
        trials={label: LINEAR[label] for label in ("FCFS", "LCF", "VTC", "VTC oracle", "RPM 20")},
        picture=picture(
            "The last percent, and how even the shares are",
            "The p99 of all requests rises under VTC, since the largest clients wait; the modest ones hardly do.",
            bars("p99 TTFT of the modest clients' requests", "seconds", lambda r: r.summary.isolation.p99_ttft_seconds),
            bars("p99 TTFT of all requests", "seconds", lambda r: r.summary.p99_ttft_seconds),
            bars("Jain's index of service over max-min share", "1 is even", lambda r: r.summary.jain_index),
        ),
        claims=[
            Claim(
                "Jain's index under VTC is {} times that under FCFS",
                Comparison.ABOVE,
                1,
                ratio(of("VTC", lambda r: r.summary.jain_index), of("FCFS", lambda r: r.summary.jain_index)),
            )
        ],
        is_beyond=True,
    ),
    Experiment(
        key="unknown_lengths",
        title="Unknown lengths: what they cost",
        setting=(
            "Two tenants over their share whose answers are much shorter than the maximum that they state; "
            "an engine like vLLM (chunked prefill, preemption) behind the window of the gateway."
        ),
        trials=UNKNOWN,
        picture=picture(
            "An engine that does not know how long an answer will be",
            "The gap under VTC stays bounded whatever is predicted; under FCFS it grows.",
            gaps(labels=["VTC", "VTC quantile", "VTC stated maximum", "FCFS"]),
            bars("Largest gap", "cost (input + 2 x output)", lambda r: r.largest_gap),
            bars("Throughput", "tokens per second", lambda r: r.summary.tokens_per_second),
        ),
        claims=[
            Claim(
                "the observed spread of the counters reaches {} of the bound that the gateway computes",
                Comparison.AT_MOST,
                1,
                worst(*(spread_over_bound(label) for label in UNKNOWN if label != "FCFS")),
            ),
            Claim(
                "FCFS's largest gap is {} times VTC's",
                Comparison.AT_LEAST,
                3,
                ratio(largest_gap("FCFS"), largest_gap("VTC")),
            ),
            Claim(
                "VTC with the gateway's own predictor (quantile) has {} of the throughput of FCFS",
                Comparison.AT_LEAST,
                0.97,
                ratio(tokens_per_second("VTC quantile"), tokens_per_second("FCFS")),
            ),
        ],
        is_beyond=True,
    ),
    Experiment(
        key="disconnects",
        title="Clients that leave in the middle of an answer",
        setting="Two tenants over their share; four of five clients of one leave somewhere in their answer.",
        trials={
            "VTC": Trial("disconnects", engine=VLLM),
            "VTC oracle": Trial("disconnects", predictor="oracle", engine=VLLM),
            "FCFS": Trial("disconnects", "fcfs", engine=VLLM),
        },
        picture=picture(
            "To leave early gains nothing and costs nothing",
            "Both tenants get the same service although one leaves most answers unfinished.",
            rates("VTC"),
            rates("VTC oracle"),
            rates("FCFS"),
        ),
        claims=[
            Claim(
                "the tenant whose clients leave gets {} times the service of the other",
                Comparison.AT_MOST,
                1.1,
                apart("VTC", "leaves", "stays"),
            ),
            Claim(
                "the observed spread of the counters reaches {} of the computed bound",
                Comparison.AT_MOST,
                1,
                worst(spread_over_bound("VTC"), spread_over_bound("VTC oracle")),
            ),
        ],
        is_beyond=True,
    ),
    Experiment(
        key="window",
        title="The window is the bound",
        setting="The workload of Figure 3 on an engine like vLLM, with 8 to 128 requests in flight at once.",
        trials=WINDOWED,
        picture=picture(
            "What is in flight bounds the unfairness, and feeds the engine",
            "Bound and observed spread grow with the window; so does the throughput, until the engine is full.",
            bounds(),
            bars("Throughput", "tokens per second", lambda r: r.summary.tokens_per_second),
        ),
        claims=[
            Claim(
                "the observed spread reaches {} of the computed bound",
                Comparison.AT_MOST,
                1,
                worst(*(spread_over_bound(label) for label in WINDOWED)),
            ),
            Claim(
                "a window of 128 requests has {} times the bound of a window of 8",
                Comparison.AT_LEAST,
                4,
                ratio(of("window 128", lambda r: r.bound.bound), of("window 8", lambda r: r.bound.bound)),
            ),
        ],
        is_beyond=True,
    ),
    Experiment(
        key="identities",
        title="Many names for one tenant",
        setting=(
            "Two tenants that ask for the same, over their share; one comes with eight keys. Two levels divide between "
            "tenants first, one level takes every key for a tenant."
        ),
        trials={
            "two levels": Trial("split_keys"),
            "one level": Trial("split_keys", keys_share=False),
        },
        picture=picture(
            "Splitting into many keys gains nothing where keys share what their tenant gets",
            "With two levels both tenants get the same; with one level the tenant with eight keys takes most.",
            shares("two levels"),
            shares("one level"),
        ),
        claims=[
            Claim(
                "with two levels the tenant with eight keys gets {} times the service of the other",
                Comparison.AT_MOST,
                1.05,
                ratio(service_of("two levels", "many-keys"), service_of("two levels", "one-key")),
            ),
            Claim(
                "with one level it gets {} times",
                Comparison.AT_LEAST,
                2,
                ratio(service_of("one level", "many-keys"), service_of("one level", "one-key")),
            ),
        ],
        is_beyond=True,
    ),
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
        key="flood",
        title="A flood",
        setting="A modest tenant (10 requests a minute) beside one that sends 1,000, on an engine like vLLM.",
        trials={
            "VTC": Trial("isolation", engine=VLLM),
            "DRR": Trial("isolation", "drr", engine=VLLM),
            "FCFS": Trial("isolation", "fcfs", engine=VLLM),
        },
        picture=picture(
            "A modest tenant beside a flood",
            "Under VTC the modest tenant waits for one release of room; under FCFS behind the whole flood.",
            bars(
                "The modest tenant's mean TTFT",
                "seconds",
                lambda r: r.tenant("modest").mean_ttft_seconds,
            ),
            bars(
                "Its p99",
                "seconds",
                lambda r: r.tenant("modest").p99_ttft_seconds,
            ),
            bars("Throughput", "tokens per second", lambda r: r.summary.tokens_per_second),
        ),
        claims=[
            Claim(
                "it waits {} times longer under FCFS than under VTC",
                Comparison.AT_LEAST,
                20,
                ratio(ttft("FCFS", "modest"), ttft("VTC", "modest")),
            )
        ],
        is_beyond=True,
    ),
)
