"""A client's connection costs a task while it is answered, and none while it waits."""

import asyncio

from whole_gateway import Stage, with_gateway

HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


def tasks() -> int:
    """How many tasks client connections have now."""
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return sum(name.startswith(("Connection.", "RequestHandler.")) for name in names)


@with_gateway()
async def test_waiting_connections_have_no_task(scene: Stage) -> None:
    """Neither one that has asked nothing yet nor one that was answered."""
    wires = [await scene.connect() for _ in range(8)]
    await asyncio.sleep(0.1)
    assert tasks() == 0
    for wire in wires:
        wire.send_raw(HEALTH)
        assert (await wire.read()).status == 200
    await asyncio.sleep(0.1)
    assert tasks() == 0
    for wire in wires:
        wire.send_raw(HEALTH)
        assert (await wire.read()).status == 200
        await wire.close()
