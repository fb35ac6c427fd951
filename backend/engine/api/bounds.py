"""The bounds of sampling fields and the rules of tool choice, with the words in which vLLM refuses what breaks them.

The engine samples nothing; it refuses what vLLM refuses, so that a client meets the same answer on both.
"""

from collections.abc import Callable, Mapping
from typing import Any

from backend.engine.api.errors import ApiError, bad_parameter

# Field, what holds, and vLLM's words; the field is named as the parameter where vLLM names it.
_BOUNDS: tuple[tuple[str, Callable[[float], bool], str, bool], ...] = (
    ("presence_penalty", lambda value: -2 <= value <= 2, "must be in [-2, 2]", False),
    ("frequency_penalty", lambda value: -2 <= value <= 2, "must be in [-2, 2]", False),
    ("repetition_penalty", lambda value: value > 0, "must be greater than zero", False),
    ("temperature", lambda value: value >= 0, "must be non-negative", True),
    ("temperature", lambda value: value <= 2, "must be in [0, 2]", True),
    ("top_p", lambda value: 0 < value <= 1, "must be in (0, 1]", True),
    ("top_k", lambda value: value >= -1, "must be 0 (disable), or at least 1", False),
    ("min_p", lambda value: 0 <= value <= 1, "must be in [0, 1]", False),
)
_MAX_LOGPROBS = 20
_USAGE = 'Correct usage: `{"type": "function", "function": {"name": "my_function"}}`'


def check_sampling(fields: Mapping[str, float | None], choices: int | None) -> None:
    """Refuse sampling fields out of bounds, and several choices of what is always the same."""
    for name, holds, words, is_parameter in _BOUNDS:
        value = fields.get(name)
        if value is None or holds(value):
            continue
        message = f"{name} {words}, got {value}."
        raise bad_parameter(message, name, value) if is_parameter else ApiError(400, message)
    if fields.get("temperature") == 0 and choices is not None and choices > 1:
        raise ApiError(400, f"n must be 1 when using greedy sampling, got {choices}.")


def check_logprobs(count: int | None, param: str) -> None:
    """Refuse more alternatives than vLLM's `--max-logprobs`."""
    if count is None or count == -1:
        return
    if count < 0:
        raise bad_parameter(f"`{param}` must be a positive value or -1.", param, count)
    if count > _MAX_LOGPROBS:
        message = f"Requested sample logprobs of {count}, which is greater than max allowed: {_MAX_LOGPROBS}"
        raise bad_parameter(message, "logprobs", count)


def check_tool_choice(body: Mapping[str, Any]) -> None:
    """Refuse a choice without tools, of no known kind, or of a tool that is not there."""
    tools, choice = body.get("tools"), body.get("tool_choice")
    if tools == []:
        message = "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely."
        raise bad_parameter(message, "tools")
    if choice is None or choice == "none":
        return
    if tools is None:
        raise bad_parameter("When using `tool_choice`, `tools` must be set.", "tool_choice")
    if isinstance(choice, dict):
        _check_named_tool(choice.get("function"), tools)
    elif choice not in ("auto", "required"):
        message = (
            f'Invalid value for `tool_choice`: {choice}! Only named tools, "none", "auto" or "required" are supported.'
        )
        raise bad_parameter(message, "tool_choice")


def _check_named_tool(function: Any, tools: Any) -> None:
    if not isinstance(function, dict):
        message = f"Invalid value for `function`: `{function}` in `tool_choice`! {_USAGE}"
        raise bad_parameter(message, "tool_choice.function")
    if not isinstance(function.get("name"), str) or not function["name"]:
        message = f"Expected field `name` in `function` in `tool_choice`! {_USAGE}"
        raise bad_parameter(message, "tool_choice.function.name")
    names = [tool.get("function", {}).get("name") for tool in tools if isinstance(tool, dict)]
    if function["name"] not in names:
        message = "The tool specified in `tool_choice` does not match any of the specified `tools`"
        raise bad_parameter(message, "tool_choice")
