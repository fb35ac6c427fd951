"""What an engine says that it serves."""

import orjson
import pytest

from gateway.wire.models_page import read_models


@pytest.mark.parametrize(
    ("body", "models"),
    [
        (b'{"object":"list","data":[{"id":"a","max_model_len":8192},{"id":"b"}]}', {"a": 8192, "b": None}),
        (b'{"data":[]}', {}),
        (b'{"data":[{"id":7},"x",{"max_model_len":5}]}', {}),
        (b'{"data":{}}', None),
        (b'{"object":"list"}', None),
        (b"[]", None),
        (b"", None),
        (b"<html>", None),
    ],
)
def test_a_list_of_models_is_read(body: bytes, models: dict[str, int | None] | None) -> None:
    """Names and lengths of well-formed cards; anything else is no list."""
    assert read_models(body) == models


@pytest.mark.parametrize("length", [0, -5, 1.5, "8192", True, None, 10**12, [8192]])
def test_a_length_that_none_can_be_is_none(length: object) -> None:
    """What an engine says is believed as far as it can be."""
    assert read_models(orjson.dumps({"data": [{"id": "a", "max_model_len": length}]})) == {"a": None}
