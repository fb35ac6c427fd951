"""Launched workers of several processes: one engine for all, which outlives any of them and is replaced for all."""

import os
import signal
from dataclasses import asdict
from pathlib import Path

from served import Served, write_config

from gateway.processes.channel import Message
from gateway.processes.engines import Engines, Holder
from gateway.watch.supervisor import LaunchStatus, SupervisorCallbacks, WorkerPlan

from .several import ask, gateways, key, read_until, running, several

PLAN: Message = {"name": "w", "profile": "instant", "start_seconds": 5.0}


class Recorder:
    """A supervisor that runs nothing and notes what it is ordered."""

    api_key = "secret"

    def __init__(self, callbacks: SupervisorCallbacks) -> None:
        self.callbacks = callbacks
        self.orders: list[tuple[object, ...]] = []

    def start(self, name: str, plan: WorkerPlan) -> WorkerPlan:
        self.orders.append(("start", name, dict(plan)))
        return plan

    def stop(self, name: str) -> None:
        self.orders.append(("stop", name))

    def restart(self, name: str, reason: str) -> None:
        self.orders.append(("restart", name, reason))

    async def close(self) -> None:
        self.orders.append(("close",))


class Table:
    """Engines with processes at the table, and what each of them has heard."""

    def __init__(self) -> None:
        self.recorders: list[Recorder] = []
        self.engines = Engines(self._supervise)
        self.heard: list[list[Message]] = []

    @property
    def supervisor(self) -> Recorder:
        """What the supervisor was ordered."""
        (recorder,) = self.recorders
        return recorder

    def join(self) -> Holder:
        """Another process."""
        self.heard.append([])
        return self.engines.join(lambda message, heard=self.heard[-1]: heard.append(dict(message)))  # type: ignore[misc]

    def _supervise(self, callbacks: SupervisorCallbacks) -> Recorder:
        self.recorders.append(Recorder(callbacks))
        return self.recorders[-1]


def test_the_last_to_let_go_stops_it() -> None:
    """Two processes want a worker: it is started once, and stopped when both have let it go."""
    table = Table()
    first, second = table.join(), table.join()
    for holder in (first, second):
        table.engines.obey(holder, {"start": PLAN})
    table.engines.obey(first, {"stop": "w"})
    assert table.supervisor.orders == [("start", "w", PLAN)]
    table.engines.obey(second, {"stop": "w"})
    assert table.supervisor.orders == [("start", "w", PLAN), ("stop", "w")]
    other = PLAN | {"profile": "cpu-tiny"}
    for holder in (first, second):
        table.engines.obey(holder, {"start": other})
    assert table.supervisor.orders[2:] == [("start", "w", other)]


def test_a_process_that_is_gone_holds_nothing() -> None:
    """Its end stops no worker that the others have; but one that only it still held back ends."""
    table = Table()
    first, second, third = table.join(), table.join(), table.join()
    for holder in (first, second, third):
        table.engines.obey(holder, {"start": PLAN})
    table.engines.leave(third)
    assert table.supervisor.orders == [("start", "w", PLAN)]
    table.engines.obey(first, {"stop": "w"})
    table.engines.leave(second)
    assert table.supervisor.orders[1:] == [("stop", "w")]


def test_the_end_of_every_process_stops_no_worker() -> None:
    """All have crashed; those that come next find it running, by the plan that it has."""
    table = Table()
    holder = table.join()
    table.engines.obey(holder, {"start": PLAN})
    status = LaunchStatus("w", "ready", "http://127.0.0.1:1")
    table.supervisor.callbacks.changed(status)
    table.engines.leave(holder)
    table.join()
    assert table.supervisor.orders == [("start", "w", PLAN)]
    assert table.heard[1] == [{"engines": {"w": PLAN}}, {"worker": asdict(status), "api_key": "secret"}]


def test_a_plan_that_differs_in_patience_alone_is_passed_on() -> None:
    """Another plan for a worker that runs is not: it has to be let go first."""
    table = Table()
    holder = table.join()
    patient, other = PLAN | {"start_seconds": 9.0}, PLAN | {"profile": "cpu-tiny"}
    for plan in (PLAN, PLAN, patient, other):
        table.engines.obey(holder, {"start": plan})
    assert table.supervisor.orders == [("start", "w", PLAN), ("start", "w", patient)]


def test_lines_of_workers_are_told_once() -> None:
    """To the process that has been there longest; states are told to all."""
    table = Table()
    first, _ = table.join(), table.join()
    table.supervisor.callbacks.wrote("w", "hello")
    assert [{"output": {"worker": "w", "line": "hello"}} in heard for heard in table.heard] == [True, False]
    table.engines.leave(first)
    table.supervisor.callbacks.wrote("w", "again")
    assert {"output": {"worker": "w", "line": "again"}} in table.heard[1]
    table.supervisor.callbacks.lost("it died")
    assert table.heard[1][-1] == {"lost": "it died"}


def engine_of(child: Served) -> int:
    """The one engine of all."""
    (engine,) = running(child.process.pid, "backend/__main__.py embedded")
    return engine


def test_one_engine_for_all_which_outlives_each(tmp_path: Path) -> None:
    """Both processes serve by it; it stays when one of them is killed, and comes back for both when it is killed."""
    with several(write_config(tmp_path)) as child:
        engine = engine_of(child)
        os.kill(gateways(child)[0], signal.SIGKILL)
        name = read_until(child, "gateway process ended")["name"]
        read_until(child, '"event":"ready"', f'"process":"{name}"')
        assert ask(child, tmp_path) == 200
        assert engine_of(child) == engine
        os.kill(engine, signal.SIGKILL)
        ready = {read_until(child, '"event":"worker"', '"state":"ready"')["process"] for _ in range(2)}
        assert ready == {"1", "2"}
        assert engine_of(child) != engine
        assert ask(child, tmp_path) == 200


def test_a_changed_launch_replaces_it_once_for_all(tmp_path: Path) -> None:
    """Each process takes the change over; the engine is started anew once, when no process needs the old one."""
    path = write_config(tmp_path)
    with several(path) as child:
        engine = engine_of(child)
        read_until(child, '"event":"ready"', '"process":"parent"')
        path.write_text(path.read_text().replace("instant", "instant, environment: ['A=b']"))
        read_until(child, '"event":"worker"', '"state":"stopped"')
        ready = {read_until(child, '"event":"worker"', '"state":"ready"')["process"] for _ in range(2)}
        assert ready == {"1", "2"}
        assert engine_of(child) != engine
        assert {ask(child, tmp_path) for _ in range(10)} == {200}
        assert child.request("/v1/models", key(tmp_path))[0] == 200
        child.signal(signal.SIGTERM)
        assert child.ended()[0] == 0
