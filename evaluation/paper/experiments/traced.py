"""Figures 11 to 14, Tables 2 and 3: the real trace of 27 clients, or the generated one where it is not given."""

from collections.abc import Callable, Mapping, Sequence

from evaluation.console.verdicts import Comparison
from evaluation.paper.experiment import TRACE, Claim, Comparability, Experiment, Measure, Printed, Trial, ratio
from evaluation.paper.experiments.measures import average_difference, of, small_clients_ttft, tokens_per_second
from evaluation.paper.figures.builders import bars, picture
from evaluation.paper.figures.clients import client_waits, demand_of_clients, requests_of_clients
from evaluation.paper.published import SMALL_CLIENTS_TTFT, TABLE_2, TABLE_3
from evaluation.paper.reading import Reading

LIMITS = (5, 10, 15, 20, 30)
LINEAR: Mapping[str, Trial] = {
    "FCFS": Trial(TRACE, "fcfs"),
    "LCF": Trial(TRACE, "lcf"),
    "VTC": Trial(TRACE),
    "VTC predict": Trial(TRACE, predictor="moving_average"),
    "VTC oracle": Trial(TRACE, predictor="oracle"),
    **{f"RPM {limit}": Trial(TRACE, f"rpm:{limit}") for limit in LIMITS},
}
PROFILED: Mapping[str, Trial] = {
    **{label: LINEAR[label] for label in ("FCFS", "LCF", "RPM 5", "RPM 20", "RPM 30")},
    "VTC": Trial(TRACE, profiled=True),
    "VTC oracle": Trial(TRACE, predictor="oracle", profiled=True),
}


def from_published(label: str, average: Callable[[Reading], float]) -> Measure:
    """How far an average lies from that of the published Table 3, percent either way."""
    return of(label, lambda reading: 100 * abs(average(reading) / TABLE_3[label].average_difference - 1))


TRACED: Sequence[Experiment] = (
    Experiment(
        key="fig11",
        title="Figure 11: the real trace",
        setting="1,500 requests of 27 clients in ten minutes; three clients send half of them.",
        trials={"VTC": LINEAR["VTC"]},
        picture=picture(
            "Who asks for how much",
            "Bars: requests of every client. Lines: cost per second that each client asks for over ten minutes.",
            requests_of_clients("VTC"),
            demand_of_clients("VTC"),
        ),
    ),
    Experiment(
        key="fig12",
        title="Figure 12: waiting under FCFS and under VTC",
        setting="The trace; two medium and the two largest of the 27 clients are named, the others grey.",
        trials={label: LINEAR[label] for label in ("FCFS", "VTC")},
        picture=picture(
            "Time to first token of every client",
            "Mean time to first token of every client over ten minutes, one panel for FCFS and one for VTC.",
            client_waits("FCFS"),
            client_waits("VTC"),
        ),
        printed=[
            Printed(f"mean TTFT of the 20 smallest clients, {label}", value, " s", small_clients_ttft(label))
            for label, value in SMALL_CLIENTS_TTFT.items()
        ],
        claims=[
            Claim(
                "the 20 smallest clients wait {} times longer under FCFS than under VTC",
                Comparison.AT_LEAST,
                5,
                ratio(small_clients_ttft("FCFS"), small_clients_ttft("VTC")),
            )
        ],
        needs_trace=True,
    ),
    Experiment(
        key="fig13",
        title="Figure 13: waiting under a limit of requests per minute",
        setting="The trace under RPM(n): an arrival beyond n a minute is refused for good, the rest is FCFS.",
        trials={f"RPM {limit}": LINEAR[f"RPM {limit}"] for limit in LIMITS[:4]},
        picture=picture(
            "Time to first token under a limit of requests per minute",
            "Mean time to first token of every client over ten minutes, one panel for each limit.",
            *[client_waits(f"RPM {limit}") for limit in LIMITS[:4]],
        ),
        claims=[
            Claim(
                "a limit of 20 lets the 20 smallest clients wait {} times as long as a limit of 5",
                Comparison.ABOVE,
                1,
                ratio(small_clients_ttft("RPM 20"), small_clients_ttft("RPM 5")),
            )
        ],
    ),
    Experiment(
        key="fig14",
        title="Figure 14: what a limit costs in throughput",
        setting="The trace under RPM(5) to RPM(30) and under VTC, which refuses nobody.",
        trials={label: LINEAR[label] for label in (*(f"RPM {limit}" for limit in LIMITS), "VTC")},
        picture=picture(
            "Throughput and refusals by limit",
            "Bars: throughput and share of refused requests for five limits and for VTC.",
            bars(
                "Throughput",
                "tokens per second",
                lambda reading: reading.summary.tokens_per_second,
                published={label: row.tokens_per_second for label, row in TABLE_2.items()},
            ),
            bars("Refused for good", "% of the requests", lambda reading: 100 * reading.summary.refused_share),
        ),
        claims=[
            Claim(
                "VTC's throughput is {} times that of RPM(5)",
                Comparison.AT_LEAST,
                1.5,
                ratio(tokens_per_second("VTC"), tokens_per_second("RPM 5")),
            )
        ],
    ),
    Experiment(
        key="table2",
        title="Table 2: the real trace, every policy",
        setting="The trace; difference in tokens (input + 2 x output) per second, over 19 ticks of the ten minutes.",
        trials=LINEAR,
        picture=picture(
            "Service difference and throughput, every policy",
            "Bars: average difference and throughput of every policy, with the published values as diamonds.",
            bars(
                "Average difference",
                "cost per second",
                lambda reading: reading.summary.difference.average,
                published={label: row.average_difference for label, row in TABLE_2.items()},
            ),
            bars(
                "Throughput",
                "tokens per second",
                lambda reading: reading.summary.tokens_per_second,
                published={label: row.tokens_per_second for label, row in TABLE_2.items()},
            ),
        ),
        table=Comparability(TABLE_2, within=0.15, throughput_within=0.03, held=tuple(TABLE_2), ordered=True),
        claims=[
            Claim(
                "FCFS's average difference is {} times VTC's",
                Comparison.AT_LEAST,
                1.3,
                ratio(average_difference("FCFS"), average_difference("VTC")),
            ),
            Claim(
                "with what RPM(5) refuses counted as demand, its average difference is {} times as large",
                Comparison.AT_LEAST,
                1.5,
                ratio(
                    of("RPM 5", lambda reading: reading.summary.difference_with_refused.average),
                    average_difference("RPM 5"),
                ),
            ),
        ],
        needs_trace=True,
    ),
    Experiment(
        key="table3",
        title="Table 3: the real trace, service as profiled cost",
        setting=(
            "The same runs with service as the profiled cost, which VTC then charges too. In the published table the "
            "demand is still in tokens, which is not the unit of service; the first table does the same to be "
            "comparable, the second has both in one unit."
        ),
        trials=PROFILED,
        table=Comparability(TABLE_3, profiled=True, within=0.15, held=tuple(TABLE_3)),
        claims=[
            Claim(
                "with demand in tokens the average of RPM(5) lies {} from the published",
                Comparison.AT_MOST,
                5,
                from_published("RPM 5", lambda reading: reading.profiled_as_published.average),
                " %",
            ),
            Claim(
                "with demand in the unit of service it lies {} from it: the published table mixes units",
                Comparison.AT_LEAST,
                20,
                from_published("RPM 5", lambda reading: reading.profiled.average),
                " %",
            ),
        ],
        needs_trace=True,
    ),
)
