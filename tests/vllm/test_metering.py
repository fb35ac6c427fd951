"""What the gateway charges is what vLLM itself counted."""

import re

import pytest
from conftest import Gateway
from contract_cases import GENERATING, Case
from vllm_exchange import exchange


def engine_tokens(vllm_url: str) -> tuple[int, int]:
    """Prompt and output tokens that vLLM has counted."""
    page = exchange(vllm_url, "GET", "/metrics").body.decode()
    return _sum(page, r"vllm:prompt_tokens_total\{.*\}"), _sum(page, r"vllm:generation_tokens_total\{.*\}")


def charged_tokens(gateway: Gateway) -> tuple[int, int]:
    """Prompt and output tokens that the gateway has charged."""
    page = exchange(gateway.url, "GET", "/metrics").body.decode()
    return _sum(page, r'vtc_gateway_tokens_total\{.*kind="prompt".*\}'), _sum(
        page, r'vtc_gateway_tokens_total\{.*kind="output".*\}'
    )


def _sum(page: str, sample: str) -> int:
    return sum(int(float(value)) for value in re.findall(rf"^{sample} (\S+)$", page, re.MULTILINE))


@pytest.mark.parametrize("case", GENERATING, ids=str)
def test_the_engine_counted_what_was_charged(case: Case, vllm_url: str, gateway: Gateway) -> None:
    """Prompt and output tokens of every kind of request are charged to the token.

    vLLM counts the prompt again for each choice, though it is computed once; it is charged once, as its usage says.
    """
    engine_before, charged_before = engine_tokens(vllm_url), charged_tokens(gateway)
    assert gateway.ask(case.method, case.path, case.body).status == 200
    prompt, output = _difference(engine_tokens(vllm_url), engine_before)
    assert _difference(charged_tokens(gateway), charged_before) == (prompt // case.body.get("n", 1), output)
    assert prompt
    assert output


def _difference(after: tuple[int, int], before: tuple[int, int]) -> tuple[int, int]:
    return after[0] - before[0], after[1] - before[1]
