"""The fit check of the paper's engine, by hand and against stepping through the future."""

from hypothesis import given
from hypothesis import strategies as st

from evaluation.simulation.forecast import Forecast

SIZES = st.tuples(st.integers(0, 30), st.integers(1, 40), st.integers(1, 40))


def fullest(sequences: list[tuple[int, int, int]], step: int) -> int:
    """Most tokens from `step` on, step by step: a sequence holds its prompt and what it generated, until its end."""
    held = [
        sum(prompt + now - start for start, prompt, output in sequences if now <= start + output)
        for now in range(step, step + 200)
    ]
    return max(held)


def test_a_sequence_alone_comes_to_its_prompt_and_its_answer() -> None:
    """Nothing else runs: 10 + 5."""
    assert Forecast().peak_with(7, 10, 5) == 15


def test_a_short_one_may_end_before_a_long_one_is_large() -> None:
    """100 + 50 beside 10 + 5: together 120 when the short one ends, 150 later; one that starts at 40 has 20 by then."""
    forecast = Forecast()
    forecast.add(0, 100, 50)
    assert forecast.peak_with(0, 10, 5) == 150
    assert forecast.peak_with(0, 10, 50) == 210
    assert forecast.peak_with(40, 10, 50) == 170


def test_what_ended_is_forgotten() -> None:
    """The room of a sequence is free when it is removed."""
    forecast = Forecast()
    forecast.add(0, 100, 50)
    assert forecast.peak_with(3, 10, 5) == 150
    forecast.remove(0, 100, 50)
    assert forecast.peak_with(3, 10, 5) == 15


@given(st.lists(SIZES, max_size=12), st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_the_forecast_is_what_comes(running: list[tuple[int, int, int]], candidate: tuple[int, int]) -> None:
    """The peak in closed form is the peak found by stepping, for whatever runs at step 30."""
    step = 30
    running = [sequence for sequence in running if sequence[0] + sequence[2] >= step]
    forecast = Forecast()
    for sequence in running:
        forecast.add(*sequence)
    assert forecast.peak_with(step, *candidate) == fullest([*running, (step, *candidate)], step)
