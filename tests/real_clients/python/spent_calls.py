"""A tenant that owes its rate more than a minute, as the vendors' SDKs for Python tell it: one line of JSON each."""

import json
import os
from collections.abc import Callable
from typing import Any

import anthropic
import openai

URL, KEY = os.environ["BASE_URL"], os.environ["SPENT_KEY"]
ASKED: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 12}
of_openai = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=5)
of_anthropic = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=5)


def tell(name: str, call: Callable[[], object]) -> None:
    """Make a call, and print its error with the number of attempts that were made before."""
    try:
        print(json.dumps({"name": name, "value": str(call())}))
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        before = int(error.response.request.headers["x-stainless-retry-count"])
        told = {"type": type(error).__name__, "status": error.status_code, "message": str(error), "before": before}
        print(json.dumps({"name": name, "error": told}))


def stream() -> None:
    """A stream of messages, to its end."""
    with of_anthropic.messages.stream(**ASKED) as events:
        events.until_done()


tell("first", lambda: of_openai.chat.completions.create(**ASKED))
tell("openai chat", lambda: of_openai.chat.completions.create(**ASKED))
tell("openai stream", lambda: of_openai.chat.completions.create(**ASKED, stream=True))
tell("anthropic messages", lambda: of_anthropic.messages.create(**ASKED))
tell("anthropic stream", stream)
