"""A budget that processes hold together, and that is not passed when one of them is killed."""

import json
import os
import signal
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from time import sleep

import apsw
from served import STUCK_SECONDS, Served

from .several import engine, gateways, key, read_until, several, write_config

AMOUNT, AT_ONCE = 6000, 8
CONFIG = f"ledger: {{folder: ledger}}\ntenant_defaults: {{budgets: [{{amount: {AMOUNT}, period: month}}]}}\n"
CHAT = "/v1/chat/completions"
QUESTION = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 200, "min_tokens": 100}
BODY = json.dumps(QUESTION).encode()
CUT_OFF = 0  # in the place of a status


def figures(folder: Path, query: str) -> int:
    """The sum of what `query` finds in the files of all processes."""
    found = 0
    for file in (folder / "ledger").glob("*.sqlite"):
        connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
        found += connection.execute(query).get or 0
        connection.close()
    return found


def asked(child: Served, credential: str) -> int:
    """The status of an answer; `CUT_OFF` if its process died."""
    with suppress(OSError, HTTPException):
        return child.request(CHAT, credential, BODY)[0]
    return CUT_OFF


def results(calls: "list[Future[int]]") -> set[int]:
    """What became of requests."""
    return {call.result(STUCK_SECONDS) for call in calls}


def test_a_process_that_is_killed_takes_what_it_held(tmp_path: Path) -> None:
    """The one that takes its place finds its ledger; together they use the budget up, and not more."""
    with engine("cpu-tiny") as url, ThreadPoolExecutor(AT_ONCE) as pool:
        config = write_config(tmp_path, url)
        config.write_text(config.read_text() + CONFIG)
        with several(config) as child:
            credential = key(tmp_path)
            calls = [pool.submit(asked, child, credential) for _ in range(AT_ONCE)]
            while not figures(tmp_path, "SELECT count(*) FROM open"):
                sleep(0.02)
            os.kill(gateways(child)[0], signal.SIGKILL)
            name = read_until(child, "gateway process ended")["name"]
            read_until(child, '"event":"ready"', f'"process":"{name}"')
            assert results(calls) <= {200, CUT_OFF, 429}
            served = {200}
            while 200 in served:
                served = results([pool.submit(asked, child, credential) for _ in range(AT_ONCE)])
            assert served == {429}
            child.signal(signal.SIGTERM)
            assert child.ended()[0] == 0
    used = figures(tmp_path, "SELECT sum(prompt_tokens + output_tokens) FROM requests")
    assert 0.9 * AMOUNT <= used <= AMOUNT
