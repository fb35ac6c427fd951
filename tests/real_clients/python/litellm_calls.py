"""LiteLLM as a client of the gateway: what each call came to, one line of JSON each."""

import json
import os

import litellm

URL, KEY = os.environ["BASE_URL"], os.environ["KEY"]
HELLO = [{"role": "user", "content": "Hello"}]
litellm.telemetry = False
litellm.suppress_debug_info = True


def tell(name: str, value: object) -> None:
    """Print one result."""
    print(json.dumps({"name": name, "value": value}))


ways = {
    "openai": {"model": "openai/tiny", "api_base": f"{URL}/v1"},
    "hosted_vllm": {"model": "hosted_vllm/tiny", "api_base": f"{URL}/v1"},
    "anthropic": {"model": "anthropic/tiny", "api_base": URL},
}
for name, way in ways.items():
    options = {**way, "api_key": KEY, "messages": HELLO, "max_tokens": 12, "num_retries": 0}
    whole = litellm.completion(**options)
    tell(f"{name} whole", {"text": whole.choices[0].message.content, "tokens": whole.usage.completion_tokens})
    text, tokens = "", 0
    for chunk in litellm.completion(**options, stream=True, stream_options={"include_usage": True}):
        text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        usage = getattr(chunk, "usage", None)
        tokens = usage.completion_tokens if usage else tokens
    tell(f"{name} streamed", {"text": text, "tokens": tokens})
try:
    litellm.completion(**ways["openai"], api_key="vtc-wrong", messages=HELLO, num_retries=0)
except litellm.AuthenticationError as error:
    tell("wrong key", error.status_code)
