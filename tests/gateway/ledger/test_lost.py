"""What a kill can take, in virtual time: what is handed over is written at once, and the file left as it is then."""

import asyncio
from pathlib import Path
from random import Random

import pytest
from virtual_time import run_in_virtual_time

from gateway.events import OpenRequest, RequestDispatched
from gateway.ledger.file import Batch, LedgerFile
from gateway.ledger.recorder import Recorder
from gateway.ledger.rows import orphan_of, row_of
from gateway.ledger.writer import Delivery

from .books import NOON, check_sums, content, finished, open_request

ENDS_SECONDS = 0.1  # of ends may be missing
STREAMS_SECONDS = 1.0  # of each open stream may be missing
TOKENS_PER_SECOND = 100
LONG_SECONDS = 10.0  # more than any of these lives lasts


class PromptWriter:
    """Writes what it is handed before it returns, as the thread does as soon as it has done the batch before."""

    works = True

    def __init__(self, path: Path) -> None:
        self.file = LedgerFile(path)
        self._batches = 0
        self._is_killed = False

    def start(self) -> None:
        """Nothing has to begin."""

    def kill(self) -> None:
        """Leave the file as it is."""
        self._is_killed = True
        self.file.drop()

    def take(self, delivery: Delivery) -> None:
        if self._is_killed:
            return
        self._batches += 1
        rows, notes = [row_of(each) for each in delivery.ended], [orphan_of(each) for each in delivery.noted]
        self.file.write(self._batches, Batch(rows, notes, delivery.times))


class Life:
    """A gateway's requests from its start until it is killed; times are those of the loop."""

    def __init__(self, path: Path, random: Random) -> None:
        self.writer = PromptWriter(path)
        self.granted_at: dict[str, float] = {}
        self.ended_at: dict[str, float] = {}
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._recorder = Recorder(self.writer, self._find, lambda: (), lambda: NOON + self._loop.time())  # type: ignore[arg-type]

    def tokens(self, request_id: str, at: float) -> int:
        """How far an open request is."""
        return int((at - self.granted_at[request_id]) * TOKENS_PER_SECOND)

    def _find(self, request_id: str) -> OpenRequest | None:
        if request_id in self.ended_at:
            return None
        return open_request(request_id, output_tokens=self.tokens(request_id, self._loop.time()))

    async def run(self, seconds: float) -> None:
        """Play it: bursts and lulls, and requests that are over at once or run for seconds."""
        self._recorder.start()
        end = self._loop.time() + seconds
        while self._loop.time() < end:
            for _ in range(self._random.choice((1, 1, 3, 150))):
                self._grant()
            await asyncio.sleep(min(self._random.expovariate(20), end - self._loop.time()))

    def _grant(self) -> None:
        request_id = f"r{len(self.granted_at)}"
        self.granted_at[request_id] = self._loop.time()
        self._recorder.observe(RequestDispatched(request_id, "alice", "tiny", "w0", 0.0))
        self._loop.call_later(self._random.choice((0.0, 0.02, 0.3, 2.0, LONG_SECONDS)), self._end, request_id)

    def _end(self, request_id: str) -> None:
        self.ended_at[request_id] = self._loop.time()
        tokens = self.tokens(request_id, self._loop.time())
        self._recorder.observe(finished(request_id, output_tokens=tokens))


@pytest.mark.parametrize("seed", range(8))
def test_a_kill_takes_the_last_ends_and_a_second_of_each_stream(tmp_path: Path, seed: int) -> None:
    """At any moment: every end but the last ones has its row, every open request its tokens of a second ago."""

    path, random = tmp_path / "8000.sqlite", Random(seed)

    async def story() -> tuple[Life, dict[str, float], float]:
        life = Life(path, random)
        await life.run(random.uniform(0.5, 5.0))
        life.writer.kill()
        ended_at, killed_at = dict(life.ended_at), asyncio.get_running_loop().time()
        await asyncio.sleep(LONG_SECONDS + 5)
        return life, ended_at, killed_at

    life, ended_at, killed_at = run_in_virtual_time(story())
    LedgerFile(path).close()
    found = content(path, "SELECT request_id, name, output_tokens FROM requests JOIN names n ON n.id = outcome")
    ended = {request_id: tokens for request_id, outcome, tokens in found if outcome == "completed"}
    orphans = {request_id: tokens for request_id, outcome, tokens in found if outcome == "orphaned"}
    assert len(ended) + len(orphans) == len(found)  # nothing is there twice
    for request_id, at in ended_at.items():
        if at <= killed_at - ENDS_SECONDS:
            assert ended[request_id] == life.tokens(request_id, at)
    for request_id, at in life.granted_at.items():
        if at <= killed_at - STREAMS_SECONDS and request_id not in ended_at:
            assert orphans[request_id] >= life.tokens(request_id, killed_at - STREAMS_SECONDS)
    assert len(ended) > 10 and len(orphans) > 1
    check_sums(path)
