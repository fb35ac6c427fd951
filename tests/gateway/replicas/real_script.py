"""A script of ours on a real server, whose clock the test sets, held against its model by what a crowd says."""

import copy
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import valkey

from gateway.replicas.script import AccountScript

from .crowd import AnyCrowd

THE_CLOCK = "call('TIME')"
A_CLOCK_OF_OURS = "call('LRANGE', 'clock', 0, 1)"

Result = tuple[Any, dict[str, Any]]  # a reply, and the messages to others by their names


class RealScript:
    """The text of `kind` on a real server, where it keeps the account `name`; the module `calls` reads its replies."""

    def __init__(self, client: valkey.Valkey, kind: AccountScript, calls: ModuleType, name: str) -> None:
        self._client = client
        self._kind = kind
        self._calls = calls
        self._name = name
        text = kind.script.text
        assert text.count(THE_CLOCK) == 1
        self._script = client.register_script(text.replace(THE_CLOCK, A_CLOCK_OF_OURS))
        self._messages = client.pubsub(ignore_subscribe_messages=True)
        self._messages.psubscribe(kind.channel(name, "*"))
        self._messages.get_message(timeout=1.0)
        client.flushall()

    def turn(self, call: Any, now: int) -> Result:
        """As the model's."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.delete("clock").rpush("clock", now // 1000, now % 1000 * 1000)
        self._script(keys=self._kind.keys(self._name), args=call.arguments(), client=pipeline)
        return self._calls.read_reply(pipeline.execute()[-1]), self._heard()

    def _heard(self) -> dict[str, Any]:
        """What was published: a marker of our own comes after it."""
        channel = self._kind.channel(self._name, "")
        self._client.publish(channel + "*", "end")
        heard = {}
        while (message := self._messages.get_message(timeout=5.0)) is None or message["data"] != b"end":
            if message is not None:
                heard[message["channel"].decode().removeprefix(channel)] = self._calls.read_message(message["data"])
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


def fields(value: Any) -> tuple[Any, ...]:
    """What a reply or a message says."""
    return tuple(getattr(value, name) for name in value.__slots__)


def agreed(
    crowd: AnyCrowd[Any], model: Any, script: RealScript, operations: int, normal: Callable[[Any, dict[str, Any]], Any]
) -> Iterator[tuple[Any, Any, Result]]:
    """Let `crowd` talk to both; the first difference between what is `normal` of both results fails.

    There are wipes and failovers. Yields after each call the model as it is then, the call and the result.
    """
    saved = copy.deepcopy(model), script.save()
    for number in range(operations):
        if crowd.is_time_for(0.002):
            saved = copy.deepcopy(model), script.save()
        if crowd.is_time_for(0.001):
            model.wipe()
            script.wipe()
        if crowd.is_time_for(0.001):
            model = copy.deepcopy(saved[0])
            script.restore(saved[1])
        caller, call = crowd.next_call()
        reply, messages = model.turn(call, crowd.now)
        assert normal(*script.turn(call, crowd.now)) == normal(reply, messages), f"operation {number}: {call}"
        crowd.heard(caller, call, reply)
        for name, message in messages.items():
            crowd.told(name, message)
        yield model, call, (reply, messages)
