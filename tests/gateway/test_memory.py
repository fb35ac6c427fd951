"""The memory of a gateway under a flood of large bodies, as the operating system counts it."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families
from served import Served, serving

BODIES = 1000
BODY_BYTES = 4 * 2**20
MOST_MIB_OVER_START = 256  # of which listen.max_bodies_mib are 128
REQUESTS_PER_SECOND = 64
_PIECE_BYTES = 64 * 1024
_CONFIG = """\
listen: {port: 0}
pools:
  - model: tiny
    workers: [{url: "http://127.0.0.1:WORKER"}]
    window: {sequences: 16, prefill_tokens: 100000}
tenants:
  - {name: alice, keys: [{id: main, file: alice.key}]}
  - {name: bob, keys: [{id: main, file: bob.key}]}
"""


@contextmanager
def worker() -> Iterator[str]:
    """The port of a worker that costs nothing."""
    process = subprocess.Popen([sys.executable, str(Path(__file__).parent / "bare_worker.py")], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip()
    finally:
        process.kill()
        process.communicate()


def body(**fields: object) -> bytes:
    """A chat of `fields`."""
    return json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], **fields}).encode()


PADDING = "x" * (BODY_BYTES - len(body(metadata={"padding": ""}, max_tokens=50)))
FLOOD = (
    body(metadata={"padding": PADDING}, max_tokens=50),  # a field that the engine ignores, and white space
    body(max_tokens=50)[:-1] + b" " * (BODY_BYTES - len(body(max_tokens=50))) + b"}",
)


class Gateway:
    """A gateway of its own process."""

    def __init__(self, child: Served, folder: Path) -> None:
        self._child = child
        self._folder = folder
        self.host, self.port = urlsplit(child.url).hostname, urlsplit(child.url).port

    def memory_mib(self, line: str) -> float:
        """`VmRSS`, or `VmHWM`: its highest so far."""
        status = Path(f"/proc/{self._child.process.pid}/status").read_text()
        return next(int(each.split()[1]) / 1024 for each in status.splitlines() if each.startswith(line))

    def metrics(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each sample of a metric."""
        text = self._child.request("/metrics")[1].decode()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return [(sample.labels, sample.value) for sample in samples if sample.name == name]

    async def ask(self, tenant: str, content: bytes) -> int:
        """The status of the answer, which may come before all is sent; 0 where the connection broke without one."""
        key = (self._folder / f"{tenant}.key").read_text().strip()
        reader, writer = await asyncio.open_connection(self.host, self.port)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode())
        sending = asyncio.create_task(_send(writer, content))
        try:
            answer = await reader.read()
            return int(answer.split(b" ")[1])
        except (ConnectionError, IndexError):
            return 0
        finally:
            await sending
            writer.transport.abort()


async def _send(writer: asyncio.StreamWriter, content: bytes) -> None:
    try:
        for start in range(0, len(content), _PIECE_BYTES):
            writer.write(content[start : start + _PIECE_BYTES])
            await writer.drain()
    except ConnectionError:
        return


async def flooded(gateway: Gateway) -> tuple[Counter[int], Counter[int]]:
    """Alice's thousand bodies at once, and beside them bob's requests at their pace; who was answered what."""
    is_over = asyncio.Event()

    async def pace() -> Counter[int]:
        asking = []
        while not is_over.is_set():
            asking.append(asyncio.create_task(gateway.ask("bob", body(max_tokens=1))))
            await asyncio.sleep(1 / REQUESTS_PER_SECOND)
        return Counter(await asyncio.gather(*asking))

    modest = asyncio.create_task(pace())
    flood = Counter(await asyncio.gather(*(gateway.ask("alice", FLOOD[n % 2]) for n in range(BODIES))))
    is_over.set()
    return flood, await modest


def test_a_thousand_large_bodies_of_one_tenant_cost_a_bounded_memory_and_nobody_else(tmp_path: Path) -> None:
    """The surplus is pushed out and counted, every request of another tenant is answered, and nothing stays held."""
    with worker() as port:
        (tmp_path / "config.yaml").write_text(_CONFIG.replace("WORKER", port))
        with serving(tmp_path / "config.yaml") as child:
            judge(Gateway(child, tmp_path))


def judge(gateway: Gateway) -> None:
    """Play the flood, and look at what it cost."""
    assert asyncio.run(gateway.ask("bob", body(max_tokens=1))) == 200
    at_start = gateway.memory_mib("VmRSS")
    flood, modest = asyncio.run(flooded(gateway))
    assert set(modest) == {200}
    assert set(flood) <= {200, 429, 0}
    assert gateway.memory_mib("VmHWM") - at_start < MOST_MIB_OVER_START
    ended = gateway.metrics("vtc_gateway_requests_total")
    ends = Counter({labels["outcome"]: int(value) for labels, value in ended if labels["tenant"] == "alice"})
    assert ends.total() == BODIES
    assert ends["completed"] == flood[200]
    assert ends["body_pushed_out"] == BODIES - flood[200] >= BODIES / 2
    assert sum(value for _, value in gateway.metrics("vtc_gateway_body_bytes")) == 0
