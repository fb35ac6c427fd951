"""The order of vLLM's own queue: its own, or VTC through a scheduler class that is put in the engine's way.

The class is `vtc_engine_order` under `pythonpath`, which vLLM's process imports from there; it rests on vLLM's private
interface, so the interpreter is asked beforehand whether its release was tested.
"""

import os
import subprocess
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

FOLDER = Path(__file__).with_name("pythonpath")
PACKAGE = "vtc_engine_order"
SCHEDULER = f"{PACKAGE}.scheduler.fair_scheduler"
_PATH_VARIABLE = "PYTHONPATH"


class OrderError(Exception):
    """The vLLM that is to be started cannot run the order that is asked for; the message says why and what helps."""


class EngineOrder(StrEnum):
    """Who goes next among the requests that wait inside the engine."""

    FCFS = "fcfs"
    VTC = "vtc"


def order_arguments(order: EngineOrder) -> tuple[str, ...]:
    """The arguments by which vLLM follows `order`."""
    return () if order is EngineOrder.FCFS else ("--scheduler-cls", SCHEDULER)


def order_environment(order: EngineOrder, inherited: Mapping[str, str]) -> dict[str, str]:
    """The variables that let vLLM find the scheduler of `order`."""
    if order is EngineOrder.FCFS:
        return {}
    path = filter(None, (str(FOLDER), inherited.get(_PATH_VARIABLE)))
    return {_PATH_VARIABLE: os.pathsep.join(path)}


def check_order(order: EngineOrder, python: Path) -> None:
    """Raise `OrderError` where the vLLM of `python` cannot run `order`."""
    if order is EngineOrder.FCFS:
        return
    environment = {**os.environ, "PYTHONSAFEPATH": "1", **order_environment(order, os.environ)}
    # The interpreter is the one that runs vLLM in a moment.
    done = subprocess.run(  # noqa: S603
        [str(python), "-m", PACKAGE], check=False, capture_output=True, text=True, env=environment
    )
    if done.returncode != 0:
        raise OrderError((done.stderr.splitlines() or [f"{python} -m {PACKAGE}: status {done.returncode}"])[-1])
