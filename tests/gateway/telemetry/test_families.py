"""The exposition text equals what prometheus-client's own parser reads back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.families import LINES_AT_ONCE, Counter, Family, Gauge, Histogram


def lines(family: Family) -> list[str]:
    """The samples of a family."""
    return [line for some in family.slices() for line in some]


def text_of(family: Family) -> str:
    """The head of a family and its samples."""
    return family.head() + "".join(lines(family))


def read(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 10**15), max_size=5))
def test_any_label_value_survives(values: dict[str, int]) -> None:
    """A label value with quotes, backslashes, newlines or any other character is read back unchanged."""
    counter = Counter("a_total", "Help.", ("x",))
    for value, amount in values.items():
        counter.add((value,), amount)
    assert read(text_of(counter)) == {("a_total", (("x", value),)): n for value, n in values.items()}


def test_a_counter_without_labels_is_there_from_the_start() -> None:
    """A counter is visible before its first event, because a rate over it needs the zero."""
    assert lines(Counter("a_total", "Help.")) == ["a_total 0\n"]


def test_integers_stay_exact() -> None:
    """Token counts above 2^53 do not lose ones."""
    counter = Counter("a_total", "Help.")
    counter.add((), 2**60)
    counter.add((), 1)
    assert lines(counter) == [f"a_total {2**60 + 1}\n"]


def test_a_gauge_forgets_what_it_has_shown() -> None:
    """A worker that left the configuration leaves the next scrape."""
    gauge = Gauge("g", "Help.", ("worker",))
    gauge.show(("w0",), 1)
    gauge.show(("w1",), 2.5)
    assert lines(gauge) == ['g{worker="w0"} 1\n', 'g{worker="w1"} 2.5\n']
    gauge.show(("w1",), 3)
    assert lines(gauge) == ['g{worker="w1"} 3\n']
    assert lines(gauge) == []


@pytest.mark.parametrize(
    ("value", "text"), [(math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN"), (1e22, "1e+22"), (-0.5, "-0.5")]
)
def test_special_values_are_spelled_as_the_format_wants(value: float, text: str) -> None:
    """Infinity and not-a-number have names of their own in the format."""
    gauge = Gauge("g", "Help.")
    gauge.show((), value)
    assert lines(gauge) == [f"g {text}\n"]


def test_buckets_are_cumulative_and_their_bounds_inclusive() -> None:
    """A value on a bound counts in that bucket; a value above the last only in +Inf."""
    histogram = Histogram("h", "Help.", bounds=(0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 1.0, 7.0):
        histogram.observe((), value)
    assert lines(histogram) == [
        'h_bucket{le="0.1"} 2\n',
        'h_bucket{le="1.0"} 4\n',
        'h_bucket{le="+Inf"} 5\n',
        "h_sum 8.65\n",
        "h_count 5\n",
    ]


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.floats(0, 10)), max_size=30))
def test_a_histogram_counts_like_the_definition(values: list[tuple[str, float]]) -> None:
    """Each bucket holds the values at most as large as its bound, per label."""
    bounds = (0.5, 1.0, 4.0)
    histogram = Histogram("h", "Help.", ("x",), bounds=bounds)
    for label, value in values:
        histogram.observe((label,), value)
    samples = read(text_of(histogram))
    for label in {label for label, _ in values}:
        own = [value for name, value in values if name == label]
        for bound, text in zip((*bounds, math.inf), ("0.5", "1.0", "4.0", "+Inf"), strict=True):
            key = ("h_bucket", (("le", text), ("x", label)))
            assert samples[key] == sum(value <= bound for value in own)
        assert samples["h_count", (("x", label),)] == len(own)
        assert samples["h_sum", (("x", label),)] == pytest.approx(sum(own))


@pytest.mark.parametrize("kind", ["counter", "histogram"])
def test_long_families_come_in_slices(kind: str) -> None:
    """No slice has more lines than one step may make, and a series that comes meanwhile disturbs none."""
    counter, histogram = Counter("a_total", "Help.", ("x",)), Histogram("h", "Help.", ("x",), bounds=(0.5, 1.0))
    series, family = (counter.series, counter) if kind == "counter" else (histogram.series, histogram)
    for number in range(3 * LINES_AT_ONCE):
        series((str(number),))
    sizes = []
    for some in family.slices():
        sizes.append(len(some))
        series((f"new {len(sizes)}",))
    assert sum(sizes) == 3 * LINES_AT_ONCE * (1 if kind == "counter" else 5)
    assert max(sizes) <= LINES_AT_ONCE


def test_help_is_escaped() -> None:
    """A help text with a backslash or a newline stays one line."""
    assert Counter("a_total", "one\\two\nthree").head() == "# HELP a_total one\\\\two\\nthree\n# TYPE a_total counter\n"
