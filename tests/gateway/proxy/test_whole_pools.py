"""A reload adds and removes pools: the new one serves, the old one finishes what runs, and no request is lost."""

from contextlib import AsyncExitStack

import pytest
from virtual_time import virtual_time
from whole_gateway import Plan, Stage, chat, question, stage, tenant
from workers_on_stage import EngineWorker

from gateway.config import Config, Loaded, Pool, Window, Worker
from gateway.outcomes import Outcome

ONE_SLOT = Window(sequences=1, slack=0, prefill_tokens=2048)
TENANTS = (tenant("alice", models=("tiny",)), tenant("bob"))


def take_over(scene: Stage, config: Config) -> None:
    """Let the gateway take over a configuration."""
    scene.reload(config)


def renamed(config: Config, model: str) -> Config:
    """Return `config` with another name for its only pool and for what alice may use."""
    (pool,) = config.pools
    alice, bob = config.tenants
    pools = (pool.model_copy(update={"model": model, "aliases": ()}),)
    return config.model_copy(update={"pools": pools, "tenants": (alice.model_copy(update={"models": (model,)}), bob)})


def pools_of(scene: Stage) -> set[str]:
    """Return the pools that have an account."""
    return {pool.pool for pool in scene.gateway.pools()}


@pytest.mark.parametrize("runs", [False, True])
@virtual_time
async def test_one_reload_renames_a_pool_and_what_tenants_may_use(runs: bool) -> None:
    """The new name serves at once and the old one is 404, while a stream at the old one may end well."""
    async with stage(plan=Plan(tenants=TENANTS)) as scene:
        running = scene.asking(chat(200)) if runs else None
        await scene.until(lambda: bool(scene.in_flight) is runs)
        take_over(scene, renamed(scene.gateway.config, "large"))
        served = await scene.ask(question(model="large", max_tokens=3))
        assert served.status == 200
        assert scene.sent[-1].body["model"] == "tiny"
        assert (await scene.ask(question(max_tokens=3))).status == 404
        if running is not None:
            assert pools_of(scene) == {"tiny", "large"}
            assert (await running).is_done
            await scene.turn(5)
        assert pools_of(scene) == {"large"}
        assert {worker.pool for worker in scene.gateway.workers()} == {"large"}
        scene.events.clear()


@virtual_time
async def test_what_waits_for_a_removed_pool_is_refused_at_once() -> None:
    """It gets 404 in its API's form; so does what a worker sends back later."""
    async with stage(plan=Plan(tenants=TENANTS, window=ONE_SLOT)) as scene:
        running = scene.asking(chat(100))
        await scene.until(lambda: scene.in_flight)
        waiting = scene.asking(question(max_tokens=3), "bob", "/v1/messages")
        await scene.until(lambda: scene.queued)
        take_over(scene, renamed(scene.gateway.config, "large"))
        refused = await waiting
        assert (refused.status, refused.json["error"]["type"]) == (404, "not_found_error")
        assert "retry-after" not in refused.headers
        assert (await running).is_done
        assert scene.outcomes.count(Outcome.UNKNOWN_MODEL) == 1
        scene.events.clear()


@virtual_time
async def test_a_pool_is_added_and_taken_away_again() -> None:
    """Its workers are probed at once; if it is taken away and added again, it begins anew."""
    async with AsyncExitStack() as stack, stage(plan=Plan(tenants=TENANTS)) as scene:
        engine = EngineWorker()
        await engine.start()
        stack.push_async_callback(engine.stop)
        before = scene.gateway.config
        added = Pool(model="more", engine_model="tiny", workers=(Worker(name="w0", url=engine.url),))
        after = before.model_copy(update={"pools": (*before.pools, added)})
        for _ in range(2):
            take_over(scene, after)
            assert (await scene.ask(question(model="more", max_tokens=3), "bob")).status == 200
            assert (await scene.ask(question(model="more", max_tokens=3), "alice")).status == 404
            take_over(scene, before)
            assert pools_of(scene) == {"tiny"}
            assert (await scene.ask(question(model="more", max_tokens=3), "bob")).status == 404
        assert engine.engine.witness.started == 2
        scene.events.clear()


@virtual_time
async def test_what_waits_for_a_start_is_counted_until_it_is_taken_back() -> None:
    """The gauge counts what the file says and the gateway does not do; all else is in force."""
    async with stage(plan=Plan(tenants=TENANTS)) as scene:
        before = scene.gateway.config
        listen = before.listen.model_copy(update={"port": 9, "max_connections": 5})
        name = "vtc_gateway_config_restart_pending_changes "
        for config, pending in (
            (before.model_copy(update={"listen": listen, "tenants": TENANTS[:1]}), 2.0),
            (before, 0.0),
        ):
            take_over(scene, config)
            text = (await scene.get("/metrics")).body.decode()
            assert (
                float(next(line for line in text.splitlines() if line.startswith(name)).removeprefix(name)) == pending
            )
            assert len(scene.gateway.config.tenants) == len(config.tenants)


@virtual_time
async def test_a_reload_is_worked_out_aside_and_the_loop_takes_over_the_changes_alone() -> None:
    """Only changed tenants are configured again, and nothing changes before the loop takes over."""
    crowd = tuple(tenant(f"t{number}") for number in range(500))
    async with stage(plan=Plan(tenants=(*TENANTS, *crowd))) as scene:
        gateway = scene.gateway
        assert (await scene.ask(chat(1), "t7")).is_done

        def weight() -> float:
            return next(each.weight for pool in gateway.pools() for each in pool.tenants if each.tenant == "t7")

        changed = crowd[7].model_copy(update={"weight": 3.0})
        tenants = (*TENANTS, *crowd[:7], changed, *crowd[8:])
        before = gateway.config
        turnover = gateway.prepare(Loaded(before.model_copy(update={"tenants": tenants}), scene.path, ()))
        assert turnover.changed_tenants == (changed,)
        assert gateway.config is before and weight() == 1
        gateway.take_over(turnover)
        assert gateway.config.tenants == tenants and weight() == 3
