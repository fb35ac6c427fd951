"""Request targets: their paths, and what is said of those that are not served."""

import pytest

from gateway.wire.surface import ENDPOINTS, Dialect
from gateway.wire.target import MAX_SHOWN_CHARS, path_of, remedy, shown, spoken_at


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/v1/models", "/v1/models"),
        ("/v1/models?x=/y", "/v1/models"),
        ("/", "/"),
        ("//v1/models", "//v1/models"),
        ("http://other/v1/models", "/v1/models"),
        ("HTTPS://other:8000/v1/models?x#y", "/v1/models"),
        ("http://user@other/v1/models", "/v1/models"),
        ("http://other", "/"),
        ("http://other?x", "/"),
        ("ftp://other/v1/models", None),
        ("other:443", None),
        ("*", None),
        ("", None),
    ],
)
def test_the_path_of_a_target(target: str, path: str | None) -> None:
    """Of a path and of a whole URL (RFC 9112, 3.2.1 and 3.2.2); other forms have none."""
    assert path_of(target) == path


LOST = [
    "/v1/v1{}",
    "//v1{}",
    "/v1/{}",
    "{}",
    "/v1{}/",
    "/v1{}//",
    "/api/v1{}",
    "/openai/deployments/gpt-4o{}",
    "/openai/v1{}",
    "/v2{}",
]


@pytest.mark.parametrize("form", LOST)
@pytest.mark.parametrize(
    "tail", ["/chat/completions", "/completions", "/responses", "/embeddings", "/messages", "/models"]
)
def test_a_path_that_misses_its_place_is_told_the_right_one(form: str, tail: str) -> None:
    """Whatever stands before or behind it, or is missing: the path that was meant, and how its clients are set up."""
    text = remedy(form.format(tail))
    assert f" /v1{tail} is" in text
    assert ("ends before /v1 (http://HOST)" in text) == (tail == "/messages")
    assert ("ends in /v1 (http://HOST/v1)" in text) == (tail != "/messages")


@pytest.mark.parametrize(
    "path", ["/", "", "/v1", "/v1/audio/speech", "/v1/messages/batches", "/completions/v9", "/" * 9999, "/a" * 9999]
)
def test_a_path_that_nobody_can_place_is_told_what_there_is(path: str) -> None:
    """In words that repeat nothing of it."""
    assert remedy(path) == remedy("/nowhere")
    assert "base_url" in remedy(path)


@pytest.mark.parametrize(
    "path", ["/v1/messages/", "//v1/messages", "/v1/v1/messages", "/messages", "/v1/messages/batches"]
)
def test_anthropics_paths_are_anthropics_however_they_are_misspelt(path: str) -> None:
    """An SDK of Anthropic shows only its own error format."""
    assert spoken_at(path) is Dialect.ANTHROPIC


def test_every_other_path_speaks_openai() -> None:
    """Unless it is served as Anthropic's."""
    for path in ("/v1/chat/completions/", "/", "/v1/threads/t/messages-of", "/v1/messagess"):
        assert spoken_at(path) is Dialect.OPENAI
    for path, endpoint in ENDPOINTS.items():
        assert spoken_at(path) is endpoint.dialect


def test_a_path_is_shown_cut_short_and_clean() -> None:
    """No blank, quote or escape of a terminal gets into a log line."""
    assert shown("/v1/chat/completions/") == "/v1/chat/completions/"
    assert shown('/a b"\x1b[31m\udcff?') == "/a?b???31m??"
    assert len(shown("/" + "a" * 9999)) == MAX_SHOWN_CHARS
