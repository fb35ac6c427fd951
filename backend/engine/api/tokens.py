"""`POST /tokenize` and `/detokenize`: a token is a byte, its id the byte's value."""

from typing import Annotated, Any

import orjson
from aiohttp import web
from pydantic import BaseModel, Field, model_validator

from backend.engine.api.entry import DESK
from backend.engine.api.logprobs import token_text
from backend.engine.api.requests import ToolSpec
from backend.engine.api.template import render_chat
from backend.engine.work import END_TOKEN


class TokenizeRequest(BaseModel):
    """A text or a chat."""

    model: str | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[ToolSpec] | None = None
    add_generation_prompt: bool = True
    return_token_strs: bool | None = False

    @model_validator(mode="after")
    def _check(self) -> "TokenizeRequest":
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("Either prompt or messages must be provided.", "prompt")
        return self

    def rendered(self) -> bytes:
        """The bytes that the engine would see."""
        if self.messages is None:
            return (self.prompt or "").encode()
        tools = [tool.model_dump() for tool in self.tools or []]
        return render_chat(self.messages, tools, generate=self.add_generation_prompt)


class DetokenizeRequest(BaseModel):
    """Token ids."""

    model: str | None = None
    tokens: list[Annotated[int, Field(ge=0, le=END_TOKEN + 1)]]


async def tokenize(request: web.Request) -> web.Response:
    """Text to token ids."""
    desk = request.app[DESK]
    asked = await desk.read(request, TokenizeRequest)
    desk.check_model(asked.model)
    tokens = list(asked.rendered())
    document = {
        "count": len(tokens),
        "max_model_len": desk.engine.config.capacity.max_model_len,
        "tokens": tokens,
        "token_strs": [token_text(token) for token in tokens] if asked.return_token_strs else None,
    }
    return web.Response(body=orjson.dumps(document), content_type="application/json")


async def detokenize(request: web.Request) -> web.Response:
    """Token ids to text; special tokens show as nothing."""
    desk = request.app[DESK]
    asked = await desk.read(request, DetokenizeRequest)
    desk.check_model(asked.model)
    text = bytes(token for token in asked.tokens if token < 256).decode("utf-8", "replace")
    return web.Response(body=orjson.dumps({"prompt": text}), content_type="application/json")
