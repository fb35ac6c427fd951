"""The gateway looks up a worker's host: a lookup that fails or is slow costs as few requests as possible."""

import asyncio

import pytest
from virtual_time import virtual_time
from whole_gateway import Plan, chat, stage
from workers_on_stage import EngineWorker

from gateway.endpoints import names
from gateway.endpoints.names import MAX_ADDRESSES, PATIENT_SECONDS, Host

HERE = "127.0.0.1"


class System:
    """A resolver that answers as it is told to."""

    def __init__(self) -> None:
        self.found: list[str] | OSError = [HERE]
        self.seconds = 0.0
        self.lookups = 0

    async def look_up(self, host: str) -> list[str]:
        """What was found when the lookup began."""
        self.lookups += 1
        found = self.found
        await asyncio.sleep(self.seconds)
        if isinstance(found, OSError):
            raise found
        return found


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual_time
async def test_an_address_is_not_looked_up() -> None:
    """Addresses of both families need no lookup."""
    system = System()
    for address in (HERE, "::1"):
        host = Host(address, system.look_up)
        assert host.is_known
        assert await host.addresses() == (address,)
    assert system.lookups == 0


@virtual_time
async def test_whoever_asks_meanwhile_waits_for_the_same_lookup() -> None:
    """A thousand requests are one question to the system."""
    system = System()
    system.seconds = 3.0
    host = Host("engine", system.look_up)
    found = await asyncio.gather(*(host.addresses() for _ in range(1000)))
    assert set(found) == {(HERE,)}
    assert system.lookups == 1


@virtual_time
async def test_the_last_addresses_stand_in_for_a_lookup_that_fails() -> None:
    """Only a host that was never found is unknown."""
    system = System()
    host = Host("engine", system.look_up)
    system.found = OSError("no such host")
    with pytest.raises(OSError, match="no such host"):
        await host.addresses()
    system.found = [HERE]
    await host.addresses()
    system.found = OSError("no such host")
    assert await host.addresses() == (HERE,)
    system.found = []
    assert await host.addresses() == (HERE,)


@virtual_time
async def test_a_slow_lookup_is_waited_for_once_and_counts_when_it_comes() -> None:
    """If the host was found before, the requests behind the first one go at once."""
    system = System()
    host = Host("engine", system.look_up)
    await host.addresses()
    system.seconds, system.found = 5.0, [f"127.0.0.{number}" for number in range(1, 20)]
    assert await host.addresses() == (HERE,)
    assert now() == pytest.approx(PATIENT_SECONDS)
    assert await host.addresses() == (HERE,)
    assert now() == pytest.approx(PATIENT_SECONDS)
    await asyncio.sleep(5)
    system.seconds = 0.0
    assert len(await host.addresses()) == MAX_ADDRESSES
    assert system.lookups == 3


@virtual_time
async def test_nobody_waits_for_a_lookup_that_is_given_up() -> None:
    """The end of the lookup does not cancel the request that asked for it."""
    system = System()
    system.seconds = 5.0
    host = Host("engine", system.look_up)
    asking = asyncio.create_task(host.addresses())
    await asyncio.sleep(1)
    host.close()
    with pytest.raises(OSError, match="any more"):
        await asking


def named(worker: EngineWorker) -> EngineWorker:
    """A worker whose address is a name."""

    class Named(EngineWorker):
        @property
        def url(self) -> str:
            return super().url.replace(HERE, "engine")

    worker.__class__ = Named
    return worker


@virtual_time
async def test_a_lookup_that_fails_for_a_while_costs_nobody_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker stays up and keeps what it taught; new connections go to its last address."""
    system = System()
    monkeypatch.setattr(names, "look_up", system.look_up)
    async with stage(named(EngineWorker()), plan=Plan()) as scene:
        await asyncio.sleep(2)
        system.found = OSError("no such host")
        answers = await asyncio.gather(*(scene.ask(chat(5)) for _ in range(20)))
        assert all(answer.is_done for answer in answers)
        system.found, system.seconds = [HERE], 3.0
        await asyncio.sleep(5)
        answers = await asyncio.gather(*(scene.ask(chat(5)) for _ in range(20)))
        assert all(answer.is_done for answer in answers)
        assert {change.state for change in scene.changes} == {"serving"}
        assert system.lookups >= 3  # one each: before, failing, slow


@virtual_time
async def test_a_host_that_was_never_found_is_no_worker_that_died(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker is up as soon as its host is found; until then requests end with no worker."""
    system = System()
    system.found = OSError("no such host")
    monkeypatch.setattr(names, "look_up", system.look_up)
    async with stage(named(EngineWorker()), plan=Plan()) as scene:
        assert (await scene.ask(chat(5))).status == 503
        system.found = [HERE]
        await scene.until_worker_is("serving")
        assert (await scene.ask(chat(5))).is_done


@virtual_time
async def test_the_second_address_is_tried_where_the_first_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway tries addresses in the order in which the lookup found them."""
    system = System()
    system.found = ["127.0.0.9", HERE]
    monkeypatch.setattr(names, "look_up", system.look_up)
    async with stage(named(EngineWorker()), plan=Plan()) as scene:
        assert (await scene.ask(chat(5))).is_done
