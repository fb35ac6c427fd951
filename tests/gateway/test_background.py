"""Work beside the requests: broken once it is told and back, broken for ever it is tried ever more rarely."""

import asyncio
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from virtual_time import run_in_virtual_time

import gateway
from gateway.background import FIRST_PAUSE_SECONDS, LASTING_SECONDS, LONGEST_PAUSE_SECONDS, Background, Errands


class Broken(Exception):
    """What the work breaks with."""


def _lives(lasting_seconds: list[float], watched_seconds: float) -> tuple[list[float], list[str]]:
    """When each life began, and what was told: the work breaks after `lasting_seconds`, the last for ever."""
    began, reported = [], []

    async def work() -> None:
        began.append(asyncio.get_running_loop().time())
        await asyncio.sleep(lasting_seconds[min(len(began), len(lasting_seconds)) - 1])
        raise Broken

    async def story() -> None:
        def hear(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            assert isinstance(context["exception"], Broken)
            reported.append(context["message"])

        asyncio.get_running_loop().set_exception_handler(hear)
        background = Background("work", work, "the work broke")
        background.start()
        await asyncio.sleep(watched_seconds)
        await background.stop()

    run_in_virtual_time(story())
    return [at - began[0] for at in began], reported


def test_work_that_breaks_is_reported_and_begins_again() -> None:
    """Each pause is twice the one before, up to the longest; every end is told in words."""
    began, reported = _lives([0.0], 4 * LONGEST_PAUSE_SECONDS)
    pauses = [after - before for before, after in pairwise(began)]
    expected = [min(FIRST_PAUSE_SECONDS * 2**life, LONGEST_PAUSE_SECONDS) for life in range(len(pauses))]
    assert [round(pause, 3) for pause in pauses] == expected
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    assert len(reported) == len(began)
    assert reported[0] == f"the work broke; it begins again in {FIRST_PAUSE_SECONDS:g} s"


def test_a_life_that_lasted_is_forgiven() -> None:
    """After one that lasted the pause is the first again."""
    began, _ = _lives([0.0, 0.0, 0.0, LASTING_SECONDS, 0.0], 2 * LASTING_SECONDS)
    assert round(began[4] - began[3] - LASTING_SECONDS, 3) == FIRST_PAUSE_SECONDS


def test_work_that_ends_is_over_until_it_is_started_again() -> None:
    """An end without a fault is no failure; `start` while it runs starts nothing."""
    lives = 0

    async def work() -> None:
        nonlocal lives
        lives += 1
        await asyncio.sleep(1)

    async def story() -> None:
        background = Background("work", work, "the work broke")
        background.start()
        background.start()
        await asyncio.sleep(5)
        assert lives == 1
        background.start()
        await asyncio.sleep(0)
        await background.stop()
        await background.stop()

    run_in_virtual_time(story())
    assert lives == 2


def test_an_errand_that_breaks_is_reported_and_the_others_go_on() -> None:
    """One is told by its name, one that is still under way at the end is cancelled without a word."""
    reported: list[str] = []
    done: list[str] = []

    async def errand(seconds: float, *, breaks: bool = False) -> None:
        await asyncio.sleep(seconds)
        if breaks:
            raise Broken
        done.append(f"{seconds:g} s")

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["message"]))
        errands = Errands("an errand broke")
        errands.run("short", errand(1, breaks=True))
        errands.run("longer", errand(2))
        errands.run("endless", errand(1e9))
        await asyncio.sleep(3)
        await errands.stop()
        await errands.stop()

    run_in_virtual_time(story())
    assert reported == ["an errand broke (short)"]
    assert done == ["2 s"]


def test_tasks_are_made_in_one_place() -> None:
    """Loops make them too, unseen by the linter: no other module does, but for those that await their own."""
    modules = Path(gateway.__file__).parent.rglob("*.py")
    makers = {path.name for path in modules if re.search(r"\w\.create_task\(", path.read_text())}
    assert makers == {"background.py", "connection.py", "death_guard.py", "names.py", "serve.py"}
