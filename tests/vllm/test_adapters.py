"""LoRA adapters of a real vLLM that the gateway starts: models of their own, each with its own cache."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import VLLM_SECONDS, Gateway, write_gateway_config
from contract_cases import MODEL
from lora_adapter import write_adapter
from vllm_servers import python, running

PROMPT = "The ship sails over the sea and the sea lies under the ship. " * 5


@pytest.fixture
def gateway(logs: Path) -> Iterator[Gateway]:
    """A gateway that has launched a worker with two adapters."""
    adapters = [{"name": name, "path": str(logs / name)} for name in ("poet", "sailor")]
    for seed, adapter in enumerate(adapters):
        write_adapter(Path(adapter["path"]), seed)
    config = logs / "adapters.yaml"
    keys = {"adapters": adapters, "locality_quantum": 1, "workers": [{"launch": {"engine": "vllm"}}]}
    write_gateway_config(config, "", pool_keys=keys)
    document = yaml.safe_load(config.read_text())
    document["tenants"][1]["models"] = ["poet"]
    config.write_text(yaml.safe_dump(document))
    with running(python("gateway", "serve", str(config), "--announce"), logs / "adapters.log", VLLM_SECONDS) as url:
        yield Gateway(url)


def test_every_adapter_answers_as_itself(gateway: Gateway) -> None:
    """Base model and adapters are listed and answer differently, each the same every time; no cache is shared."""
    listed = {card["id"]: card["parent"] for card in gateway.ask("GET", "/v1/models").document["data"]}
    assert listed == {MODEL: None, "poet": MODEL, "sailor": MODEL}
    first = {name: _answer(gateway, name) for name in listed}
    again = {name: _answer(gateway, name) for name in listed}
    assert {name: answer["model"] for name, answer in first.items()} == {name: name for name in listed}
    tokens = {name: tuple(answer["choices"][0]["token_ids"]) for name, answer in first.items()}
    assert len(set(tokens.values())) == len(listed)
    assert {name: tuple(answer["choices"][0]["token_ids"]) for name, answer in again.items()} == tokens
    assert {_cached(answer) for answer in first.values()} == {0}
    assert min(_cached(answer) for answer in again.values()) >= 128
    (hits,) = gateway.state()["prefix_cache"]
    assert 0.3 < hits["hit_rate"] < 0.5


def _answer(gateway: Gateway, model: str) -> Any:
    body = {"model": model, "prompt": PROMPT, "max_tokens": 12, "temperature": 0, "return_token_ids": True}
    answer = gateway.ask("POST", "/v1/completions", body)
    assert answer.status == 200, answer
    return answer.document


def _cached(answer: Any) -> int:
    cached: int = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
    return cached
