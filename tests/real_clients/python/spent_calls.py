"""Tenants for whom retrying is vain, by a rate or a budget, as the vendors' SDKs for Python tell it: JSON lines."""

import json
import os
from collections.abc import Callable
from typing import Any

import anthropic
import openai

URL = os.environ["BASE_URL"]
ASKED: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 12}


def tell(name: str, call: Callable[[], object]) -> None:
    """Make a call, and print its error with the number of attempts that were made."""
    try:
        print(json.dumps({"name": name, "value": str(call())}))
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        told = {"type": type(error).__name__, "status": error.status_code, "message": str(error)}
        print(json.dumps({"name": name, "error": told}))
        retries = int(error.response.request.headers["x-stainless-retry-count"])
        print(json.dumps({"name": f"{name}: attempts", "value": 1 + retries}))


def tell_all(tenant: str, key: str) -> None:
    """Make the calls of a tenant."""
    of_openai = openai.OpenAI(base_url=f"{URL}/v1", api_key=key, max_retries=5)
    of_anthropic = anthropic.Anthropic(base_url=URL, api_key=key, max_retries=5)

    def stream() -> None:
        with of_anthropic.messages.stream(**ASKED) as events:
            events.until_done()

    tell("first", lambda: of_openai.chat.completions.create(**ASKED))
    tell(f"{tenant}: openai chat", lambda: of_openai.chat.completions.create(**ASKED))
    tell(f"{tenant}: openai stream", lambda: of_openai.chat.completions.create(**ASKED, stream=True))
    tell(f"{tenant}: openai responses", lambda: of_openai.responses.create(model="tiny", input="Hello"))
    tell(f"{tenant}: anthropic messages", lambda: of_anthropic.messages.create(**ASKED))
    tell(f"{tenant}: anthropic stream", stream)


tell_all("rate", os.environ["SPENT_KEY"])
tell_all("budget", os.environ["BROKE_KEY"])
