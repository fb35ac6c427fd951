"""What a worker's answer is, by its head and by its error."""

from typing import Any

import orjson
import pytest

from gateway.wire.engine_answer import MAX_WORDS, EngineError, describe, media_type, read_error

JSON = ((b"content-type", b"application/json; charset=utf-8"),)


def test_the_media_type_is_read_without_its_parameters() -> None:
    """In lower case, from whatever case; nothing where none is named."""
    assert media_type([(b"x", b"y"), (b"content-type", b" Text/Event-Stream ; charset=utf-8")]) == b"text/event-stream"
    assert media_type([(b"x", b"y")]) == b""


@pytest.mark.parametrize(
    ("document", "words", "names_model"),
    [
        ({"error": {"message": "boom", "type": "x", "param": None, "code": 500}}, "boom", False),
        ({"object": "error", "message": "boom", "param": None}, "boom", False),
        ({"error": "Unauthorized"}, "Unauthorized", False),
        ({"detail": "Not Found"}, "Not Found", False),
        ({"detail": [{"msg": "bad"}]}, '[{"msg":"bad"}]', False),
        ({"type": "error", "error": {"type": "api_error", "message": "two\r\nlines\x00"}}, "two lines", False),
        ({"error": {"message": "The model `x` does not exist.", "param": None}}, "The model `x` does not exist.", True),
        ({"error": {"message": "unknown", "param": "model"}}, "unknown", True),
        ({}, "", False),
        ({"error": None}, "", False),
        ({"error": 7}, "7", False),
    ],
)
def test_an_engines_sentence_is_found_in_every_format(document: Any, words: str, names_model: bool) -> None:
    """Of OpenAI, Anthropic, vLLM old and new, and FastAPI, on one line."""
    assert read_error(JSON, orjson.dumps(document)) == EngineError(words, names_model)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[1]", b'"x"', b'{"error": {"message": "x"', b"{" + b" " * 70_000 + b"}"]
)
def test_what_is_no_bounded_object_is_no_engines_word(body: bytes) -> None:
    """Pages, other JSON, what broke off, what is long."""
    assert read_error(JSON, body) is None
    assert read_error([(b"content-type", b"text/html")], b'{"error": "x"}') is None


def test_words_are_bounded() -> None:
    """One line of a stated length, whatever the engine writes."""
    error = read_error(JSON, orjson.dumps({"error": {"message": "word " * 5000}}))
    assert error is not None
    assert len(error.words) <= MAX_WORDS


@pytest.mark.parametrize(
    ("status", "kind", "words", "said"),
    [
        (500, b"application/json", "boom", "status 500: boom"),
        (500, b"application/json", "", "status 500"),
        (302, b"text/html", "", "status 302: a redirect, which no engine sends"),
        (200, b"text/html", "", "status 200 with text/html, which is no answer of an engine"),
        (204, b"", "", "status 204"),
    ],
)
def test_what_was_no_answer_is_said_in_one_line(status: int, kind: bytes, words: str, said: str) -> None:
    """With the engine's words where it has any."""
    assert describe(status, [(b"content-type", kind)], EngineError(words, names_model=False)) == said
