"""Request bodies in memory are counted while they are read, wait and are sent; if they are too many, one is pushed out.

Two bodies of one MiB fit here. Alice floods; bob is the modest one.
"""

import asyncio
from collections.abc import Callable

import pytest
from raw_client import Answer, Client
from virtual_time import virtual_loop, virtual_time
from whole_gateway import CHAT, Plan, Stage, chat, key_of, stage, with_gateway
from workers_on_stage import EngineWorker, ScriptedWorker, fault, faults

from backend.engine.faults import FaultKind
from gateway.config import Window
from gateway.outcomes import Outcome
from gateway.workers.quarantine import MOST_KEPT_BYTES

MIB = 2**20
TWO_BODIES = {"max_body_mib": 1, "max_bodies_mib": 2}
ONE_AT_A_TIME = Window(sequences=1, slack=0, prefill_tokens=2048)
LARGE = {"padding": "x" * (900 * 1024)}
MAX_TURNS = 400


def held(scene: Stage) -> int:
    """The bytes of all bodies in memory."""
    return scene.held_bytes


async def upload(scene: Stage, size: int = MIB, tenant: str = "alice", framing: str = "") -> Client:
    """A request whose head has arrived, but nothing of its body."""
    client = await scene.connect()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key_of(tenant)}\r\n"
    client.send_raw(f"{head}{framing or f'Content-Length: {size}'}\r\n\r\n".encode())
    return client


async def never_sent(scene: Stage) -> Answer:
    """The answer to an upload that does not go on."""
    client = await upload(scene)
    answer = await client.read()
    await client.close()
    return answer


def check_pushed_out(answer: Answer) -> None:
    """The refusal says what was too much, and when to come again."""
    assert (answer.status, answer.json["error"]["code"]) == (429, "bodies_full")
    assert "memory for requests" in answer.json["error"]["message"]
    assert int(answer.headers["retry-after"]) >= 1


@with_gateway(listen=TWO_BODIES)
async def test_a_body_counts_from_the_moment_its_length_is_known(scene: Stage) -> None:
    """An upload that has sent nothing yet holds what it said, and a client that leaves gives it back."""
    client = await upload(scene, 700_000)
    await scene.until(lambda: held(scene) == 700_000)
    client.leave()
    await scene.until(lambda: held(scene) == 0)
    assert scene.last.outcome is Outcome.CLIENT_GONE_QUEUED


@with_gateway(listen=TWO_BODIES)
async def test_a_body_of_unknown_length_counts_as_it_grows(scene: Stage) -> None:
    """Two chunked uploads grow until they are too much, then the newer one is pushed out."""
    first = await upload(scene, framing="Transfer-Encoding: chunked")
    second = await upload(scene, framing="Transfer-Encoding: chunked")
    piece = b"80000\r\n" + b" " * 0x80000 + b"\r\n"
    first.send_raw(piece)
    await scene.until(lambda: held(scene) == 0x80000)
    second.send_raw(piece)
    await scene.until(lambda: held(scene) == 0x100000)
    padding = await upload(scene, MIB - 1)
    await scene.until(lambda: held(scene) == 2 * MIB - 1)
    first.send_raw(b"10\r\n" + b" " * 16 + b"\r\n")
    check_pushed_out(await padding.read())
    assert held(scene) == 0x80000 * 2 + 16
    for client in (first, second, padding):
        await client.close()


@pytest.mark.parametrize("state", ["read", "waiting", "sent"])
@virtual_time
async def test_a_modest_newcomer_takes_the_place_of_the_floods_newest(state: str) -> None:
    """Wherever alice's newest is, it makes room for bob's body; her older one stays, and bob is answered."""
    silent = faults(fault(FaultKind.STALL_FIRST_BYTE, every=1, seconds=3))
    window = ONE_AT_A_TIME if state == "waiting" else Plan().window
    plan = Plan(listen=TWO_BODIES, window=window)
    async with stage(EngineWorker(silent), plan=plan) as scene:
        first = scene.asking(chat(1, metadata=LARGE))
        await scene.until(lambda: scene.in_flight)
        losing = scene.asking(chat(1, metadata=LARGE)) if state != "read" else asyncio.create_task(never_sent(scene))
        await scene.until(lambda: held(scene) > 1_800_000)
        if state == "sent":
            await scene.until(lambda: scene.in_flight == 2)
            await scene.turn(20)
        modest = scene.asking(chat(1, metadata=LARGE), "bob")
        check_pushed_out(await losing)
        assert scene.last.outcome is Outcome.BODY_PUSHED_OUT
        assert len([each for each in scene.finished if each.tenant == "bob"]) == 0
        assert (await first).is_done
        assert (await modest).is_done


@with_gateway(listen=TWO_BODIES)
async def test_a_body_is_let_go_of_when_its_answer_begins(scene: Stage) -> None:
    """The gateway keeps no body that it does not send again: a long answer to a large prompt holds nothing."""
    client = await scene.open(chat(200, metadata=LARGE))
    await client.read_head()
    (exchange,) = scene.gateway._router.exchanges
    assert held(scene) == 0
    assert exchange._parsed.rest == b""
    kept = exchange._suspect._body
    assert type(kept) is bytes, "a view holds all that it looks at"
    assert len(kept) <= MOST_KEPT_BYTES
    assert (await client.read_rest()).is_done
    await client.close()


@with_gateway(listen=TWO_BODIES)
async def test_utilities_hold_their_bodies_too(scene: Stage) -> None:
    """No path is free of the account of bodies."""
    held_then: list[int] = []
    asking = scene.asking({"model": "tiny", "prompt": "x" * 100_000}, "alice", "/tokenize")
    while not asking.done():
        held_then.append(held(scene))
        await asyncio.sleep(0)
    assert max(held_then) >= 100_000
    assert (await asking).status == 200
    assert held(scene) == 0


async def pushed_out_after(scene: Stage, turns: int, push: Callable[[], None]) -> Answer:
    """Alice's request, pushed out `turns` after it was sent."""
    asking = scene.asking(chat(3))
    await scene.until(lambda: held(scene))
    virtual_loop().after_turns(turns, push)
    answer = await asking
    await scene.settled()
    return answer


@virtual_time
async def test_a_request_pushed_out_at_any_turn_is_told_so_or_answered_and_leaves_nothing_behind() -> None:
    """Every await of its life is struck: it ends once, nothing stays held, and its connection serves the next."""
    every_other_fails = faults(fault(FaultKind.REFUSE, every=2, status=500))
    async with stage(EngineWorker(every_other_fails), EngineWorker(), plan=Plan(listen=TWO_BODIES)) as scene:
        pushed_out = 0
        for turns in range(MAX_TURNS):
            victims: list[object] = []

            def push(victims: list[object] = victims) -> None:
                """Take all of the memory, as a body of bob's would, and give it back."""
                holdings = scene.holdings
                holdings.max_bytes = 0
                for holding in list(holdings):
                    for victim in holdings.resize(holding, holding.size_bytes):
                        victim.cancel()
                        victims.append(victim)
                holdings.max_bytes = 2 * MIB

            answer = await pushed_out_after(scene, turns, push)
            if victims:
                check_pushed_out(answer)
                assert scene.last.outcome is Outcome.BODY_PUSHED_OUT
                pushed_out += 1
            else:
                assert answer.is_done
                break
        assert pushed_out > 5
        assert not victims, "the body was never let go of"


@virtual_time
async def test_a_client_that_leaves_while_it_is_pushed_out_is_not_answered() -> None:
    """Two cancellations of one task: the one from outside is not taken for ours."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with stage(ScriptedWorker(respond), plan=Plan(listen=TWO_BODIES)) as scene:
        asking = scene.asking(chat(3))
        await scene.until(lambda: scene.in_flight)
        (victim,) = scene.holdings
        scene.holdings.let_go(victim)
        victim.is_pushed_out = True
        victim.cancel()
        scene.cancel_handlers()
        answer = await asking
        assert answer.status == 0
        await scene.settled()
        assert scene.outcomes == [Outcome.BODY_PUSHED_OUT]
