"""A typed field is read as vLLM 0.32 reads it, compared with a record of vLLM's own results."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.outcomes import Outcome
from gateway.wire.coercion import TYPED, coerce_fields
from gateway.wire.errors import RequestFault
from gateway.wire.measures import measure
from gateway.wire.surface import ENDPOINTS

RECORD = Path(__file__).with_name("vllm_0_32_coercions.json")
REFUSED = "refused"
PROMPTS = {"prompt": "/v1/completions", "input": "/v1/embeddings"}


def recorded() -> dict[str, dict[str, list[tuple[Any, Any]]]]:
    """Path to field to pairs of a value and what vLLM reads in it."""
    record: dict[str, dict[str, list[tuple[Any, Any]]]] = json.loads(RECORD.read_bytes())
    return record


TYPED_FIELDS = [(e.path, name) for e in ENDPOINTS.values() for name in TYPED[e.family]]


@pytest.mark.parametrize(("path", "name"), TYPED_FIELDS)
def test_a_typed_field_is_read_as_the_engine_reads_it(path: str, name: str) -> None:
    """The same value of the same kind, or refused by both; what is sent on is what was read."""
    pairs = recorded()[path][name]
    assert {kind for kind in map(type, (pair[1] for pair in pairs)) if kind is not str} <= {int, bool}
    for value, expected in pairs:
        fields: dict[str, object] = {name: value}
        try:
            coerce_fields(ENDPOINTS[path].family, fields)
        except RequestFault as fault:
            assert expected == REFUSED, (value, expected)
            assert (fault.outcome, fault.param) == (Outcome.BAD_REQUEST, name)
        else:
            assert expected != REFUSED, value
            assert (fields[name], type(fields[name])) == (expected, type(expected)), value


@pytest.mark.parametrize(("name", "path"), PROMPTS.items())
def test_a_prompt_is_counted_as_the_engine_reads_it(name: str, path: str) -> None:
    """Texts, token ids in any spelling and lists of them count alike; what the engine refuses is refused."""
    for value, expected in recorded()[path][name]:
        if expected == REFUSED:
            with pytest.raises(RequestFault):
                measure(ENDPOINTS[path].family, {name: value})
            continue
        prompt = measure(ENDPOINTS[path].family, {name: value})
        match expected:
            case [int(), *_]:
                assert (prompt.prompts, prompt.token_ids) == (1, len(expected)), value
            case [list(), *_]:
                assert (prompt.prompts, prompt.token_ids) == (len(expected), sum(map(len, expected))), value
            case _:
                assert prompt.token_ids is None, value
                assert prompt.prompts == (len(expected) if isinstance(expected, list) else 1)


def test_null_keeps_its_meaning() -> None:
    """A null is neither zero nor false: the engine uses its default or refuses it in its own words."""
    for path, name in TYPED_FIELDS:
        fields: dict[str, object] = {name: None}
        coerce_fields(ENDPOINTS[path].family, fields)
        assert fields == {name: None}
