"""Keys go to their tenants; prompts have their lengths and share what the trace shares."""

from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evaluation.load.keys import Keyring, KeysError
from evaluation.play.prompts import Prompts
from evaluation.requests import Request


def _request(tenant: str = "a", key: str = "", prompt_tokens: int = 8, prefix_ids: tuple[int, ...] = ()) -> Request:
    return Request(0.0, tenant, prompt_tokens, 4, key=key, prefix_ids=prefix_ids)


def test_keys_are_not_shown() -> None:
    """A traceback does not show them either."""
    assert "secret" not in repr(Keyring.parse("a=secret"))


def test_every_tenant_needs_a_key_where_one_has() -> None:
    """No tenant needs its own key if one is for everybody, or if there is none at all."""
    Keyring.parse("").check(["a", "b"])
    Keyring.parse("a=1,*=2").check(["a", "b"])
    with pytest.raises(KeysError, match="no key for b, c: add b=KEY"):
        Keyring.parse("a=1").check(["a", "b", "c"])


def test_keys_of_a_workload_stand_for_keys_of_the_tenant_in_turn() -> None:
    """The workload's first key stands for the first given key; a third one begins with the first again."""
    requests = [_request("a", key) for key in ("x", "y", "x", "z", "y")]
    assert Keyring.parse("a=1,a=2").assign(requests) == ["1", "2", "1", "1", "2"]
    assert Keyring.parse("*=9").assign([_request("b")]) == ["9"]
    assert Keyring.parse("").assign([_request("b")]) == [None]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 3000), st.floats(0.5, 8), st.lists(st.integers(0, 9), max_size=12).map(tuple), st.integers(0, 99))
def test_a_prompt_has_its_bytes(tokens: int, bytes_per_token: float, prefix_ids: tuple[int, ...], number: int) -> None:
    """It has its tokens times the bytes of each, at least one, and is the same again for the same seed."""
    request = _request(prompt_tokens=tokens, prefix_ids=prefix_ids)
    made = Prompts(3, bytes_per_token, 100).prompt(number, request)
    assert len(made.encode()) == max(1, round(tokens * bytes_per_token))
    assert made == Prompts(3, bytes_per_token, 100).prompt(number, request)


def test_equal_blocks_are_equal_text_and_nothing_else_is() -> None:
    """Two prompts agree in exactly the blocks whose ids agree, from the front."""
    prompts = Prompts(1, 1.0, 64)
    ids = [(1, 2, 3), (1, 2, 4), (1, 5), (6,), ()]
    texts = [prompts.prompt(number, _request(prompt_tokens=256, prefix_ids=each)) for number, each in enumerate(ids)]
    for (one, mine), (other, theirs) in combinations(zip(ids, texts, strict=True), 2):
        agreeing = next(
            (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
        )
        same = next(n for n, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b)
        assert agreeing * 64 <= same < agreeing * 64 + 16


def test_prompts_of_a_play_differ_from_the_front() -> None:
    """So no cache can share what the trace does not share."""
    prompts = Prompts(1, 1.0, 512)
    begun = {prompts.prompt(number, _request(prompt_tokens=300))[:16] for number in range(5000)}
    assert len(begun) == 5000
