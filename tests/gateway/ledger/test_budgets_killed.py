"""What a budget counts after its gateway was killed: all that had ended, and what ran as far as it was noted."""

import json
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from time import sleep

from served import STUCK_SECONDS, Served, serving, write_config

from .books import content

AMOUNT = 100_000
CONFIG = f"ledger: {{}}\ntenant_defaults: {{budgets: [{{amount: {AMOUNT}}}]}}\n"
CHAT = "/v1/chat/completions"


@contextmanager
def keeping(folder: Path) -> Iterator[Served]:
    """A gateway process whose tenant has a budget."""
    path = write_config(folder, profile="cpu-tiny")
    path.write_text(path.read_text() + CONFIG)
    with serving(path) as child:
        yield child


def used(child: Served) -> int:
    """What of the budget is used, as the metrics say."""
    text = child.request("/metrics")[1].decode()
    (ratio,) = re.findall(r"^vtc_gateway_budget_used_ratio\{.*\} (.*)$", text, re.MULTILINE)
    return round(float(ratio) * AMOUNT)


def test_a_killed_gateway_has_used_what_its_ledger_says(tmp_path: Path) -> None:
    """SIGKILL during a long answer: the next life counts the short ones in full and the long one as it was noted."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}]}
    short = json.dumps(body | {"max_tokens": 4, "min_tokens": 4}).encode()
    with keeping(tmp_path) as child:
        key = (tmp_path / "alice.key").read_text().strip()
        for _ in range(3):
            assert child.request(CHAT, key, short)[0] == 200
        before = used(child)
        (file,) = (tmp_path / "ledger").glob("*.sqlite")
        while content(file, "SELECT count(*) FROM requests") != [(3,)]:  # what ended in the last 100 ms may be lost
            sleep(0.05)

        def ask() -> None:
            with suppress(OSError, HTTPException):
                child.request(CHAT, key, json.dumps(body | {"max_tokens": 2000, "min_tokens": 2000}).encode())

        asking = threading.Thread(target=ask)
        asking.start()
        while not content(file, "SELECT request_id FROM open"):
            assert asking.is_alive()
            sleep(0.05)
        child.signal(signal.SIGKILL)
        asking.join(STUCK_SECONDS)
    with keeping(tmp_path) as child:
        assert child.request(CHAT, key, short)[0] == 200
        after = used(child)
        child.signal(signal.SIGTERM)
        assert child.ended()[0] == 0
    ((kept,),) = content(file, "SELECT sum(prompt_tokens + output_tokens) FROM requests")
    assert after == kept
    assert before < after < before + 2100
