"""The field table against the recorded request fields of vLLM 0.32."""

from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import anthropic.types.beta.message_count_tokens_params
import anthropic.types.beta.message_create_params
import anthropic.types.message_count_tokens_params
import anthropic.types.message_create_params
import openai.types.chat.completion_create_params
import openai.types.completion_create_params
import openai.types.embedding_create_params
import openai.types.responses.response_create_params
import orjson
import pytest

from gateway.wire.fields import FIELDS, RIGHTS, Treatment
from gateway.wire.surface import ENDPOINTS, Endpoint, Family, Kind

HERE = Path(__file__).parent

# Fields that must never reach a worker as the client wrote them.
OURS = ("priority", "request_id", "session_id", "stream_interval", "cache_salt")


def recorded_fields() -> dict[str, list[str]]:
    """Path to the names of every request field of vLLM 0.32."""
    fields: dict[str, list[str]] = orjson.loads((HERE / "vllm_0_32_fields.json").read_bytes())
    return fields


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=lambda endpoint: endpoint.path)
def test_every_field_of_vllm_is_classified(endpoint: Endpoint) -> None:
    """A field that vLLM reads and the table does not know would pass unexamined."""
    assert set(recorded_fields()[endpoint.path]) <= set(FIELDS[endpoint.family])


SDK_REQUESTS: dict[Family, tuple[ModuleType, ...]] = {
    Family.CHAT: (openai.types.chat.completion_create_params,),
    Family.COMPLETION: (openai.types.completion_create_params,),
    Family.RESPONSES: (openai.types.responses.response_create_params,),
    Family.EMBEDDING: (openai.types.embedding_create_params,),
    Family.MESSAGES: (anthropic.types.message_create_params, anthropic.types.beta.message_create_params),
    Family.COUNT_TOKENS: (
        anthropic.types.message_count_tokens_params,
        anthropic.types.beta.message_count_tokens_params,
    ),
}


@pytest.mark.parametrize("family", SDK_REQUESTS)
def test_every_field_of_the_official_sdks_is_classified(family: Family) -> None:
    """A strict tenant may use today's SDKs: what their types hold is in the table."""
    requests = [
        kind
        for module in SDK_REQUESTS[family]
        for name, kind in vars(module).items()
        if ("CreateParams" in name or "CountTokensParams" in name) and hasattr(kind, "__required_keys__")
    ]
    fields = {field for kind in requests for field in get_type_hints(kind)}
    assert len(fields) >= 5
    assert fields <= set(FIELDS[family])


@pytest.mark.parametrize("family", Family)
def test_scheduling_and_identity_are_the_gateways(family: Family) -> None:
    """Queue order, ids, salts and chunk grouping of the client go no further."""
    for name in OURS:
        assert FIELDS[family][name].treatment in (Treatment.REMOVE, Treatment.OVERWRITE), name
    assert FIELDS[family]["model"].treatment is Treatment.OVERWRITE


def test_only_endpoints_with_a_prefix_cache_get_a_salt() -> None:
    """vLLM has no `cache_salt` where no model runs."""
    for endpoint in ENDPOINTS.values():
        salted = FIELDS[endpoint.family]["cache_salt"].treatment is Treatment.OVERWRITE
        assert salted == (endpoint.kind is not Kind.UTILITY)
        assert salted == ("cache_salt" in recorded_fields()[endpoint.path])


def test_rights_are_a_closed_list() -> None:
    """The names that a configuration may use."""
    used = {rule.right for table in FIELDS.values() for rule in table.values()} - {""}
    assert used | {"media_url"} == RIGHTS
    assert sorted(RIGHTS) == [
        "beam_search",
        "best_of",
        "chat_template",
        "echo",
        "ignore_eos",
        "kv_transfer",
        "media_url",
        "mm_kwargs",
        "prompt_embeds",
        "prompt_logprobs",
        "vllm_xargs",
    ]
