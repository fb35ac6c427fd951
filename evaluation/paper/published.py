"""What the paper printed: the numbers that stand beside ours, each with its source.

Source: Sheng et al., "Fairness in Serving Large Language Models", OSDI '24, arXiv 2401.00588, and the public artifact
`Ying1123/VTC-artifact` at commit 192c2e2. Published on Llama-2-7B and one A10G with a pool of 10,000 KV tokens, but for
Figure 15 (Llama-2-13B, A100).
"""

from collections.abc import Mapping
from dataclasses import dataclass

PAPER = "'Fairness in Serving Large Language Models' (Sheng et al., OSDI '24, arXiv 2401.00588)"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a published table: difference in cost per second, throughput in tokens per second."""

    max_difference: float
    average_difference: float
    difference_variance: float
    tokens_per_second: float


Table = Mapping[str, Row]

TABLE_2: Table = {
    "FCFS": Row(759.97, 433.53, 32112.00, 777),
    "LCF": Row(750.49, 323.82, 29088.90, 778),
    "VTC": Row(368.40, 251.66, 6549.16, 779),
    "VTC predict": Row(365.47, 240.33, 5321.62, 773),
    "VTC oracle": Row(329.46, 227.51, 4475.76, 781),
    "RPM 5": Row(143.86, 83.58, 1020.46, 340),
    "RPM 20": Row(446.76, 195.71, 7449.79, 694),
    "RPM 30": Row(693.66, 309.45, 24221.31, 747),
}
TABLE_3: Table = {
    "FCFS": Row(743.23, 457.29, 26645.42, 777),
    "LCF": Row(709.35, 384.78, 23299.20, 778),
    "VTC": Row(707.35, 368.74, 21918.67, 780),
    "VTC oracle": Row(387.43, 277.18, 4541.57, 783),
    "RPM 5": Row(230.78, 151.00, 823.15, 340),
    "RPM 20": Row(445.34, 270.51, 5938.52, 694),
    "RPM 30": Row(801.16, 377.22, 25980.39, 747),
}
TABLE_4: Table = {
    "FCFS": Row(323.18, 317.13, 15.98, 876),
    "VTC": Row(137.27, 74.87, 2819.40, 900),
    "VTC oracle": Row(4.28, 0.34, 0.91, 893),
}
TABLE_5: Table = {
    "VTC": Row(192.88, 103.77, 6981.24, 893),
    "VTC ±50 %": Row(33.98, 12.54, 111.94, 904),
    "VTC oracle": Row(5.87, 0.51, 1.71, 895),
}
TABLE_6: Table = {
    "VTC": Row(322.16, 162.20, 5151.49, 875),
    "VTC ±50 %": Row(99.43, 66.32, 487.10, 875),
    "VTC oracle": Row(43.23, 36.34, 56.52, 875),
}

# Largest gap between the accumulated services of two tenants, in cost units, by figure and policy.
LARGEST_GAP: Mapping[str, Mapping[str, float]] = {
    "fig3": {"VTC": 7_700, "FCFS": 249_000},
    "fig6": {"VTC": 8_700, "FCFS": 371_000},
    "fig7": {"VTC": 18_000, "FCFS": 212_000},
    "fig8": {"VTC": 41_000, "FCFS": 326_000},
    "fig15": {"35k": 27_000, "65k": 53_000},
}
# Mean TTFT in seconds, by figure, policy and tenant.
MEAN_TTFT: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "fig4": {"VTC": (4.8, 4.9, 124.0), "FCFS": (97.0, 97.0, 96.0)},
    "fig5": {"VTC": (3.5, 102.0), "FCFS": (85.0, 93.0)},
    "fig9": {"VTC": (0.35,), "FCFS": (7.2,)},
}
# Mean TTFT in seconds of the 20 smallest of the 27 clients of the real trace.
SMALL_CLIENTS_TTFT: Mapping[str, float] = {"FCFS": 56.0, "VTC": 3.1}
# Cost per second of the two tenants in the second of three phases.
SHIFTED_RATES: Mapping[str, tuple[float, float]] = {"VTC": (680.0, 680.0), "LCF": (771.0, 591.0)}
