"""The script that the store runs decides exactly what the model decides, on the servers that people have.

The ordinary suite makes few random calls; `make test-replicas` makes 100,000 on each server (REPLICA_OPERATIONS).
"""

import os
from collections.abc import Iterator
from typing import Any

import valkey

from gateway.replicas import call as calls
from gateway.replicas.call import (
    MOST_FLOWS,
    TURN,
    UNUSED,
    Call,
    Candidate,
    FlowReport,
    Grant,
    Message,
    Reading,
    Reply,
    WorkerReport,
)

from .random_calls import Crowd
from .real_script import RealScript, agreed, fields
from .store_model import StoreModel

OPERATIONS = int(os.environ.get("REPLICA_OPERATIONS", "5000"))
POOL = "p"


def script_on(client: valkey.Valkey) -> RealScript:
    """The script on a real server, which is empty."""
    return RealScript(client, calls.TURN, calls, POOL)


def normal(reply: Reply, messages: dict[str, Message]) -> Any:
    """What matters of a result: lists that have no order are sorted."""
    told = {name: (*fields(message)[:-1], sorted(message.grants)) for name, message in messages.items()}
    return (*fields(reply)[:15], sorted(reply.grants), sorted(reply.workers), sorted(reply.flows)), told


def test_the_script_does_what_the_model_does(client: valkey.Valkey) -> None:
    """Random calls, wipes, failovers and late repetitions: every reply and every message is the same."""
    seen = dict.fromkeys(("ok", "register", "late", "grants", "messages", "ghosts", "flows", "recalls", "asks"), 0)
    play = agreed(Crowd(seed=1), StoreModel(), script_on(client), OPERATIONS, normal)
    for model, _, (reply, messages) in play:
        seen[reply.status.name.lower()] += 1
        seen["grants"] += len(reply.grants)
        seen["messages"] += len(messages)
        seen["ghosts"] += len(model.ghosts)
        seen["flows"] += len(reply.flows)
        seen["recalls"] += sum(message.is_recall for message in messages.values())
        seen["asks"] += sum(message.is_asked for message in messages.values())
    assert all(seen.values()), f"nothing of one kind happened: {seen}"


def _same(client: valkey.Valkey, calls: list[tuple[Call, int]]) -> Iterator[Reply]:
    """The replies to `calls`, each at its time, which model and script agree on."""
    model, store = StoreModel(), script_on(client)
    for call, now in calls:
        expected = model.turn(call, now)
        assert normal(*store.turn(call, now)) == normal(*expected)
        yield expected[0]


def _member(name: str, **said: Any) -> Call:
    return Call(name, f"boot of {name}", 0, said.pop("number", 1), "s", 2_000, "server", "g", **said)


def test_a_leaver_leaves_its_room_to_others_in_the_same_call(client: valkey.Valkey) -> None:
    """Who waits elsewhere gets it; what was not given back counts until a reading that was asked for later."""
    window, later, waits = Reading("w0", 4, 0, 0, 1), Reading("w0", 4, 0, 0, 3_900), Candidate(5, "t", 5)
    calls = [
        (_member("a", is_registering=True, readings=[window], workers=[WorkerReport("w0", 4)]), 1),
        (_member("a", number=2, workers=[WorkerReport("w0", 4)]), 1_500),
        (_member("b", is_registering=True, candidates=[waits] * 4), 2_500),
        (_member("a", number=3, is_leaving=True, workers=[WorkerReport("w0", 4, returned=3)]), 2_510),
        (_member("b", number=2), 2_520),
        (_member("b", number=3, readings=[later], workers=[WorkerReport("w0", 3)], candidates=[waits]), 4_000),
    ]
    *_, before, leaver, heir, last = _same(client, calls)
    assert (before.living, before.workers[0].free) == (2, 0)
    assert (leaver.living, leaver.grants, leaver.least_elsewhere) == (1, [], 5)
    assert (heir.living, heir.grants, heir.workers[0].ghosts) == (1, [Grant("w0", 3)], 1)
    assert (last.grants, last.workers[0].ghosts) == ([Grant("w0", 4)], 0)


def test_a_store_that_nobody_has_used_before_gives_room_at_once(client: valkey.Valkey) -> None:
    """One of which nobody has said so waits for a lease, also if it is emptied later."""
    model, store, grants = StoreModel(), script_on(client), []
    for number, is_unused in enumerate((False, True, False), 1):
        model.wipe()
        store.wipe()
        if is_unused:
            model.is_unused = True
            client.set(TURN.key(POOL, UNUSED), 1)
        call = _member(
            "a", is_registering=True, readings=[Reading("w0", 4, 0, 0, 1)], candidates=[Candidate(5, "t", 5)]
        )
        expected = model.turn(call, 10_000 * number)
        assert normal(*store.turn(call, 10_000 * number)) == normal(*expected)
        grants.append(len(expected[0].grants))
        assert not client.exists(TURN.key(POOL, UNUSED))
    assert grants == [0, 1, 0]


def test_a_store_that_began_anew_waits_until_an_engine_was_read(client: valkey.Valkey) -> None:
    """When its lease has ended it gives only what comes back: an older reading does not show who else is there."""
    old, fresh, waits = Reading("w0", 4, 0, 0, 1), Reading("w0", 4, 0, 0, 7_500), Candidate(5, "t", 5)
    calls = [
        (_member("a", is_registering=True, readings=[old], workers=[WorkerReport("w0", 2)]), 5_000),
        (_member("a", number=2, workers=[WorkerReport("w0", 2)]), 6_500),
        (_member("b", is_registering=True, candidates=[waits] * 3), 8_000),
        (_member("a", number=3, workers=[WorkerReport("w0", 2, returned=1)]), 8_010),
        (_member("b", number=2, workers=[WorkerReport("w0", 0)], candidates=[waits] * 2), 8_020),
        (_member("a", number=4, readings=[fresh], workers=[WorkerReport("w0", 2, returned=1)]), 8_030),
        (_member("b", number=3, workers=[WorkerReport("w0", 1)]), 8_040),
    ]
    *_, nothing, back, one, _, rest = _same(client, calls)
    assert (nothing.grants, nothing.workers[0].free, nothing.workers[0].is_uncounted) == ([], 2, True)
    assert (back.workers[0].held, back.workers[0].is_uncounted) == (2, True)
    assert one.grants == [Grant("w0", 1)]
    assert (rest.grants, rest.workers[0].is_uncounted) == ([Grant("w0", 2)], False)


def test_more_flows_than_a_page_come_page_by_page(client: valkey.Valkey) -> None:
    """Every changed flow is told once, however many pages it takes."""
    names = [f"f{number}" for number in range(6 * MOST_FLOWS)]
    parts = [names[start : start + MOST_FLOWS] for start in range(0, len(names), MOST_FLOWS)]
    model, store, told, changes = StoreModel(), script_on(client), [], 0
    for number, part in enumerate(parts, 1):
        flows = [FlowReport(name, 7) for name in part]
        call = _member("a", number=number, flows=flows, is_registering=number == 1)
        assert normal(*store.turn(call, 1)) == normal(*model.turn(call, 1))
    for number in range(1, 10):
        call = _member("b", number=number, changes=changes, is_registering=number == 1)
        reply, _ = model.turn(call, 1)
        assert normal(*store.turn(call, 1)) == normal(reply, {})
        told += [flow.name for flow in reply.flows]
        changes = reply.changes
        if not reply.has_more_changes:
            break
    assert sorted(told) == sorted(names)


def test_a_flow_keeps_no_totals_of_boots_without_end(client: valkey.Valkey) -> None:
    """A flow that a hundred boots reported, most of them dead, still adds up, and the dead cannot add again."""
    calls = [
        (_member(f"r{number}", is_registering=True, flows=[FlowReport("f", 5)]), 3_000 * number)
        for number in range(100)
    ]
    calls.append((_member("r0", number=2, is_registering=True, flows=[FlowReport("f", 6, 5)]), 300_000))
    *_, last = _same(client, calls)
    assert last.flows[0].sum == 501
