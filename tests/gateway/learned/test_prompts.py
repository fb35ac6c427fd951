"""Prompt tokens are estimated from bytes, for each tenant from its own prompts."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.learned.prompts import PromptEstimator

SIZES = st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**9)), max_size=60)


def test_the_first_guess() -> None:
    """0.3 tokens per byte, 576 an image, never below one."""
    prompts = PromptEstimator()
    assert prompts.estimate("t", 1_000) == 300
    assert prompts.estimate("t", 0) == 1
    assert prompts.estimate("t", 0, media_parts=2) == 1_152


def test_the_engines_own_ratio_is_learned() -> None:
    """A prompt like those before is estimated like them; nonsense teaches nothing."""
    prompts = PromptEstimator()
    for _ in range(100):
        prompts.observe("t", 1_000, 700)
        prompts.observe("t", 0, 5)
        prompts.observe("t", 5, 0)
    assert prompts.estimate("t", 1_000) == pytest.approx(700, rel=0.02)


def test_greetings_do_not_inflate_documents() -> None:
    """After a hundred documents and twenty prompts of two bytes and thirty tokens a document is what it was."""
    prompts = PromptEstimator()
    for _ in range(100):
        prompts.observe("t", 20_000, 5_000)
    for _ in range(20):
        prompts.observe("t", 2, 30)
    assert prompts.estimate("t", 20_000) == pytest.approx(5_000, rel=0.03)
    assert prompts.estimate("t", 2) == pytest.approx(30, abs=2)


def test_greetings_alone_teach_the_templates_share_and_no_more() -> None:
    """A tenant that sent only greetings sends a document: the constant is its own, the slope the first guess."""
    prompts = PromptEstimator()
    for _ in range(1_000):
        prompts.observe("t", 2, 30)
    assert prompts.estimate("t", 20_000) == pytest.approx(6_030, rel=0.03)


def test_each_prompt_of_a_list_has_its_constant() -> None:
    """A list of 2,000 greetings is 2,000 templates, learned from single ones and from lists alike."""
    prompts = PromptEstimator()
    for _ in range(60):
        prompts.observe("one", 2, 30)
        prompts.observe("list", 2 * 50, 30 * 50, prompts=50)
    for tenant in ("one", "list"):
        assert prompts.estimate(tenant, 2 * 2_000, prompts=2_000) == pytest.approx(60_000, rel=0.05)


@settings(max_examples=50)
@given(SIZES)
def test_no_tenants_habits_move_anothers_estimate(sizes: Sequence[tuple[int, int]]) -> None:
    """An odd tenant changes neither a tenant with a history nor a newcomer beside two ordinary tenants."""
    prompts = PromptEstimator()
    for tenant in ("bob", "carol"):
        for _ in range(40):
            prompts.observe(tenant, 4_000, 1_000)
            prompts.observe(tenant, 40, 20)
    before = prompts.estimate("bob", 20_000)
    for prompt_bytes, tokens in sizes:
        prompts.observe("alice", prompt_bytes, tokens)
    assert prompts.estimate("bob", 20_000) == before
    assert before * 0.95 <= prompts.estimate("newcomer", 20_000) <= 6_000 + 30


@given(SIZES, st.integers(1, 10**6))
def test_an_estimate_is_never_more_than_a_token_a_byte_and_a_template(
    sizes: Sequence[tuple[int, int]], prompt_bytes: int
) -> None:
    """The estimate has at most one token per byte, whatever an engine claims."""
    prompts = PromptEstimator()
    for size, tokens in sizes:
        prompts.observe("t", size, tokens)
    assert 1 <= prompts.estimate("t", prompt_bytes) <= prompt_bytes + 4_096 + 1
