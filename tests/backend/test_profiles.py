"""Profiles: each can be loaded, says its source, and costs what it says."""

from random import Random

import pytest

from backend.engine.core import Batch
from backend.engine.profile import load_profile, profile_names


@pytest.mark.parametrize("name", profile_names())
def test_a_profile_loads_and_names_its_source(name: str) -> None:
    """Sizes hold together, the source is stated, lengths are drawn within the context."""
    profile = load_profile(name)
    assert profile.source
    lengths = [profile.output.draw(Random(seed)) for seed in range(500)]
    assert 8 <= min(lengths) <= max(lengths) < profile.capacity.max_model_len
    assert sorted(lengths)[250] == pytest.approx(profile.output.median_tokens, rel=0.2)


# Prompt tokens, output tokens, batch, decode seconds a request: rounded from the table of the artifact of the paper.
PUBLISHED = [(8, 196, 49, 0.1482), (64, 256, 31, 0.3003), (256, 64, 31, 0.0819), (512, 256, 13, 0.7604)]


@pytest.mark.parametrize(("prompt", "output", "batch", "decode_seconds"), PUBLISHED)
def test_the_a10g_profile_meets_the_published_measurements(
    prompt: int, output: int, batch: int, decode_seconds: float
) -> None:
    """All decode steps of a batch take what was measured, within the fit's 1.3 % (and the rounding)."""
    cost = load_profile("a10g-llama2-7b").cost
    steps = (cost.seconds(Batch(0, batch, batch * (prompt + position))) for position in range(output))
    assert sum(steps) == pytest.approx(decode_seconds * batch, rel=0.015)


def test_a_full_step_of_the_tiny_profile_takes_ten_milliseconds() -> None:
    """Sixteen sequences decoding: the number that demos and tests reckon with."""
    assert load_profile("cpu-tiny").cost.seconds(Batch(0, 16, 1600)) == pytest.approx(0.010)
