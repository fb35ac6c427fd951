"""Long work: one step in a turn of the loop, one piece at a time, in order, and nothing is left behind."""

import asyncio
from collections.abc import Generator
from itertools import pairwise

import pytest
from virtual_time import virtual_time

from gateway.long_work import LongWork, at_once

STEPS = 5


def steps(name: str, seen: list[str]) -> Generator[None, None, str]:
    """Work of `STEPS` steps that notes each of them, and its end."""
    try:
        for number in range(STEPS):
            seen.append(f"{name}{number}")
            yield
        return name
    finally:
        seen.append(f"{name} ends")


async def count_turns(seen: list[str]) -> None:
    """Note every turn of the loop."""
    while True:
        seen.append("turn")
        await asyncio.sleep(0)


@virtual_time
async def test_the_loop_turns_between_two_steps() -> None:
    """Before the first step, between any two, and before the result is used, everything else has its turn."""
    seen: list[str] = []
    others = asyncio.ensure_future(count_turns(seen))
    assert await LongWork().carry_out(steps("a", seen)) == "a"
    seen.append("used")
    others.cancel()
    marks = [each for each in seen if each != "turn"]
    for before, after in pairwise(marks):
        if after != "a ends":  # the last step goes on to the end
            assert "turn" in seen[seen.index(before) : seen.index(after)], (before, after)


@virtual_time
async def test_one_piece_at_a_time_in_their_order() -> None:
    """The second begins when the first has ended."""
    work, seen = LongWork(), list[str]()
    done = await asyncio.gather(*(work.carry_out(steps(name, seen)) for name in "ab"))
    assert done == ["a", "b"]
    assert seen == [f"{name}{what}" for name in "ab" for what in (*range(STEPS), " ends")]


@virtual_time
async def test_what_is_cancelled_makes_room() -> None:
    """The rest of its steps is not taken, and the next piece begins."""
    work, seen = LongWork(), list[str]()
    first = asyncio.ensure_future(work.carry_out(steps("a", seen)))
    for _ in range(STEPS):
        await asyncio.sleep(0)
    first.cancel()
    assert await work.carry_out(steps("b", seen)) == "b"
    assert first.cancelled()
    assert "a ends" in seen and f"a{STEPS - 1}" not in seen


@virtual_time
async def test_a_step_that_fails_makes_room() -> None:
    """Its error reaches the caller, and the next piece begins."""

    def fails() -> Generator[None, None, str]:
        yield
        raise ValueError("no")

    work, seen = LongWork(), list[str]()
    with pytest.raises(ValueError, match="no"):
        await work.carry_out(fails())
    assert await work.carry_out(steps("b", seen)) == "b"


def test_all_steps_at_once() -> None:
    """Whoever need not share the loop gets the result in one call."""
    assert at_once(steps("a", [])) == "a"
