"""`make run-vllm`: a real language model behind the gateway answers a question in English."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from vllm_exchange import exchange
from vllm_servers import ROOT, running

# The first start downloads the model and converts it.
FIRST_START_SECONDS = 420


@pytest.fixture(scope="module")
def url(logs: Path) -> Iterator[str]:
    """The gateway as `make run-vllm` starts it, on a free port."""
    command = [str(ROOT / "scripts" / "run-vllm"), "--announce", "--port", "0"]
    with running(command, logs / "run-vllm.log", FIRST_START_SECONDS) as url:
        yield url


def test_a_question_is_answered_in_english(url: str) -> None:
    """The most probable answer to an easy question is the right one, in a sentence."""
    key = (ROOT / ".keys" / "search.key").read_text().strip()
    question = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
    body = {"model": "smollm2", "messages": question, "max_tokens": 40, "temperature": 0}
    answer = exchange(url, "POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {key}"})
    assert answer.status == 200, answer
    text = answer.document["choices"][0]["message"]["content"]
    assert "Paris" in text
    assert " is " in text
