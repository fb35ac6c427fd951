"""The script that the store runs decides exactly what the model decides, on the servers that people have.

The ordinary suite makes few random calls; `make test-replicas` makes 100,000 on each server (REPLICA_OPERATIONS).
"""

import copy
import os
from collections.abc import Iterator
from typing import Any

import pytest
import valkey
from real_stores import running

from gateway.replicas.call import (
    MOST_FLOWS,
    Call,
    Candidate,
    FlowReport,
    Grant,
    Message,
    Reading,
    Reply,
    WorkerReport,
    channel,
    keys,
    read_message,
    read_reply,
    script,
    unused_key,
)

from .random_calls import Crowd
from .store_model import StoreModel

OPERATIONS = int(os.environ.get("REPLICA_OPERATIONS", "5000"))
POOL = "p"
THE_CLOCK = "call('TIME')"
A_CLOCK_OF_OURS = "call('LRANGE', 'clock', 0, 1)"


@pytest.fixture(scope="module", params=["redis", "valkey"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[valkey.Valkey]:
    """A fresh server of each kind."""
    with running(request.param, tmp_path_factory.mktemp(request.param)) as store:
        yield store


class RealStore:
    """The script's own text on a real server, whose clock the test sets."""

    def __init__(self, client: valkey.Valkey) -> None:
        self._client = client
        text = script()
        assert text.count(THE_CLOCK) == 1
        self._script = client.register_script(text.replace(THE_CLOCK, A_CLOCK_OF_OURS))
        self._messages = client.pubsub(ignore_subscribe_messages=True)
        self._messages.psubscribe(channel(POOL, "*"))
        self._messages.get_message(timeout=1.0)
        client.flushall()

    def turn(self, call: Call, now: int) -> tuple[Reply, dict[str, Message]]:
        """As the model's."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.delete("clock").rpush("clock", now // 1000, now % 1000 * 1000)
        self._script(keys=keys(POOL), args=call.arguments(), client=pipeline)
        reply = read_reply(pipeline.execute()[-1])
        return reply, self._heard(reply.seq)

    def _heard(self, seq: int) -> dict[str, Message]:
        """What was published: a marker of our own comes after it."""
        self._client.publish(channel(POOL, "*"), "end")
        heard: dict[str, Message] = {}
        while (message := self._messages.get_message(timeout=5.0)) is None or message["data"] != b"end":
            if message is not None:
                heard[message["channel"].decode().removeprefix(channel(POOL, ""))] = read_message(message["data"])
        return heard

    def wipe(self) -> None:
        """Empty the store."""
        self._client.flushall()

    def save(self) -> dict[bytes, bytes]:
        """All that is there, as a replica of the store that falls behind."""
        return {key: self._client.dump(key) for key in self._client.scan_iter()}

    def restore(self, saved: dict[bytes, bytes]) -> None:
        """Go back to what was saved, as in a failover."""
        self.wipe()
        for key, value in saved.items():
            self._client.restore(key, 0, value)


def normal(reply: Reply, messages: dict[str, Message]) -> Any:
    """What matters of a result: lists that have no order are sorted."""
    told = {name: (*_fields(message)[:-1], sorted(message.grants)) for name, message in messages.items()}
    fields = _fields(reply)
    return (*fields[:14], sorted(reply.grants), sorted(reply.workers), sorted(reply.flows)), told


def _fields(value: Any) -> tuple[Any, ...]:
    return tuple(getattr(value, name) for name in value.__slots__)


def play(client: valkey.Valkey, operations: int, seed: int) -> dict[str, int]:
    """Let a crowd talk to both; the first difference fails. Returns how often each thing happened."""
    crowd, model, store = Crowd(seed), StoreModel(), RealStore(client)
    saved = copy.deepcopy(model), store.save()
    seen = dict.fromkeys(("ok", "register", "late", "grants", "messages", "ghosts", "flows", "recalls", "asks"), 0)
    for number in range(operations):
        if crowd.is_time_for(0.002):
            saved = copy.deepcopy(model), store.save()
        if crowd.is_time_for(0.001):
            model.wipe()
            store.wipe()
        if crowd.is_time_for(0.001):
            model = copy.deepcopy(saved[0])
            store.restore(saved[1])
        caller, call = crowd.next_call()
        reply, messages = model.turn(call, crowd.now)
        assert normal(*store.turn(call, crowd.now)) == normal(reply, messages), f"operation {number}: {call}"
        crowd.heard(caller, call, reply)
        for name, message in messages.items():
            crowd.told(name, message)
        seen[reply.status.name.lower()] += 1
        seen["grants"] += len(reply.grants)
        seen["messages"] += len(messages)
        seen["ghosts"] += len(model.ghosts)
        seen["flows"] += len(reply.flows)
        seen["recalls"] += sum(message.is_recall for message in messages.values())
        seen["asks"] += sum(message.is_asked for message in messages.values())
    return seen


def test_the_script_does_what_the_model_does(client: valkey.Valkey) -> None:
    """Random calls, wipes, failovers and late repetitions: every reply and every message is the same."""
    seen = play(client, OPERATIONS, seed=1)
    assert all(seen.values()), f"nothing of one kind happened: {seen}"


def _same(client: valkey.Valkey, calls: list[tuple[Call, int]]) -> Iterator[Reply]:
    """The replies to `calls`, each at its time, which model and script agree on."""
    model, store = StoreModel(), RealStore(client)
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
    model, store, grants = StoreModel(), RealStore(client), []
    for number, is_unused in enumerate((False, True, False), 1):
        model.wipe()
        store.wipe()
        if is_unused:
            model.is_unused = True
            client.set(unused_key(POOL), 1)
        call = _member(
            "a", is_registering=True, readings=[Reading("w0", 4, 0, 0, 1)], candidates=[Candidate(5, "t", 5)]
        )
        expected = model.turn(call, 10_000 * number)
        assert normal(*store.turn(call, 10_000 * number)) == normal(*expected)
        grants.append(len(expected[0].grants))
        assert not client.exists(unused_key(POOL))
    assert grants == [0, 1, 0]


def test_more_flows_than_a_page_come_page_by_page(client: valkey.Valkey) -> None:
    """Every changed flow is told once, however many pages it takes."""
    names = [f"f{number}" for number in range(6 * MOST_FLOWS)]
    parts = [names[start : start + MOST_FLOWS] for start in range(0, len(names), MOST_FLOWS)]
    model, store, told, changes = StoreModel(), RealStore(client), [], 0
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
