"""The embedded engine answers as real vLLM does: status, headers, fields and their order, events, usage, metrics."""

from collections.abc import Mapping
from typing import Any

import pytest
from contract_cases import ANSWERING, GENERATING, REFUSED, Case
from prometheus_client.parser import text_string_to_metric_families
from vllm_exchange import Answer, exchange
from vllm_form import OF_THE_PROMPT, assert_same_form, token_counts


def both(case: Case, embedded_url: str, vllm_url: str) -> tuple[Answer, Answer]:
    """The two engines' answers to one request."""
    return (
        exchange(embedded_url, case.method, case.path, case.body),
        exchange(vllm_url, case.method, case.path, case.body),
    )


@pytest.mark.parametrize("case", GENERATING, ids=str)
def test_embedded_engine_generates_in_vllm_format(case: Case, embedded_url: str, vllm_url: str) -> None:
    """Generated answers have the same form, the same length of the prompt, and of a fixed length the same usage."""
    embedded, vllm = both(case, embedded_url, vllm_url)
    assert vllm.status == 200, vllm
    assert_same_form(embedded, vllm)
    counts, expected = token_counts(embedded), token_counts(vllm)
    if not case.body.get("ignore_eos"):
        counts, expected = ({kind: of[kind] for kind in OF_THE_PROMPT & set(of)} for of in (counts, expected))
    assert counts == expected


@pytest.mark.parametrize("case", ANSWERING, ids=str)
def test_embedded_engine_answers_in_vllm_format(case: Case, embedded_url: str, vllm_url: str) -> None:
    """Answers about the model and its tokens have the same form."""
    embedded, vllm = both(case, embedded_url, vllm_url)
    assert vllm.status == 200, vllm
    assert_same_form(embedded, vllm)


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_embedded_engine_refuses_what_vllm_refuses(case: Case, embedded_url: str, vllm_url: str) -> None:
    """What vLLM refuses is refused with the same status, in the same form, for the same field."""
    embedded, vllm = both(case, embedded_url, vllm_url)
    assert vllm.status >= 400, vllm
    assert_same_form(embedded, vllm)
    assert _without_message(embedded.document) == _without_message(vllm.document)


def _without_message(document: Any) -> Any:
    if not isinstance(document, dict):
        return document
    return {name: _without_message(value) for name, value in document.items() if name != "message"}


@pytest.mark.parametrize("case", [case for case in ANSWERING if "token" in case.name], ids=str)
def test_embedded_engine_counts_the_same_tokens(case: Case, embedded_url: str, vllm_url: str) -> None:
    """A token is a byte of the rendered prompt in both."""
    embedded, vllm = both(case, embedded_url, vllm_url)
    assert embedded.document == vllm.document


# Its labels are the engine's whole configuration, of which the embedded engine has a few.
CONFIGURATION_METRIC = "vllm:cache_config_info"


def metric_families(url: str) -> Mapping[str, tuple[str, dict[str, frozenset[str]]]]:
    """Name to type and to the label names of each sample."""
    page = exchange(url, "GET", "/metrics").body.decode()
    return {
        family.name: (family.type, {sample.name: frozenset(sample.labels) for sample in family.samples})
        for family in text_string_to_metric_families(page)
        if family.name.startswith("vllm:")
    }


def test_embedded_metrics_are_vllms(embedded_url: str, vllm_url: str) -> None:
    """Every metric of the embedded engine exists in vLLM with the same type, samples and labels."""
    embedded, vllm = dict(metric_families(embedded_url)), dict(metric_families(vllm_url))
    own_kind, own_samples = embedded.pop(CONFIGURATION_METRIC)
    kind, samples = vllm.pop(CONFIGURATION_METRIC)
    assert own_kind == kind
    assert own_samples[CONFIGURATION_METRIC] <= samples[CONFIGURATION_METRIC]
    assert embedded == {name: vllm.get(name) for name in embedded}


def test_filtered_metrics_are_vllms(embedded_url: str, vllm_url: str) -> None:
    """Both filter `/metrics/` (with the slash) by sample name."""
    path = "/metrics/?name[]=vllm:num_requests_waiting&name[]=vllm:num_requests_running"
    pages = [exchange(url, "GET", path).body.decode() for url in (embedded_url, vllm_url)]
    samples = [{line for line in page.splitlines() if not line.startswith("#")} for page in pages]
    assert len(samples[0]) == 2
    assert samples[0] == samples[1]
