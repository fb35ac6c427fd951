"""Real processes under the supervisor: killed, frozen, ill, failing at start, never ready, stubborn."""

import asyncio
import errno
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from stand_in import QUICK, ScriptedMachine, Watch, plan

from backend.supervisor import crashes, worker
from backend.supervisor.machine import Recipe
from backend.supervisor.plan import WorkerPlan
from backend.supervisor.reporter import BURST_LINES


@asynccontextmanager
async def watching() -> AsyncIterator[Watch]:
    """A supervisor that leaves no process behind."""
    watch = Watch()
    try:
        yield watch
    finally:
        await watch.supervisor.close()
        assert not [pid for pid in watch.pids if _runs(pid)]
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others)  # probes that were cancelled a moment ago


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off as designed, only faster."""
    monkeypatch.setattr(crashes, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(crashes, "LONGEST_SECONDS", 0.05)


def test_a_killed_worker_is_back() -> None:
    """After each of twenty `kill -9` the report has the reason, from the fifth on a loop, and the worker is back."""

    async def story() -> None:
        async with watching() as watch:
            watch.supervisor.start(plan("serve"))
            for life in range(20):
                ready = await watch.until_state("ready")
                assert ready.url.startswith("http://127.0.0.1:")
                assert ready.restarts == life
                os.kill(watch.pids[-1], signal.SIGKILL)
                dead = await watch.until_state("back_off")
                assert dead.reason.startswith("ended with status -9")
                assert dead.url == ""
                assert dead.is_crash_loop is (life >= 4)
                assert dead.last_lines[-1] == f"pid {watch.pids[-1]}"
            await watch.until_state("ready")

    asyncio.run(story())


def test_a_frozen_worker_is_replaced() -> None:
    """SIGSTOP: probes fail, it is unhealthy, and it is ended by force and started again."""

    async def story() -> None:
        async with watching() as watch:
            watch.supervisor.start(plan("serve"))
            await watch.until_state("ready")
            os.kill(watch.pids[0], signal.SIGSTOP)
            assert "no answer" in (await watch.until_state("unhealthy")).reason
            assert (await watch.until_state("ready")).restarts == 1
            assert len(set(watch.pids)) == 2

    asyncio.run(story())


def test_a_worker_that_answers_again_is_left_alone() -> None:
    """Unhealthy and then well before its time is over: the same process serves on."""

    async def story() -> None:
        async with watching() as watch:
            watch.supervisor.start(plan("serve"))
            await watch.until_state("ready")
            while watch.reported[-1].state != "unhealthy":
                os.kill(watch.pids[-1], signal.SIGSTOP)
                await watch.until_state("unhealthy")
                os.kill(watch.pids[-1], signal.SIGCONT)
            again = await watch.until_state("ready")
            # On a slow machine its time may have been over all the same.
            assert again.reason in ("answers again", "serves")

    asyncio.run(story())


def test_an_ill_worker_is_replaced() -> None:
    """A server that answers 500 to its probes is as good as none."""

    async def story() -> None:
        async with watching() as watch:
            watch.supervisor.start(plan("ill"))
            assert "status 500" in (await watch.until_state("unhealthy")).reason
            assert (await watch.until_state("back_off")).restarts == 1

    asyncio.run(story())


@pytest.mark.parametrize("how", ["serve", "stubborn"])
def test_a_worker_that_its_users_give_up_is_replaced(how: str) -> None:
    """It answers its probes and nothing else: ended, by force where it must be, with the reason and its last lines."""

    async def story() -> None:
        async with watching() as watch:
            watch.supervisor.start(plan(how))
            await watch.until_state("ready")
            watch.supervisor.restart("w", "no progress for 12 s")
            dead = await watch.until_state("back_off")
            assert dead.reason.startswith("no progress for 12 s; the next start in ")
            assert dead.last_lines[-1] == f"pid {watch.pids[0]}"
            await watch.until_state("ready")
            assert watch.states == ["loading", "ready", "unhealthy", "back_off", "loading", "ready"]
            assert not _runs(watch.pids[0])

    asyncio.run(story())


def test_a_changed_patience_reaches_a_running_worker_without_a_restart() -> None:
    """Same process; when it dies, the new limits hold."""

    async def story() -> None:
        async with watching() as watch:
            watch.supervisor.start(plan("serve"))
            await watch.until_state("ready")
            watch.supervisor.start(plan("never-ready", start_seconds=0.3, max_failed_starts=1))
            assert watch.states == ["loading", "ready"]
            worker = watch.supervisor._workers["w"]
            assert worker.plan == plan("serve", start_seconds=0.3, max_failed_starts=1)

    asyncio.run(story())


def test_a_flood_of_lines_is_cut_and_the_last_ones_are_kept() -> None:
    """Of five thousand lines at once some hundreds are reported, with the number of the others and the last ones."""

    async def story() -> None:
        async with watching() as watch:
            watch.supervisor.start(plan("talkative"))
            ready = await watch.until_state("ready")
            assert ready.last_lines[-1] == "line 4999"
            assert BURST_LINES <= len(watch.lines) < 5000

    asyncio.run(story())


def test_a_crash_loop_is_flagged_and_goes_on() -> None:
    """A worker that fails at start is tried again and again; after the fifth time it is called a loop."""

    async def story() -> None:
        async with watching() as watch:
            watch.supervisor.start(plan("fail"))
            await watch.until(lambda: watch.reported and watch.reported[-1].is_crash_loop)
            loop = watch.reported[-1]
            assert loop.restarts == 5
            assert loop.reason.startswith("ended with status 3, in a crash loop; the next start in ")
            assert loop.last_lines[-1] == "the model is too large"
            assert (await watch.until_state("back_off")).restarts == 6
            assert "ready" not in watch.states

    asyncio.run(story())


def test_a_worker_that_is_never_ready_is_started_anew() -> None:
    """After its time to load it is ended and tried again."""

    async def story() -> None:
        async with watching() as watch:
            watch.supervisor.start(plan("never-ready", start_seconds=0.3))
            assert (await watch.until_state("back_off")).reason.startswith("not ready within 0.3 s")
            assert (await watch.until_state("loading")).restarts == 1

    asyncio.run(story())


def test_it_is_given_up_where_that_is_wanted_until_somebody_asks_again() -> None:
    """Two failed starts of two: failed, with the reason; another plan is tried at once."""

    async def story() -> None:
        async with watching() as watch:
            watch.supervisor.start(plan("fail", max_failed_starts=2))
            failed = await watch.until_state("failed")
            assert failed.reason == "ended with status 3; given up after 2 failed starts"
            watch.supervisor.start(plan("serve"))
            assert not (await watch.until_state("ready")).is_crash_loop

    asyncio.run(story())


def test_what_cannot_be_started_at_all_fails_at_once() -> None:
    """There is no process and no retry, and the report has the reason."""

    async def story() -> None:
        async with watching() as watch:
            watch.supervisor.start(plan("impossible"))
            assert (await watch.until_state("failed")).reason == "no room for it"
            assert watch.pids == []

    asyncio.run(story())


def test_a_worker_waits_for_gpus_that_others_hold() -> None:
    """A new worker beside one that still drains: it says what it waits for, tries again, and serves in the end."""

    async def story() -> None:
        async with watching() as watch:
            watch.machine.is_taken = True
            watch.supervisor.start(plan("serve"))
            waits = await watch.until_state("back_off")
            assert waits.reason.startswith("others have them; the next start in")
            await watch.until_state("back_off")
            assert watch.pids == []
            watch.machine.is_taken = False
            await watch.until_state("ready")

    asyncio.run(story())


@pytest.mark.parametrize("how", ["serve", "stubborn", "never-ready", "fail", "tree"])
def test_stop_ends_every_kind(how: str) -> None:
    """A worker that serves, ignores SIGTERM, loads, waits to restart or has children stops, and nothing runs on."""

    async def story() -> None:
        async with watching() as watch:
            watch.supervisor.start(plan(how))
            expected = {"never-ready": "loading", "fail": "back_off"}.get(how, "ready")
            await watch.until_state(expected)
            await watch.until(lambda: watch.pids)
            watch.supervisor.stop("w")
            await watch.until(lambda: watch.reported[-1].state == "stopped")
            await asyncio.sleep(0)  # it is forgotten in the next turn
            assert watch.supervisor.statuses() == ()

    asyncio.run(story())


def test_a_plan_that_follows_a_stop_starts_when_the_old_process_is_gone() -> None:
    """Stop and start at once: never two processes, then the new one."""

    async def story() -> None:
        async with watching() as watch:
            watch.supervisor.start(plan("stubborn"))
            await watch.until_state("ready")
            watch.supervisor.stop("w")
            watch.supervisor.start(plan("serve"))
            await watch.until_state("ready")
            assert watch.states == ["loading", "ready", "draining", "stopped", "loading", "ready"]
            assert not _runs(watch.pids[0])

    asyncio.run(story())


def test_workers_that_share_a_gpu_load_one_after_another() -> None:
    """The second has no process until the first has loaded or failed; afterwards both run."""

    async def story() -> None:
        async with watching() as watch:
            watch.supervisor.start(plan("never-ready", "a", gpus=0.5, start_seconds=1.0))
            await watch.until(lambda: watch.pids)
            watch.supervisor.start(plan("serve", "b", gpus=0.5))
            await watch.until_state("ready", "b")
            reported = [(status.worker, status.state) for status in watch.reported]
            assert reported.index(("a", "back_off")) < reported.index(("b", "ready"))
            await watch.until(lambda: len(watch.pids) == 3)  # a again, beside b

    asyncio.run(story())


def test_a_fault_of_the_supervisors_own_costs_a_life_and_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start and a probe break once: both are reported, and the worker starts and is watched."""

    async def story() -> None:
        reported: list[str] = []
        recipe, fault = ScriptedMachine.recipe, worker._fault
        have_probes_broken = asyncio.Event()

        def recipe_but_once(machine: ScriptedMachine, order: WorkerPlan) -> Recipe:
            if not reported:
                raise RuntimeError("a mistake of ours")
            return recipe(machine, order)

        async def fault_but_once(session: aiohttp.ClientSession, url: str) -> str | None:
            if not have_probes_broken.is_set():
                have_probes_broken.set()
                raise RuntimeError("a mistake of ours")
            return await fault(session, url)

        monkeypatch.setattr(ScriptedMachine, "recipe", recipe_but_once)
        monkeypatch.setattr(worker, "_fault", fault_but_once)
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["message"]))
        async with watching() as watch:
            watch.supervisor.start(plan("serve"))
            assert "a fault of its own: RuntimeError" in (await watch.until_state("back_off")).reason
            await have_probes_broken.wait()
            os.kill(watch.pids[0], signal.SIGSTOP)
            await watch.until_state("unhealthy")
        assert reported == ["a life of worker w broke", "the probes of worker w broke"]

    asyncio.run(story())


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS])
def test_a_probe_for_want_of_a_descriptor_here_says_nothing(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """The worker stays as it is, though more such probes fail in a row than would end it."""

    async def story() -> None:
        tries, have_been_many = 0, asyncio.Event()

        async def short(_: Any, request: Any, *__: Any, **___: Any) -> Any:
            nonlocal tries
            tries += 1
            if tries > 4 * QUICK.failures_in_a_row:
                have_been_many.set()
            raise aiohttp.ClientConnectorError(request.connection_key, OSError(code, os.strerror(code)))

        monkeypatch.setattr(aiohttp.TCPConnector, "_create_direct_connection", short)
        async with watching() as watch:
            watch.supervisor.start(plan("serve"))
            await have_been_many.wait()
            assert [status.state for status in watch.reported] == ["loading", "ready"]

    asyncio.run(story())
