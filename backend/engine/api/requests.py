"""The request bodies that generate, as pydantic models: the fields that the engine obeys, with vLLM's types and limits.

Unknown fields are accepted and ignored, as vLLM does. Fields that only change which token is sampled (temperature
and its kin) are checked and have no effect on text.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from backend.engine.api.bounds import check_logprobs, check_sampling, check_tool_choice
from backend.engine.api.errors import ApiError, bad_parameter

Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Stop = str | Annotated[list[str], Field(max_length=32)] | None
_SALT_FORBIDS = frozenset("@/\\\x00")
_EMPTY_CHAT = "Cannot apply chat template to an empty conversation. Provide at least one message."


class StreamOptions(BaseModel):
    """`stream_options`."""

    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class SchemaFormat(BaseModel):
    """`response_format.json_schema`."""

    name: str
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")


class ResponseFormat(BaseModel):
    """`response_format`."""

    type: Literal["text", "json_object", "json_schema", "structural_tag"]
    json_schema: SchemaFormat | None = None


class StructuredOutputs(BaseModel):
    """vLLM's `structured_outputs`."""

    json_value: dict[str, Any] | str | None = Field(default=None, alias="json")
    regex: str | None = None
    choice: list[str] | None = None
    json_object: bool | None = None


class FunctionSpec(BaseModel):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    defer_loading: bool | None = None

    @model_serializer(mode="wrap")
    def _as_rendered(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As vLLM shows it to the chat template: the last two only where they were given."""
        rendered: dict[str, Any] = handler(self)
        optional = {"strict", "defer_loading"}
        return {name: value for name, value in rendered.items() if name not in optional or value is not None}


class ToolSpec(BaseModel):
    """One entry of `tools`."""

    type: Literal["function"] = "function"
    function: FunctionSpec


class NamedFunction(BaseModel):
    """`tool_choice.function`."""

    name: str


class NamedTool(BaseModel):
    """`tool_choice` that names a function."""

    type: Literal["function"] = "function"
    function: NamedFunction


class GenerateRequest(BaseModel):
    """What chat and text completions have in common."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    model: str | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = 1
    stop: Stop = None
    seed: Int64 | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    ignore_eos: bool = False
    min_tokens: Annotated[int, Field(ge=0)] = 0
    include_stop_str_in_output: bool = False
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    priority: Int64 = 0
    request_id: str | None = None
    stream_interval: Annotated[int, Field(ge=1)] | None = None
    cache_salt: str | None = None
    return_token_ids: bool | None = None
    echo: bool | None = False

    @model_validator(mode="before")
    @classmethod
    def _check(cls, data: Any) -> Any:
        if isinstance(data, dict):
            _check_stream_options(data)
            _check_cache_salt(data)
        return data

    @model_validator(mode="after")
    def _check_sampling(self) -> Self:
        check_sampling(self.__dict__, self.n)
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        """Stop strings, as a tuple."""
        stop = self.stop or ()
        return (stop,) if isinstance(stop, str) else tuple(text for text in stop if text)

    @property
    def includes_usage(self) -> bool:
        """True if the stream ends with a usage event."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def continues_usage(self) -> bool:
        """True if every chunk carries usage; vLLM ignores the wish without `include_usage`."""
        return self.includes_usage and bool(self.stream_options and self.stream_options.continuous_usage_stats)


class ChatRequest(GenerateRequest):
    """`POST /v1/chat/completions`."""

    messages: list[dict[str, Any]]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = False
    top_logprobs: int | None = 0
    tools: list[ToolSpec] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    add_generation_prompt: bool = True

    @model_validator(mode="before")
    @classmethod
    def _check_tools(cls, data: Any) -> Any:
        if isinstance(data, dict):
            check_tool_choice(data)
        return data

    @model_validator(mode="after")
    def _check_chat(self) -> Self:
        if not self.messages:
            raise ApiError(400, _EMPTY_CHAT)
        if self.top_logprobs and not self.logprobs:
            raise bad_parameter("when using `top_logprobs`, `logprobs` must be set to true.", "top_logprobs")
        check_logprobs(self.top_logprobs, "top_logprobs")
        return self

    @property
    def token_limit(self) -> int | None:
        """Tokens asked for."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class CompletionRequest(GenerateRequest):
    """`POST /v1/completions`."""

    prompt: str | list[Annotated[int, Field(ge=0)]] | list[str] | list[list[Annotated[int, Field(ge=0)]]] | None = None
    max_tokens: int | None = 16
    logprobs: int | None = None

    @model_validator(mode="after")
    def _check_prompt(self) -> Self:
        if self.prompt is None or self.prompt == "" or self.prompt == []:
            raise bad_parameter("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
        check_logprobs(self.logprobs, "logprobs")
        return self


def _check_stream_options(data: dict[str, Any]) -> None:
    if data.get("stream_options") and not data.get("stream"):
        raise bad_parameter("Stream options can only be defined when `stream=True`.", "stream_options")


def _check_cache_salt(data: dict[str, Any]) -> None:
    salt = data.get("cache_salt")
    if salt is None:
        return
    if not isinstance(salt, str) or not salt:
        raise bad_parameter("Parameter 'cache_salt' must be a non-empty string if provided.", "cache_salt")
    if len(salt) > 128 or _SALT_FORBIDS & set(salt):
        raise bad_parameter(
            "Parameter 'cache_salt' must be at most 128 characters and must not contain '@', '/', '\\\\', or NUL.",
            "cache_salt",
        )
