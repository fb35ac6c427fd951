"""Prefill and decode speeds are learned from every kind of answer, honest or not."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.learned.speeds import EngineSpeeds, StreamPace


def stream(speeds: EngineSpeeds, tenant: str = "t", *, tokens: int = 101, itl: float = 0.02, prompt: int = 100) -> None:
    """An ordinary streamed answer: 50 ms and 0.1 ms a token to its first token."""
    speeds.observe_stream(tenant, prompt, 0.05 + 0.0001 * prompt, StreamPace(tokens, tokens - 1, (tokens - 1) * itl))


def test_speeds_follow_the_engine() -> None:
    """Decode and prefill move from the first guess to what is seen."""
    speeds = EngineSpeeds()
    assert speeds.output_tokens("t", 1.0, 0) == 20.0
    for prompt in [100, 4_000] * 100:
        stream(speeds, prompt=prompt)
    assert speeds.tokens_per_second("t") == pytest.approx(50.0, rel=0.01)
    assert speeds.prefill_seconds("t", 100) == pytest.approx(0.06, rel=0.1)
    assert speeds.prefill_seconds("t", 8_000) == pytest.approx(0.85, rel=0.1)
    assert speeds.output_tokens("t", 0.05, 4_000) == 0.0


def test_short_chats_do_not_make_long_prompts_slow() -> None:
    """Fifty chats of 15 tokens that began after 45 ms: a prompt of 4,000 takes 45 ms and its tokens' time."""
    speeds = EngineSpeeds()
    for _ in range(50):
        speeds.observe_prefill("t", 15, 0.045)
    assert 0.045 <= speeds.prefill_seconds("t", 4_000) <= 1.5
    for _ in range(20):
        speeds.observe_prefill("t", 4_000, 0.245)
    assert speeds.prefill_seconds("t", 4_000) == pytest.approx(0.245, rel=0.15)
    assert speeds.prefill_seconds("t", 15) == pytest.approx(0.045, rel=0.15)


def test_an_answer_in_one_read_is_no_decode_rate() -> None:
    """Answers whose first and last byte come together teach no decode rate, streamed or whole."""
    speeds = EngineSpeeds()
    for _ in range(500):
        speeds.observe_stream("alice", 10, 0.3, StreamPace(16, 0, 0.0))
        speeds.observe_stream("alice", 10, 0.3, StreamPace(16, 15, 0.0008))
        speeds.observe_whole("alice", 10, 16, 0.3)
    for tenant in ("alice", "bob"):
        assert speeds.tokens_per_second(tenant) == pytest.approx(16 / 0.3, rel=0.05)
    for _ in range(60):
        stream(speeds, "alice")
    assert speeds.tokens_per_second("bob") == pytest.approx(50.0, rel=0.2)


def test_a_whole_answer_shows_less_than_twice_its_own_pace() -> None:
    """However long prompts are believed to take, the estimate is at most twice what came."""
    speeds = EngineSpeeds()
    for _ in range(100):
        speeds.observe_prefill("t", 10, 0.3)
        speeds.observe_whole("t", 10, 16, 0.3)
    assert 16 / 0.3 < speeds.tokens_per_second("t") <= 2 * 16 / 0.3


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 100), st.floats(0, 100)), max_size=60))
def test_no_tenants_answers_move_anothers_speeds(answers: Sequence[tuple[float, float, float, float]]) -> None:
    """Despite bursts, lies and slow readers a tenant keeps its history, and a newcomer starts from the median."""
    speeds = EngineSpeeds()
    for _ in range(50):
        for tenant in ("bob", "carol"):
            stream(speeds, tenant)
    before = speeds.tokens_per_second("bob"), speeds.prefill_seconds("bob", 4_000)
    for tokens, later, ttft, seconds in answers:
        speeds.observe_stream("alice", int(tokens), ttft, StreamPace(tokens, later, seconds))
        speeds.observe_whole("alice", int(later), tokens, seconds)
    assert (speeds.tokens_per_second("bob"), speeds.prefill_seconds("bob", 4_000)) == before
    assert speeds.tokens_per_second("newcomer") <= before[0] * 1.01
