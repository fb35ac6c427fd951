"""What the paper leaves out: tails, unknown lengths, disconnects, the window, identities, a flood.

`unknown_lengths`, `disconnects`, `window` and `flood` run on the engine model that behaves as vLLM does, behind the
gateway's window.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from evaluation.console.verdicts import Comparison
from evaluation.paper.experiment import Claim, Experiment, Trial, ratio
from evaluation.paper.experiments.measures import (
    apart,
    largest_gap,
    of,
    service_of,
    spread_over_bound,
    tokens_per_second,
    ttft,
    violations,
    worst,
)
from evaluation.paper.experiments.traced import LINEAR
from evaluation.paper.figures.builders import bars, gaps, picture, rates
from evaluation.paper.figures.clients import bounds, shares
from evaluation.simulation import EngineModel

# The engine that behaves as vLLM does; the ten minutes that are measured, whatever is left over.
on_vllm = partial(Trial, engine=EngineModel.VLLM, until_seconds=640)
WINDOWS = (8, 16, 32, 64, 128)

UNKNOWN: Mapping[str, Trial] = {
    "VTC": on_vllm("unknown_lengths"),
    "VTC predict": on_vllm("unknown_lengths", predictor="moving_average"),
    "VTC quantile": on_vllm("unknown_lengths", predictor="quantile"),
    "VTC stated maximum": on_vllm("unknown_lengths", predictor="oracle"),
    "FCFS": on_vllm("unknown_lengths", "fcfs"),
}
WINDOWED: Mapping[str, Trial] = {f"window {size}": on_vllm("overload", window_requests=size) for size in WINDOWS}

BEYOND: Sequence[Experiment] = (
    Experiment(
        key="tails",
        title="Tails and Jain's index: the real trace",
        setting="The runs of Table 2. A mean hides who waited longest; a difference hides how it is spread.",
        trials={label: LINEAR[label] for label in ("FCFS", "LCF", "VTC", "VTC oracle", "RPM 20")},
        picture=picture(
            "The last percent, and how even the shares are",
            "Bars by policy: p99 TTFT of modest clients and of all, Jain's index over max-min share.",
            bars("p99 TTFT of the modest clients' requests", "seconds", lambda r: r.summary.isolation.p99_ttft_seconds),
            bars("p99 TTFT of all requests", "seconds", lambda r: r.summary.p99_ttft_seconds),
            bars("Jain's index over max-min share", "1 is even", lambda r: r.summary.jain_index),
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
            "Gap between two tenants over time, largest gap and throughput, by policy and predictor.",
            gaps(labels=["VTC", "VTC quantile", "VTC stated maximum", "FCFS"]),
            bars("Largest gap", "cost (input + 2 x output)", lambda r: r.largest_gap),
            bars("Throughput", "tokens per second", lambda r: r.summary.tokens_per_second),
        ),
        claims=[
            Claim(
                "the spread of the counters was over the bound of the moment {} times",
                Comparison.AT_MOST,
                0,
                violations(*(label for label in UNKNOWN if label != "FCFS")),
            ),
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
            "VTC": on_vllm("disconnects"),
            "VTC oracle": on_vllm("disconnects", predictor="oracle"),
            "FCFS": on_vllm("disconnects", "fcfs"),
        },
        picture=picture(
            "Service where clients leave in the middle of an answer",
            "What each of two tenants gets over time, under VTC, VTC with predictions, and FCFS.",
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
                "the spread of the counters was over the bound of the moment {} times",
                Comparison.AT_MOST,
                0,
                violations("VTC", "VTC oracle"),
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
        title="The window: bound and throughput",
        setting="The workload of Figure 3 on an engine like vLLM, with 8 to 128 requests in flight at once.",
        trials=WINDOWED,
        picture=picture(
            "Bound, observed spread and throughput by size of the window",
            "Bars for five windows: computed bound, observed spread of the counters, throughput.",
            bounds(),
            bars("Throughput", "tokens per second", lambda r: r.summary.tokens_per_second),
        ),
        claims=[
            Claim(
                "the spread of the counters was over the bound of the moment {} times",
                Comparison.AT_MOST,
                0,
                violations(*WINDOWED),
            ),
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
            "Two tenants that ask for the same, one of them with eight keys",
            "Accumulated service of both tenants over time, with two levels and with one.",
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
        key="flood",
        title="A flood",
        setting="A modest tenant (10 requests a minute) beside one that sends 1,000, on an engine like vLLM.",
        trials={
            "VTC": on_vllm("isolation"),
            "DRR": on_vllm("isolation", "drr"),
            "FCFS": on_vllm("isolation", "fcfs"),
        },
        picture=picture(
            "A modest tenant beside a flood",
            "Bars by policy: mean and p99 TTFT of the modest tenant, throughput of the engine.",
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
                "under FCFS it waits {} times as long as under VTC, where it is served at all",
                Comparison.AT_LEAST,
                20,
                ratio(ttft("FCFS", "modest"), ttft("VTC", "modest")),
            )
        ],
        is_beyond=True,
    ),
)
