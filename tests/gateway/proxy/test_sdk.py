"""The official SDKs parse the gateway's answers, raise their own exceptions, and keep the time between retries."""

import asyncio
from typing import Any

import anthropic
import openai
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic import BaseModel
from whole_gateway import Stage, key_of, tenant, with_gateway
from workers_on_stage import CPU_TINY, fault, faults

from backend.engine.faults import FaultKind
from gateway.config import Limits, Timeouts, Window, Worker

HELLO: Any = [{"role": "user", "content": "Hello"}]
COLOUR: Any = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
PAINT: Any = {"type": "function", "function": {"name": "paint", "description": "Paint it.", "parameters": COLOUR}}
DEAD = Worker(name="w0", url="http://127.0.0.1:1", window=Window())

# Each client asks for it in a thread before its first request, and virtual time does not wait for threads.
PLATFORM: Any = "Linux"


class Colour(BaseModel):
    """A structured answer."""

    colour: str


def _openai(scene: Stage, key: str | None = None, retries: int = 0) -> AsyncOpenAI:
    client = AsyncOpenAI(base_url=f"{scene.url}/v1", api_key=key or key_of("alice"), max_retries=retries)
    client._platform = PLATFORM
    return client


def _anthropic(scene: Stage, key: str | None = None, retries: int = 0) -> AsyncAnthropic:
    client = AsyncAnthropic(base_url=scene.url, api_key=key or key_of("alice"), max_retries=retries)
    client._platform = PLATFORM
    return client


# -- answers


@with_gateway()
async def test_openai_chat(scene: Stage) -> None:
    """Whole and streamed answers have the same text, the usage if it was asked for, and the request id."""
    async with _openai(scene) as client:
        whole = await client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=12)
        assert whole.choices[0].message.content and whole.usage and whole.usage.completion_tokens > 0
        assert whole._request_id and whole.id == f"chatcmpl-{whole._request_id}"
        stream = await client.chat.completions.create(
            model="tiny", messages=HELLO, max_tokens=12, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert chunks[-1].usage and chunks[-1].choices == []
        assert all(chunk.usage is None for chunk in chunks[:-1])


@with_gateway()
async def test_openai_tools_and_structured_outputs(scene: Stage) -> None:
    """A forced tool is called with arguments of its schema, whole and streamed; an answer is parsed into a class."""
    choice: Any = {"type": "function", "function": {"name": "paint"}}
    async with _openai(scene) as client:
        called = await client.chat.completions.create(
            model="tiny", messages=HELLO, tools=[PAINT], tool_choice=choice, max_tokens=200
        )
        call: Any = (called.choices[0].message.tool_calls or [])[0]
        assert call.function.name == "paint"
        assert "colour" in Colour.model_validate_json(call.function.arguments).model_dump()
        stream = await client.chat.completions.create(
            model="tiny", messages=HELLO, tools=[PAINT], tool_choice=choice, max_tokens=200, stream=True
        )
        deltas = [tool async for chunk in stream for tool in chunk.choices[0].delta.tool_calls or []]
        arguments = "".join(delta.function.arguments or "" for delta in deltas if delta.function)
        Colour.model_validate_json(arguments)
        parsed = await client.chat.completions.parse(
            model="tiny", messages=HELLO, response_format=Colour, max_tokens=200
        )
        assert isinstance(parsed.choices[0].message.parsed, Colour)


@with_gateway()
async def test_openai_completions_responses_embeddings_models(scene: Stage) -> None:
    """The other resources of the SDK work."""
    async with _openai(scene) as client:
        text = await client.completions.create(model="tiny", prompt=["one", "two"], max_tokens=4)
        assert len(text.choices) == 2
        pieces = [piece async for piece in await client.completions.create(model="tiny", prompt="x", stream=True)]
        assert "".join(piece.choices[0].text for piece in pieces)
        response = await client.responses.create(model="tiny", input="Hello", max_output_tokens=12)
        assert response.output_text and response.usage
        async with client.responses.stream(model="tiny", input="Hello", max_output_tokens=12) as events:
            kinds = [event.type async for event in events]
        assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
        embedded = await client.embeddings.create(model="tiny", input=["one", "two"])
        assert len(embedded.data) == 2 and embedded.data[0].embedding
        names = [model.id async for model in client.models.list()]
        assert names == ["tiny", "org/alias"]
        assert (await client.models.retrieve("org/alias")).id == "org/alias"


@with_gateway()
async def test_anthropic_messages(scene: Stage) -> None:
    """Messages work whole, streamed and with a tool, and count_tokens counts."""
    tool: Any = {"name": "paint", "description": "Paint it.", "input_schema": COLOUR}
    async with _anthropic(scene) as client:
        whole = await client.messages.create(model="tiny", messages=HELLO, max_tokens=12)
        assert whole.content[0].type == "text" and whole.usage.output_tokens > 0
        assert whole._request_id
        async with client.messages.stream(model="tiny", messages=HELLO, max_tokens=12) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            final = await stream.get_final_message()
        assert text and final.usage.output_tokens > 0
        choice: Any = {"type": "tool", "name": "paint"}
        called = await client.messages.create(
            model="tiny", messages=HELLO, tools=[tool], tool_choice=choice, max_tokens=200
        )
        use: Any = next(part for part in called.content if part.type == "tool_use")
        Colour.model_validate(use.input)
        counted = await client.messages.count_tokens(model="tiny", messages=HELLO)
        assert counted.input_tokens == whole.usage.input_tokens + (whole.usage.cache_creation_input_tokens or 0)


@with_gateway()
async def test_raw_tokenize_rerank_and_score(scene: Stage) -> None:
    """The paths that no SDK has answer as the engine does."""
    tokens = (await scene.post("/tokenize", {"model": "tiny", "prompt": "Grüße"})).json
    assert tokens["count"] == len(tokens["tokens"]) == 7
    text = (await scene.post("/detokenize", {"model": "tiny", "tokens": tokens["tokens"]})).json
    assert text["prompt"] == "Grüße"
    ranked = (await scene.post("/v1/rerank", {"model": "tiny", "query": "x", "documents": ["a", "b", "c"]})).json
    assert sorted(result["index"] for result in ranked["results"]) == [0, 1, 2]
    scored = (await scene.post("/v1/score", {"model": "tiny", "text_1": "x", "text_2": ["a", "b"]})).json
    assert len(scored["data"]) == 2
    assert scene.service("alice") > 0


# -- errors

SDKS = pytest.mark.parametrize("sdk", ["openai", "anthropic"])
ERRORS: dict[str, Any] = {"openai": openai, "anthropic": anthropic}


async def _call(scene: Stage, sdk: str, key: str | None = None, retries: int = 0, **fields: Any) -> Any:
    wanted = {"model": "tiny", "messages": HELLO, "max_tokens": 5} | fields
    if sdk == "openai":
        async with _openai(scene, key, retries) as client:
            return await _read(await client.chat.completions.create(**wanted))
    async with _anthropic(scene, key, retries) as client:
        return await _read(await client.messages.create(**wanted))


async def _read(answer: Any) -> Any:
    """The answer, or every event of a stream."""
    return [event async for event in answer] if hasattr(answer, "__aiter__") else answer


@SDKS
@with_gateway()
async def test_errors_become_the_sdks_own(scene: Stage, sdk: str) -> None:
    """Each status becomes the SDK's class, with the message and the request id."""
    cases = [
        ("AuthenticationError", "The API key is not valid", {"key": "vtc-unknown"}),
        ("PermissionDeniedError", "needs the right 'ignore_eos'", {"extra_body": {"ignore_eos": True}}),
        ("NotFoundError", "The model 'gpt-9' does not exist", {"model": "gpt-9"}),
        ("BadRequestError", "'max_tokens' must be at least", {"max_tokens": -1}),
    ]
    for name, words, arguments in cases:
        with pytest.raises(getattr(ERRORS[sdk], name), match=words) as caught:
            await _call(scene, sdk, **arguments)
        assert caught.value.request_id
        assert caught.value.request_id == scene.finished[-1].request_id


@SDKS
@with_gateway(engine=faults(fault(FaultKind.REFUSE, every=1, status=500)))
async def test_a_failing_worker_is_an_internal_server_error(scene: Stage, sdk: str) -> None:
    """502 is the SDK's InternalServerError."""
    with pytest.raises(ERRORS[sdk].InternalServerError) as caught:
        await _call(scene, sdk)
    assert caught.value.status_code == 502


@SDKS
@with_gateway(pool={"workers": (DEAD,), "timeouts": Timeouts(outage_seconds=0)})
async def test_no_worker_is_retried_and_then_reported(scene: Stage, sdk: str) -> None:
    """503 is retried when `Retry-After` says, as often as the client allows, then raised."""
    began = asyncio.get_running_loop().time()
    with pytest.raises(ERRORS[sdk].APIStatusError) as caught:
        await _call(scene, sdk, retries=2)
    assert caught.value.status_code == 503
    assert len(scene.finished) == 3
    assert asyncio.get_running_loop().time() - began == pytest.approx(4.0, abs=0.5)


@SDKS
@with_gateway(tenants=(tenant("alice", limits=Limits(requests_per_minute=2)),))
async def test_a_rate_limit_is_waited_out(scene: Stage, sdk: str) -> None:
    """The third request in a minute is retried after exactly the time the gateway names, and served."""
    for _ in range(2):
        await _call(scene, sdk)
    with pytest.raises(ERRORS[sdk].RateLimitError) as caught:
        await _call(scene, sdk)
    assert caught.value.response.headers["retry-after"] == "30"
    began = asyncio.get_running_loop().time()
    await _call(scene, sdk, retries=1)
    assert asyncio.get_running_loop().time() - began == pytest.approx(30.0, abs=0.5)
    assert [event.status for event in scene.finished] == [200, 200, 429, 429, 200]


@SDKS
@with_gateway(tenants=(tenant("alice", limits=Limits(tokens_per_minute=10)),))
async def test_a_wait_beyond_a_minute_ends_the_call_at_once(scene: Stage, sdk: str) -> None:
    """The error is raised after one attempt, however many the client may make, and its words say how long it takes."""
    await _call(scene, sdk)
    began = asyncio.get_running_loop().time()
    with pytest.raises(ERRORS[sdk].RateLimitError, match=r"Retry after \d{2,} s") as caught:
        await _call(scene, sdk, retries=5)
    assert len(scene.finished) == 2
    assert asyncio.get_running_loop().time() == began
    assert "retry-after" not in caught.value.response.headers


@SDKS
@with_gateway(engine=faults(fault(FaultKind.CUT, every=1, after_tokens=3)))
async def test_a_broken_stream_raises(scene: Stage, sdk: str) -> None:
    """The application does not take half an answer for a whole one, and nothing is sent again behind its back."""
    with pytest.raises(ERRORS[sdk].APIError, match="not complete"):
        await _call(scene, sdk, retries=2, stream=True, max_tokens=50)
    assert len(scene.finished) == 1


@with_gateway(engine=CPU_TINY)
async def test_closing_a_stream_ends_the_answer_at_the_engine(scene: Stage) -> None:
    """An application that breaks out of the loop stops paying."""
    async with _openai(scene) as client:
        stream = await client.chat.completions.create(
            model="tiny", messages=HELLO, stream=True, max_tokens=1900, extra_body={"min_tokens": 1900}
        )
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        await stream.close()
    await scene.when(lambda: bool(scene.finished))
    await asyncio.sleep(0.5)
    assert scene.witness.aborted == 1
    assert scene.witness.output_tokens < 100
    assert scene.in_flight == 0
