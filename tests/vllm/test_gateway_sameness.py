"""What comes through the gateway is what vLLM sends: bytes, and what the official SDKs make of them."""

from collections.abc import Callable

import pytest
from conftest import ALICE, BOB, Gateway, Tenant
from contract_cases import ANSWERING, GENERATING, MODEL, REFUSED, Case
from sdk_calls import ANTHROPIC_CALLS, OPENAI_CALLS, SdkCall, anthropic_client, openai_client
from vllm_exchange import exchange
from vllm_sameness import assert_same_answer

# Answers of the gateway about itself, and a field whose value the gateway replaces.
OF_THE_GATEWAY = {"models", "version", "health"}
REPLACED_FIELD = "chat wrong salt"


@pytest.mark.parametrize("case", GENERATING, ids=str)
def test_generated_bytes_are_vllms(case: Case, vllm_url: str, gateway: Gateway) -> None:
    """A generated answer has vLLM's bytes: content, chunks, keys, and usage only where it was asked for."""
    direct = exchange(vllm_url, case.method, case.path, case.body)
    through = gateway.ask(case.method, case.path, case.body)
    assert direct.status == 200, direct
    assert_same_answer(direct, through)


@pytest.mark.parametrize("case", [case for case in ANSWERING if case.name not in OF_THE_GATEWAY], ids=str)
def test_answers_about_tokens_are_vllms(case: Case, vllm_url: str, gateway: Gateway) -> None:
    """What the engine knows about tokens passes unchanged."""
    assert_same_answer(
        exchange(vllm_url, case.method, case.path, case.body), gateway.ask(case.method, case.path, case.body)
    )


@pytest.mark.parametrize("case", [case for case in REFUSED if case.name != REPLACED_FIELD], ids=str)
def test_what_vllm_refuses_is_refused(case: Case, vllm_url: str, gateway: Gateway) -> None:
    """A request that vLLM refuses has the same status at the gateway, whoever of the two judged it."""
    direct = exchange(vllm_url, case.method, case.path, case.body)
    through = gateway.ask(case.method, case.path, case.body)
    assert through.status == direct.status, (direct, through)
    assert "error" in through.document


# At temperature 0 the model ends an answer at the same token each time.
HI = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, "temperature": 0}
TEXT = {"model": MODEL, "prompt": "hi", "max_tokens": 4, "temperature": 0}
ASK = {"model": MODEL, "input": "hi", "max_output_tokens": 4, "temperature": 0}
ODD = [
    *(("/v1/chat/completions", HI | odd) for odd in ({"max_tokens": 4.0}, {"max_tokens": "4"}, {"max_tokens": 4.5})),
    *(
        ("/v1/chat/completions", HI | odd)
        for odd in ({"n": 1.0}, {"n": True}, {"n": "one"}, {"logprobs": 1}, {"model": ""})
    ),
    *(("/v1/chat/completions", HI | {"stream": odd}) for odd in ("false", "true", 0, 1, "perhaps", 2)),
    ("/v1/chat/completions", HI | {"stream": True, "stream_options": {"include_usage": "true"}}),
    ("/v1/chat/completions", HI | {"ignore_eos": "false", "top_logprobs": 0.0, "logprobs": "yes"}),
    *(("/v1/completions", TEXT | odd) for odd in ({"logprobs": True}, {"prompt": [1.0, 2.0]}, {"prompt": [1, "2"]})),
    *(("/v1/completions", TEXT | {"prompt": odd}) for odd in ([[1.0], [2]], [1.5], ["a", 1], [True])),
    *(("/v1/responses", ASK | {"store": odd}) for odd in (True, "false", "perhaps", None)),
    ("/v1/messages", HI | {"max_tokens": "4", "stream": "no"}),
    ("/v1/messages", HI | {"system": [{"type": "text", "text": "x-anthropic-billing-header: cch=1;"}]}),
]


@pytest.mark.parametrize(("path", "body"), ODD, ids=str)
def test_odd_spellings_mean_what_they_mean_to_vllm(
    path: str, body: dict[str, object], vllm_url: str, gateway: Gateway
) -> None:
    """The same status, kind of answer and counts of tokens, wherever the value was read."""
    direct, through = exchange(vllm_url, "POST", path, body), gateway.ask("POST", path, body)
    assert through.status == direct.status, (direct, through)
    assert through.headers["content-type"] == direct.headers["content-type"]
    if direct.status == 200 and "json" in direct.headers["content-type"]:
        assert _counts(through.document["usage"]) == _counts(direct.document["usage"])
        assert through.document.get("store") == direct.document.get("store")


def _counts(usage: dict[str, object]) -> dict[str, object]:
    return {
        name: usage[name]
        for name in ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")
        if name in usage
    }


@pytest.mark.parametrize(
    "encode", [b"\xef\xbb\xbf%b".__mod__, lambda body: body.decode().encode("latin-1")], ids=["mark", "latin-1"]
)
def test_a_mark_and_an_encoding_are_judged_as_vllm_judges_them(
    encode: Callable[[bytes], bytes], vllm_url: str, gateway: Gateway
) -> None:
    """UTF-8 with a byte order mark is read, another alphabet is not."""
    body = encode(b'{"model": "%b", "prompt": "n\xc3\xa9", "max_tokens": 2}' % MODEL.encode())
    direct = exchange(vllm_url, "POST", "/v1/completions", body)
    assert gateway.ask("POST", "/v1/completions", body).status == direct.status


@pytest.mark.parametrize("case", (*GENERATING, *REFUSED), ids=str)
def test_every_answer_names_its_request(case: Case, gateway: Gateway) -> None:
    """Both request id headers are there and equal, and the engine's answer carries the id where vLLM takes it over."""
    answer = gateway.ask(case.method, case.path, case.body)
    request_id = answer.headers["x-request-id"]
    assert request_id == answer.headers["request-id"]
    if answer.status == 200 and case.path != "/v1/responses":
        assert request_id.encode() in answer.body


@pytest.mark.parametrize("call", OPENAI_CALLS, ids=lambda call: call.__name__)
def test_openai_sdk_reads_the_same(call: SdkCall, vllm_url: str, gateway: Gateway) -> None:
    """The official OpenAI client gets the same objects from the gateway as from vLLM."""
    with openai_client(vllm_url, "unused") as direct, openai_client(gateway.url, ALICE.key) as through:
        assert call(through) == call(direct)


@pytest.mark.parametrize("call", ANTHROPIC_CALLS, ids=lambda call: call.__name__)
def test_anthropic_sdk_reads_the_same(call: SdkCall, vllm_url: str, gateway: Gateway) -> None:
    """The official Anthropic client gets the same objects from the gateway as from vLLM."""
    with anthropic_client(vllm_url, "unused") as direct, anthropic_client(gateway.url, ALICE.key) as through:
        assert call(through) == call(direct)


def test_models_are_the_pools(vllm_url: str, gateway: Gateway) -> None:
    """The client sees the models that it may use, with the engine's context length."""
    cards = gateway.ask("GET", "/v1/models").document["data"]
    engine = exchange(vllm_url, "GET", "/v1/models").document["data"]
    fields = ("id", "object", "max_model_len")
    assert [[card[name] for name in fields] for card in cards] == [[card[name] for name in fields] for card in engine]


def test_prefix_caches_are_apart(gateway: Gateway) -> None:
    """A prompt that one tenant sent before is cached for that tenant, and new for another."""
    body = {"model": MODEL, "prompt": "A story of two towns. " * 30, "max_tokens": 1}

    def cached_tokens(tenant: Tenant) -> int:
        usage = exchange(gateway.url, "POST", "/v1/completions", body, tenant.headers).document["usage"]
        return usage["prompt_tokens_details"]["cached_tokens"]

    assert cached_tokens(ALICE) == 0
    assert cached_tokens(ALICE) > 0
    assert cached_tokens(BOB) == 0
