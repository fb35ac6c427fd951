"""The script about the limits of tenants decides exactly what its model decides, on the servers that people have.

The ordinary suite makes few random calls; `make test-replicas` makes 100,000 on each server (REPLICA_OPERATIONS).
"""

import copy
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import valkey
from real_stores import running

from gateway.replicas.quota_call import (
    MOST_ROWS,
    LimitReport,
    QuotaCall,
    QuotaMessage,
    QuotaReply,
    channel,
    keys,
    read_message,
    read_reply,
    script,
)

from .quota_model import QuotaModel
from .random_quota_calls import QuotaCrowd

OPERATIONS = int(os.environ.get("REPLICA_OPERATIONS", "5000"))
FLEET = "f"
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
        self._messages.psubscribe(channel(FLEET, "*"))
        self._messages.get_message(timeout=1.0)
        client.flushall()

    def turn(self, call: QuotaCall, now: int) -> tuple[QuotaReply, dict[str, QuotaMessage]]:
        """As the model's."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.delete("clock").rpush("clock", now // 1000, now % 1000 * 1000)
        self._script(keys=keys(FLEET), args=call.arguments(), client=pipeline)
        return read_reply(pipeline.execute()[-1]), self._heard()

    def _heard(self) -> dict[str, QuotaMessage]:
        """What was published: a marker of our own comes after it."""
        self._client.publish(channel(FLEET, "*"), "end")
        heard: dict[str, QuotaMessage] = {}
        while (message := self._messages.get_message(timeout=5.0)) is None or message["data"] != b"end":
            if message is not None:
                heard[message["channel"].decode().removeprefix(channel(FLEET, ""))] = read_message(message["data"])
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


def _fields(value: Any) -> tuple[Any, ...]:
    return tuple(getattr(value, name) for name in value.__slots__)


def _count(seen: Counter[str], call: QuotaCall, reply: QuotaReply, messages: dict[str, QuotaMessage]) -> None:
    reports = {report.name: report for report in call.limits}
    seen[reply.status.name.lower()] += 1
    seen["grants"] += sum(state.granted > reports[state.name].granted for state in reply.limits)
    seen["gone"] += sum(state.is_gone for state in reply.limits)
    seen["yields"] += sum(state.wanted == 2 for state in reply.limits)
    seen["claims"] += len(reply.claimed)
    seen["unsettled"] += reply.generation != "" and not reply.is_settled
    for message in messages.values():
        seen["grants elsewhere"] += len(message.grants)
        seen["wanted"] += len(message.wanted)
        seen["claimed"] += len(message.claimed)


KINDS = ("ok", "register", "late", "grants", "grants elsewhere", "gone", "yields", "claims", "unsettled", "wanted")


def test_the_script_does_what_the_model_does(client: valkey.Valkey) -> None:
    """Random calls, wipes, failovers and late repetitions: every reply and every message is the same."""
    crowd, model, store = QuotaCrowd(1), QuotaModel(), RealStore(client)
    saved, seen = (copy.deepcopy(model), store.save()), Counter[str]()
    for number in range(OPERATIONS):
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
        real, heard = store.turn(call, crowd.now)
        assert _fields(real) == _fields(reply), f"operation {number}: {call}"
        assert {name: _fields(said) for name, said in heard.items()} == {
            name: _fields(said) for name, said in messages.items()
        }, f"operation {number}: {call}"
        crowd.heard(caller, call, reply)
        for name, message in messages.items():
            crowd.told(name, message)
        _count(seen, call, reply, messages)
    assert all(seen[kind] for kind in KINDS), f"nothing of one kind happened: {seen}"


def test_more_claims_than_a_page_come_page_by_page(client: valkey.Valkey) -> None:
    """Each limit that came into use is told once, however many pages it takes."""
    model, store, told, claims = QuotaModel(), RealStore(client), [], 0
    for number in range(1, 4):
        limits = [LimitReport(f"f:{number}:{each}", 5, is_rate=False, held=1, used=1) for each in range(MOST_ROWS)]
        call = QuotaCall("a", "boot", 0, number, "server", "g", "g", is_registering=number == 1, limits=limits)
        assert _fields(store.turn(call, 1)[0]) == _fields(model.turn(call, 1)[0])
    for number in range(1, 10):
        call = QuotaCall("b", "boot", 0, number, "server", "g", "g", claims=claims, is_registering=number == 1)
        reply, _ = model.turn(call, 1)
        assert _fields(store.turn(call, 1)[0]) == _fields(reply)
        told, claims = [*told, *reply.claimed], reply.claims
        if not reply.has_more_claims:
            break
    assert sorted(told) == sorted(f"f:{number}:{each}" for number in range(1, 4) for each in range(MOST_ROWS))
