"""Two real vLLM that the gateway starts itself: one is killed under load, then the gateway."""

import os
import select
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import VLLM_SECONDS, Gateway, write_gateway_config
from contract_cases import MODEL
from vllm_servers import python, running

REQUESTS = 48
AT_ONCE = 24  # the windows of both workers hold 10: the rest waits in the gateway's queue
BODY = {"model": MODEL, "prompt": "count", "max_tokens": 64, "ignore_eos": True}


@pytest.fixture
def gateway(logs: Path) -> Iterator[Gateway]:
    """A gateway that has launched two workers."""
    config = logs / "launched.yaml"
    write_gateway_config(config, "http://127.0.0.1:1")
    document = yaml.safe_load(config.read_text())
    document["pools"][0]["workers"] = [{"launch": {"engine": "vllm", "count": 2}}]
    config.write_text(yaml.safe_dump(document))
    with running(python("gateway", "serve", str(config), "--announce"), logs / "launched.log", VLLM_SECONDS) as url:
        yield Gateway(url)


def test_no_request_is_lost_with_a_worker_and_no_process_is_left_behind(gateway: Gateway) -> None:
    """`kill -9` of one under load: all is answered and it is back without help; of the gateway: nothing runs on."""
    workers = {each["worker"]: each for each in gateway.state()["launched"]}
    assert [each["state"] for each in workers.values()] == ["ready", "ready"]
    victim, _ = tree = [_server_at(each["url"]) for each in workers.values()]
    with ThreadPoolExecutor(AT_ONCE) as crowd:
        asked = [crowd.submit(gateway.ask, "POST", "/v1/completions", BODY) for _ in range(REQUESTS)]
        while not _is_busy(gateway.state(), next(iter(workers))):
            assert not all(each.done() for each in asked)
        os.kill(victim, signal.SIGKILL)
        answers = [each.result() for each in asked]
    assert [answer.status for answer in answers] == [200] * REQUESTS
    while (reborn := gateway.state()["launched"][0])["state"] != "ready" or not reborn["restarts"]:
        assert reborn["restarts"] <= 1
    assert gateway.ask("POST", "/v1/completions", BODY).status == 200

    servers = [_server_at(reborn["url"]), tree[1]]
    ancestors = _ancestors(servers[0])
    watched = [
        os.pidfd_open(pid) for pid in (*servers, *_children(servers[0]), *_children(servers[1]), *ancestors[:-1])
    ]
    os.kill(ancestors[-1], signal.SIGKILL)
    for descriptor in watched:
        assert select.select([descriptor], [], [], VLLM_SECONDS)[0], "a process runs on without the gateway"
        os.close(descriptor)


def _is_busy(state: Any, worker: str) -> bool:
    return any(each["worker"] == worker and each["sequences_in_flight"] for each in state["workers"])


def _server_at(url: str) -> int:
    """The process of vLLM's server that was given the port of `url`."""
    port = url.rpartition(":")[2].encode()
    for process in Path("/proc").glob("[0-9]*"):
        arguments = _arguments(process)
        if b"vllm.entrypoints.openai.api_server" in arguments and port in arguments:
            return int(process.name)
    raise AssertionError(f"no vLLM listens at {url}")


def _arguments(process: Path) -> list[bytes]:
    try:
        return (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _ancestors(server: int) -> list[int]:
    """The launcher of a vLLM server, the supervisor, the gateway."""
    found = [server]
    for _ in range(3):
        found.append(int(Path(f"/proc/{found[-1]}/stat").read_text().rpartition(")")[2].split()[1]))
    return found[1:]
