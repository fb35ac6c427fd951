"""PURE: from what became of the requests to numbers: service, differences, waits, isolation, general statistics.

`curve` spreads costs over time; `service` has the published measures (difference, accumulated gap, throughput);
`response` TTFTs and endings; `isolation` how modest tenants fare, and Jain's index; `summary` a whole run; `statistics`
what is known of any list of numbers.
"""

from evaluation.metrics.curve import Curve, Span
from evaluation.metrics.isolation import Isolation, Loaded, loaded_time, measure_isolation, measure_jain
from evaluation.metrics.response import TenantSummary, by_tenant, refused_share, response_at, summarise_tenant, ttfts
from evaluation.metrics.service import (
    FIGURE_TICKS,
    TABLE_TICKS,
    WINDOW_SECONDS,
    Difference,
    Service,
    cost_received,
    cost_wanted,
    measure_difference,
    measure_service,
    throughput,
    tokens_wanted,
)
from evaluation.metrics.statistics import jain_index, max_min_shares, mean, median, percentile, variance
from evaluation.metrics.summary import Measure, RunSummary, summarise

__all__ = [
    "FIGURE_TICKS",
    "TABLE_TICKS",
    "WINDOW_SECONDS",
    "Curve",
    "Difference",
    "Isolation",
    "Loaded",
    "Measure",
    "RunSummary",
    "Service",
    "Span",
    "TenantSummary",
    "by_tenant",
    "cost_received",
    "cost_wanted",
    "jain_index",
    "loaded_time",
    "max_min_shares",
    "mean",
    "measure_difference",
    "measure_isolation",
    "measure_jain",
    "measure_service",
    "median",
    "percentile",
    "refused_share",
    "response_at",
    "summarise",
    "summarise_tenant",
    "throughput",
    "tokens_wanted",
    "ttfts",
    "variance",
]
