"""The exposed paths."""

from gateway.wire.surface import ENDPOINTS, Dialect, Family, Kind


def test_each_family_has_one_endpoint() -> None:
    """The table is complete; every spelling leads to the one endpoint, whose own path is one of them."""
    assert sorted(family.value for family in Family) == sorted(e.family.value for e in set(ENDPOINTS.values()))
    assert all(ENDPOINTS[endpoint.path] is endpoint for endpoint in ENDPOINTS.values())


def test_other_spellings_lead_to_the_same() -> None:
    """As at vLLM."""
    assert {path: e.path for path, e in ENDPOINTS.items() if path != e.path} == {
        "/rerank": "/v1/rerank",
        "/v2/rerank": "/v1/rerank",
        "/score": "/v1/score",
    }


def test_only_the_messages_api_speaks_anthropic() -> None:
    """Errors of every other path are OpenAI's."""
    assert {path for path, e in ENDPOINTS.items() if e.dialect is Dialect.ANTHROPIC} == {
        "/v1/messages",
        "/v1/messages/count_tokens",
    }


def test_paths_that_generate_unmetered_or_administer_are_not_exposed() -> None:
    """vLLM has them; a client of the gateway has not."""
    for path in ("/invocations", "/v1/chat/completions/batch", "/generative_scoring", "/pause", "/v1/responses/x"):
        assert path not in ENDPOINTS
    assert {e.path for e in ENDPOINTS.values() if e.kind is Kind.GENERATE} == {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/messages",
    }
