"""What a server says of itself on a new connection, and whether replicas can use it.

One write asks for everything: the user is authenticated, and the server asked for its run id, version and role.
"""

from typing import Final

import hiredis

from gateway.config import Replicas
from gateway.store.connection import Command, Reply, StoreConnection
from gateway.store.failures import explain, quote

LEAST_VERSION: Final = (6, 2)
_INFO: Final[Command] = ("INFO", "server")
_ROLE: Final[Command] = ("ROLE",)


async def greet(connection: StoreConnection, replicas: Replicas, deadline_seconds: float) -> str:
    """The run id of the server behind the new `connection`. `StoreFailed` if replicas cannot use this server."""
    *logged_in, info, role = await connection.ask([*_login(replicas), _INFO, _ROLE], deadline_seconds)
    if objection := _objection(logged_in, info, role):
        connection.fail(objection)
        raise connection.failure()
    return _stated(info)["run_id"]


def _login(replicas: Replicas) -> list[Command]:
    if replicas.password is None:
        return []
    user = (replicas.username,) if replicas.username else ()
    return [("AUTH", *user, replicas.password)]


def _objection(logged_in: list[Reply], info: Reply, role: Reply) -> str:
    for reply in (*logged_in, info, role):
        if isinstance(reply, hiredis.ReplyError):
            return explain(str(reply))
    stated = _stated(info)
    if not stated.get("run_id"):
        return "it does not tell its run id; use Redis or Valkey, 6.2 or later"
    version = stated.get("redis_version", "")
    if _numbers(version) < LEAST_VERSION:
        return f"its version is {quote(version)}; use Redis or Valkey, 6.2 or later"
    if role[0] != b"master":
        return explain("READONLY ")
    return ""


def _stated(info: Reply) -> dict[str, str]:
    lines = info.decode("utf-8", "replace").splitlines() if isinstance(info, bytes) else []
    return {name: value for name, _, value in (line.partition(":") for line in lines)}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
