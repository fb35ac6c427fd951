"""The hit rates of the state dump."""

from gateway.telemetry.hits import MAX_SHOWN, CacheHits


def test_hits_are_summed_by_pool_and_tenant(finished) -> None:
    """Cached and prompt tokens of requests that ended add up; a request without a counted prompt changes nothing."""
    hits = CacheHits()
    hits.observe(finished(tenant="alice", pool="tiny", prompt_tokens=100, cached_tokens=60))
    hits.observe(finished(tenant="alice", pool="tiny", prompt_tokens=300, cached_tokens=40))
    hits.observe(finished(tenant="bob", pool="tiny", prompt_tokens=10, cached_tokens=0))
    hits.observe(finished(tenant="carol", pool="tiny", prompt_tokens=0, cached_tokens=0))
    assert hits.dump() == [
        {"pool": "tiny", "tenant": "alice", "prompt_tokens": 400, "cached_tokens": 100, "hit_rate": 0.25},
        {"pool": "tiny", "tenant": "bob", "prompt_tokens": 10, "cached_tokens": 0, "hit_rate": 0.0},
    ]


def test_the_dump_is_bounded(finished) -> None:
    """Of many tenants those with the most prompt tokens are shown."""
    hits = CacheHits()
    for number in range(MAX_SHOWN + 5):
        hits.observe(finished(tenant=f"t{number}", prompt_tokens=number + 1))
    shown = hits.dump()
    assert len(shown) == MAX_SHOWN
    assert shown[0]["tenant"] == f"t{MAX_SHOWN + 4}"
