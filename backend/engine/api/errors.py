"""vLLM's error bodies: `{"error":{"message","type","param","code"}}` with the HTTP status as the code."""

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web
from pydantic import ValidationError

_MAX_REPORTED = 10
_MAX_INPUT_CHARS = 200
_QUEUE_FULL = (
    "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance."
)


class ApiError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str, kind: str = "BadRequestError", param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param

    def body(self) -> dict[str, Any]:
        """The JSON document."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}
        return {"error": error}

    def response(self) -> web.Response:
        """The HTTP answer."""
        return web.Response(status=self.status, body=orjson.dumps(self.body()), content_type="application/json")

    def event(self) -> bytes:
        """The error inside a stream; vLLM writes it with Python's default separators."""
        return b"data: " + json.dumps(self.body()).encode() + b"\n\n"


def phrase_error(status: int, message: str) -> ApiError:
    """An error whose type is the status' reason phrase, as vLLM's HTTP-level errors are."""
    return ApiError(status, message, HTTPStatus(status).phrase)


def queue_full() -> ApiError:
    """`--max-num-queued-reqs` is reached."""
    return phrase_error(503, _QUEUE_FULL)


def unknown_model(asked: str, served: str) -> ApiError:
    """The `model` is not ours."""
    message = f"The model `{asked}` does not exist. Valid aliases: {served}."
    return ApiError(404, message, "NotFoundError", "model")


def bad_parameter(message: str, param: str, value: object = None) -> ApiError:
    """A field whose value cannot be; vLLM appends the field's name, and the value where it has one."""
    suffix = f"parameter={param}" if value is None else f"parameter={param}, value={value}"
    return ApiError(400, f"{message} ({suffix})", param=param)


def invalid_request(error: ValidationError) -> ApiError:
    """A body that does not have the request's shape."""
    faults = error.errors(include_url=False)
    return _malformed([_described(fault) for fault in faults], _location(faults[0]["loc"]))


def not_json(body: bytes) -> ApiError:
    """A body that is not JSON, or not an object."""
    try:
        value = json.loads(body)
    except json.JSONDecodeError as error:
        where, cause = f"body.{error.pos}", {"error": error.msg}
        fault = {"type": "json_invalid", "loc": where, "msg": "JSON decode error", "input": _summary({}), "ctx": cause}
        return _malformed([fault], where)
    except UnicodeDecodeError:
        return ApiError(400, "There was an error parsing the body", "Bad Request")
    message = "Input should be a valid dictionary or object to extract fields from"
    return _malformed(
        [{"type": "model_attributes_type", "loc": "body", "msg": message, "input": _summary(value)}], "body"
    )


def _malformed(faults: Sequence[dict[str, Any]], param: str) -> ApiError:
    lines = [f"  {fault}" for fault in faults[:_MAX_REPORTED]]
    if len(faults) > _MAX_REPORTED:
        lines.append(f"  ...and {len(faults) - _MAX_REPORTED} more errors")
    heading = f"{len(faults)} validation error{'s' if len(faults) > 1 else ''}:"
    return ApiError(400, "\n".join([heading, *lines]), "Bad Request", param)


def _described(fault: Any) -> dict[str, Any]:
    return {
        "type": fault["type"],
        "loc": _location(fault["loc"]),
        "msg": fault["msg"],
        "input": _summary(fault["input"]),
    }


def _location(location: tuple[str | int, ...]) -> str:
    """The dotted path that a client knows; names of union branches and wrappers are pydantic's own."""
    known = [str(part) for part in location if isinstance(part, int) or not set("[]{}()") & set(part)]
    return ".".join(["body", *(part for part in known if part not in ("str", "int", "bool", "none"))])


def _summary(value: object) -> object:
    if isinstance(value, str) and len(value) > _MAX_INPUT_CHARS:
        return value[:_MAX_INPUT_CHARS] + "...[truncated]"
    if isinstance(value, list | tuple | dict):
        return f"<{type(value).__name__} of {len(value)} items>"
    return value
