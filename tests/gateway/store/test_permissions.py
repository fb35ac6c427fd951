"""The user of the store that docs/scaling.md describes: a fleet needs each of its permissions, and no other."""

import asyncio
import re
import shlex
from pathlib import Path

import pytest
import valkey
from real_stores import Store, a_store
from whole_gateway import COMPLETIONS, Plan, exactly, several_gateways, tenant
from workers_on_stage import CPU_TINY, MODEL, EngineWorker

from gateway.config import BudgetEntry, Ledger, Limits, Replicas, Window
from gateway.replicas.budget_call import BUDGETS
from gateway.replicas.call import TURN
from gateway.replicas.quota_call import QUOTAS
from gateway.store.client import StoreClient

from .scene import STUCK_SECONDS, on_both

DOCUMENT = (Path(__file__).parents[3] / "docs" / "scaling.md").read_text()
(COMMAND,) = re.findall(r"^ACL SETUSER (?:.*\\\n)*.*$", DOCUMENT, re.MULTILINE)
WORDS = shlex.split(COMMAND.replace("\\\n", "").replace("PASSWORD", "secret"))
USER = WORDS[2]
OPERATORS = {"config|resetstat"}
REQUESTS = 6  # at each gateway at once, where there is room for two
LIMITS = Limits(max_in_flight=5, max_queued=50, requests_per_minute=1_000, tokens_per_minute=100_000)


def in_scripts() -> set[str]:
    """The commands that the scripts carry out."""
    return {name.lower() for each in (TURN, QUOTAS, BUDGETS) for name in re.findall(r"call\('(\w+)'", each.script.text)}


async def share(store: Store, folder: Path) -> None:
    """Two gateways share workers, a tenant's budget and its limits, whose requests wait at both; no call fails."""

    def connect(replicas: Replicas) -> StoreClient:
        return StoreClient(replicas.model_copy(update={"store": store.url, "username": USER, "password": "secret"}))

    budget = BudgetEntry.model_validate({"amount": 100_000})
    plan = Plan(
        tenants=(tenant("alice", limits=LIMITS, budgets=(budget,)),),
        window=Window(sequences=2, slack=0),
        ledger=Ledger(folder=folder),
    )
    async with (
        asyncio.timeout(STUCK_SECONDS),
        several_gateways(2, EngineWorker(CPU_TINY), plan=plan, connect=connect) as scenes,
    ):
        body = {"model": MODEL, "prompt": [1] * 5, **exactly(5)}
        asked = [scene.ask(body, path=COMPLETIONS) for scene in scenes for _ in range(REQUESTS)]
        assert {answer.status for answer in await asyncio.gather(*asked)} == {200}
        shared = [scene.gateway.replicas() for scene in scenes]
        assert [each.failure for each in shared if each is not None] == ["", ""]
        assert [each.calls.failed for each in shared if each is not None] == [0, 0]
        assert sum(each.tally.settled for scene in scenes for each in scene.budgets.accounts.all()) == 2 * REQUESTS * 10
        assert [pool.living for each in shared if each is not None for pool in each.pools] == [2, 2]


@on_both
def test_a_fleet_works_with_the_documented_user_and_needs_all_that_it_may(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commands are those that the server counts and those of the scripts' rarer branches."""
    monkeypatch.setattr("gateway.store.inbox.SILENCE_SECONDS", 0.1)  # so that somebody is silent for so long
    with a_store(kind, tmp_path) as store:
        store.client.execute_command(*WORDS)
        store.client.execute_command("CONFIG", "RESETSTAT")
        asyncio.run(share(store, tmp_path / "ledgers"))
        counted = {name.removeprefix("cmdstat_") for name in store.client.info("commandstats")} - OPERATORS
        granted = {word[1:] for word in WORDS if word.startswith("+")}
        assert counted - in_scripts() == granted - in_scripts() | (counted & {"auth"})
        assert in_scripts() <= granted


@on_both
def test_the_documented_user_may_do_nothing_else(kind: str, tmp_path: Path) -> None:
    """Other keys, other channels and other commands are refused, and so is another fleet."""
    with a_store(kind, tmp_path) as store:
        store.client.execute_command(*WORDS)
        with valkey.Valkey(unix_socket_path=str(store.socket), username=USER, password="secret") as user:
            assert user.get("vtc1:{vtc-gateway:tiny}:meta") is None
            for command in (
                ("GET", "other"),
                ("GET", "vtc1:{other:tiny}:meta"),
                ("GET", "vtcq1:{vtc-gateway-2}:meta"),
                ("GET", "vtcb1:{vtc-gateway-2}:meta"),
                ("PUBLISH", "other", "x"),
                ("FLUSHALL",),
                ("KEYS", "*"),
                ("CONFIG", "GET", "*"),
            ):
                with pytest.raises(valkey.exceptions.NoPermissionError):
                    user.execute_command(*command)
