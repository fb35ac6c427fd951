"""`POST /tokenize` and `/detokenize`: a token is a byte, its id the byte's value."""

from typing import Annotated, Any, Self

import orjson
from aiohttp import web
from pydantic import BaseModel, Field, model_validator

from backend.engine.api.errors import bad_parameter
from backend.engine.api.frontend import FRONTEND
from backend.engine.api.requests import ToolSpec
from backend.engine.api.template import render_chat
from backend.engine.work import END_TOKEN

# How byte-level BPE (GPT-2's table) writes each byte: itself where it is visible, else a letter past 255.
_VISIBLE = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
_HIDDEN = [byte for byte in range(256) if byte not in _VISIBLE]
_SYMBOLS = [chr(byte) if byte in _VISIBLE else chr(256 + _HIDDEN.index(byte)) for byte in range(256)]
_SPECIALS = (b"<s>", b"</s>", b"<pad>")


class TokenizeRequest(BaseModel):
    """A text or a chat."""

    model: str | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[ToolSpec] | None = None
    add_generation_prompt: bool = True
    return_token_strs: bool | None = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise bad_parameter("Either prompt or messages must be provided.", "prompt")
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
    frontend = request.app[FRONTEND]
    asked = await frontend.read(request, TokenizeRequest)
    frontend.check_model(asked.model)
    tokens = list(asked.rendered())
    document = {
        "count": len(tokens),
        "max_model_len": frontend.engine.config.capacity.max_model_len,
        "tokens": tokens,
        "token_strs": [_SYMBOLS[token] for token in tokens] if asked.return_token_strs else None,
    }
    return web.Response(body=orjson.dumps(document), content_type="application/json")


async def detokenize(request: web.Request) -> web.Response:
    """Token ids to text, special tokens by their names."""
    frontend = request.app[FRONTEND]
    asked = await frontend.read(request, DetokenizeRequest)
    frontend.check_model(asked.model)
    text = b"".join(bytes([token]) if token < 256 else _SPECIALS[token - 256] for token in asked.tokens)
    return web.Response(body=orjson.dumps({"prompt": text.decode("utf-8", "replace")}), content_type="application/json")
