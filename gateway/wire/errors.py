"""Writes the error that a client gets, in the format of the API that it called.

Status, type and code follow from the outcome. The caller writes the message, which must hold no key and no prompt. A
stream that breaks ends in one well-formed event without `[DONE]`, so that no client takes it for a finished answer.
Sources of the formats: the OpenAI and Anthropic API references; vLLM 0.32 for the stream events.
"""

import orjson

from gateway.outcomes import Outcome
from gateway.wire.surface import Dialect, Family


class RequestFault(Exception):
    """The gateway refuses a request before it is queued: the outcome, the message for the client, the field."""

    def __init__(self, outcome: Outcome, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.message = message
        self.param = param


def error_body(
    dialect: Dialect,
    outcome: Outcome,
    message: str,
    param: str | None = None,
    request_id: str | None = None,
) -> bytes:
    """The JSON body of an error; its status is `outcome.wire_form.status`."""
    match dialect:
        case Dialect.OPENAI:
            return orjson.dumps({"error": _openai(outcome, message, param)})
        case Dialect.ANTHROPIC:
            return orjson.dumps(_anthropic(outcome, message, request_id))


def error_event(
    family: Family, outcome: Outcome, message: str, request_id: str | None = None, sequence_number: int = 0
) -> bytes:
    """One server-sent event that ends a stream of `family` of which the client already has bytes.

    The event suits every reader of the format. In `/v1/responses` OpenAI's SDKs read the members of the event itself,
    and the AI SDK reads those of its `error`; both demand the `sequence_number` that comes next.
    """
    match family:
        case Family.MESSAGES:
            return b"event: error\ndata: %b\n\n" % orjson.dumps(_anthropic(outcome, message, request_id))
        case Family.RESPONSES:
            error = _openai(outcome, message, None)
            event = {
                "type": "error",
                "code": error["code"],
                "message": message,
                "param": None,
                "sequence_number": sequence_number,
                "error": error,
            }
            return b"event: error\ndata: %b\n\n" % orjson.dumps(event)
        case _:
            return b"data: %b\n\n" % orjson.dumps({"error": _openai(outcome, message, None)})


def _openai(outcome: Outcome, message: str, param: str | None) -> dict[str, str | None]:
    wire_form = outcome.wire_form
    return {"message": message, "type": wire_form.openai_type, "param": param, "code": wire_form.openai_code}


def _anthropic(outcome: Outcome, message: str, request_id: str | None) -> dict[str, object]:
    body: dict[str, object] = {
        "type": "error",
        "error": {"type": outcome.wire_form.anthropic_type, "message": message},
    }
    if request_id is not None:
        body["request_id"] = request_id
    return body
