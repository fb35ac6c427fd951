"""The gateway forgets what a reload has removed once nothing of it runs, however often names come and go."""

from collections.abc import Iterable

from virtual_time import virtual_time
from whole_gateway import Plan, Stage, chat, stage, tenant

from gateway.config import Tenant
from gateway.outcomes import Outcome

ALICE, BOB = tenant("alice"), tenant("bob")


def reload(scene: Stage, tenants: Iterable[Tenant], worker: str = "w0") -> None:
    """A reload with these tenants, and the only worker under this name."""
    config = scene.gateway.config
    (pool,) = config.pools
    workers = (pool.workers[0].model_copy(update={"name": worker}),)
    pools = (pool.model_copy(update={"workers": workers}),)
    found = config.model_copy(update={"pools": pools, "tenants": tuple(tenants)})
    scene.reload(found)


def known_tenants(scene: Stage) -> set[str]:
    """The tenants that have an account in some pool."""
    return {each.tenant for pool in scene.gateway.pools() for each in pool.tenants}


@virtual_time
async def test_a_removed_tenant_is_forgotten_when_its_requests_have_ended() -> None:
    """What it runs goes on and is charged; its account goes with the last request, and comes back new."""
    async with stage(plan=Plan(tenants=(ALICE, BOB))) as scene:
        assert (await scene.ask(chat(5), "alice")).is_done
        running = scene.asking(chat(200), "bob")
        await scene.until(lambda: scene.in_flight)
        reload(scene, [ALICE])
        assert known_tenants(scene) == {"alice", "bob"}
        assert (await running).is_done
        await scene.until(lambda: len(scene.finished) == 2)
        assert known_tenants(scene) == {"alice"}
        assert "bob" not in scene.limited_tenants
        reload(scene, [ALICE, BOB])
        assert (await scene.ask(chat(5), "bob")).is_done
        assert set(scene.outcomes) == {Outcome.COMPLETED}
        scene.check()
        scene.finished.clear()
        scene.events.clear()
        reload(scene, [])
        assert known_tenants(scene) == set()


@virtual_time
async def test_removed_workers_leave_no_links_behind() -> None:
    """Twenty names for one worker, with requests under each: two are known at most, and each served."""
    async with stage() as scene:
        for number in range(20):
            reload(scene, [ALICE, BOB], f"worker-{number}")
            await scene.turn(1500)
            assert (await scene.ask(chat(2))).is_done
            assert len(list(scene.endpoints)) <= 3
        assert len(scene.endpoints.visits) <= 3
