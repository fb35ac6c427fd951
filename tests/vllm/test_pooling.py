"""Embeddings, scores and rankings: the embedded engine against vLLM, and vLLM through the gateway against vLLM."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ALICE, OUR_SERVER_SECONDS, VLLM_SECONDS, write_gateway_config
from contract_cases import MODEL, POOLING, Case
from sdk_calls import OPENAI_POOLING_CALLS, SdkCall, openai_client
from vllm_exchange import exchange
from vllm_form import assert_same_form, token_counts
from vllm_sameness import assert_same_answer
from vllm_servers import python, running


@pytest.fixture(scope="module")
def pooling_urls(logs: Path) -> Iterator[tuple[str, str]]:
    """Real vLLM with byte-llama as an embedding model, and a gateway in front of it."""
    command = python("backend", "vllm", "--model", MODEL, "--", "--runner", "pooling", "--convert", "embed")
    config = logs / "pooling-gateway.yaml"
    with running(command, logs / "pooling.log", VLLM_SECONDS) as engine_url:
        write_gateway_config(config, engine_url)
        serve = python("gateway", "serve", str(config), "--announce")
        with running(serve, logs / "pooling-gateway.log", OUR_SERVER_SECONDS) as url:
            yield engine_url, url


@pytest.mark.parametrize("case", POOLING, ids=str)
def test_embedded_engine_pools_in_vllm_format(case: Case, embedded_url: str, pooling_urls: tuple[str, str]) -> None:
    """Embeddings, scores and rankings have the same form and usage."""
    embedded = exchange(embedded_url, case.method, case.path, case.body)
    vllm = exchange(pooling_urls[0], case.method, case.path, case.body)
    assert_same_form(embedded, vllm)
    assert token_counts(embedded) == token_counts(vllm)


@pytest.mark.parametrize("case", [case for case in POOLING if "unknown" not in case.name], ids=str)
def test_pooled_bytes_are_vllms(case: Case, pooling_urls: tuple[str, str]) -> None:
    """Embeddings, scores and rankings pass unchanged."""
    direct = exchange(pooling_urls[0], case.method, case.path, case.body)
    through = exchange(pooling_urls[1], case.method, case.path, case.body, ALICE.headers)
    assert direct.status == 200, direct
    assert_same_answer(direct, through)


@pytest.mark.parametrize("call", OPENAI_POOLING_CALLS, ids=lambda call: call.__name__)
def test_openai_sdk_reads_the_same_embeddings(call: SdkCall, pooling_urls: tuple[str, str]) -> None:
    """The official OpenAI client gets the same vectors."""
    with openai_client(pooling_urls[0], "unused") as direct, openai_client(pooling_urls[1], ALICE.key) as through:
        assert call(through) == call(direct)
