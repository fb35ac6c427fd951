"""End users of one tenant share it by person: sessions of one person are one, and a front end may name its users."""

import asyncio
import json
from typing import Any

from whole_gateway import CHAT, Stage, exactly, key_of, question, tenant, with_gateway

from gateway.config import ShareBy, Window

ONE_PLACE: dict[str, Any] = {"window": Window(sequences=1, slack=0)}
PEOPLE = {"tenants": (tenant("alice", share_by=ShareBy.END_USER),)}
NAMED = {"tenants": (tenant("alice", share_by=ShareBy.END_USER, end_user_header="X-User"),)}


def _session(account: str, number: int) -> dict[str, Any]:
    """A request of one of somebody's sessions of Claude Code."""
    whole = json.dumps({"device_id": f"of {account}", "account_uuid": account, "session_id": f"{account} {number}"})
    return question(max_tokens=20) | {"metadata": {"user_id": whole}}


async def _first_ten(scene: Stage, path: str, crowd: list[tuple[dict[str, Any], list[str]]]) -> int:
    """Ann sends all of `crowd` but the last, a body and headers each; Ben that one ten times: his of ten answers."""
    answered: list[str] = []

    async def ask(who: str, body: dict[str, Any], headers: list[str]) -> None:
        await scene.post(path, body, key_of("alice"), headers)
        answered.append(who)

    *anns, (bens_body, bens_headers) = crowd
    tasks = [asyncio.create_task(ask("ann", *each)) for each in anns]
    await scene.when(lambda: scene.queued == len(anns) - 1)
    tasks += [asyncio.create_task(ask("ben", bens_body, bens_headers)) for _ in range(10)]
    await asyncio.gather(*tasks)
    return answered[:10].count("ben")


@with_gateway(**ONE_PLACE, **PEOPLE)
async def test_eight_sessions_of_one_person_have_one_share(scene: Stage) -> None:
    """Beside one session of another person they get half, not eight ninths."""
    crowd = [(_session("ann", number), list[str]()) for number in range(8)] * 3
    assert await _first_ten(scene, "/v1/messages", [*crowd, (_session("ben", 1), [])]) in (4, 5)


@with_gateway(**ONE_PLACE, **NAMED)
async def test_a_front_end_names_its_users(scene: Stage) -> None:
    """If the header is there, it decides, whatever the body says; without it the body decides."""
    bodies = [question(**exactly(20), user=f"made up {number}") for number in range(8)]
    crowd = [(body, ["X-User: ann"]) for body in bodies] * 3
    assert await _first_ten(scene, CHAT, [*crowd, (question(**exactly(20), user="ben"), [])]) in (4, 5)


@with_gateway(**ONE_PLACE, **PEOPLE)
async def test_a_header_that_nobody_configured_names_nobody(scene: Stage) -> None:
    """Control: a crowd of made-up users wins where the body alone counts."""
    bodies = [question(**exactly(20), user=f"made up {number}") for number in range(8)]
    crowd = [(body, ["X-User: ann"]) for body in bodies] * 3
    assert await _first_ten(scene, CHAT, [*crowd, (question(**exactly(20), user="ben"), [])]) < 3
