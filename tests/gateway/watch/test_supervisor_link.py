"""The gateway reads the supervisor's messages, and a line that is not a message ends nothing."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from gateway.watch.supervisor import LaunchStatus, SupervisorCallbacks, SupervisorProcess

LINES = b"""Fatal Python warning: something a library prints
{"supervisor": {"api_key": "k"}}
{"worker": {"worker": "w", "state": "no field of ours is missing", "restarts": "many"}}
[1, 2]
{"worker": {"worker": "w", "state": "ready", "url": "http://127.0.0.1:1"}}
{"output": {"worker": "w", "line": "hello"}}
"""


def test_a_line_that_is_no_message_is_passed_to_the_log() -> None:
    """The gateway hears the messages after it: the supervisor and its workers live on."""
    reported: list[LaunchStatus] = []
    wrote: list[tuple[str, str]] = []

    async def story() -> None:
        supervisor = SupervisorProcess(
            SupervisorCallbacks(reported.append, lambda worker, line: wrote.append((worker, line)), lambda _: None)
        )
        output = asyncio.StreamReader()
        output.feed_data(LINES)
        output.feed_eof()
        await supervisor._hear(cast(Any, SimpleNamespace(stdout=output)))
        assert supervisor.api_key == "k"

    asyncio.run(story())
    assert [status.state for status in reported] == ["ready"]
    assert [worker for worker, _ in wrote] == ["supervisor", "supervisor", "w"]
    assert wrote[0][1].startswith("Fatal Python warning") and wrote[2][1] == "hello"
