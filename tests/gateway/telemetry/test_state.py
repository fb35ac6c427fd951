"""The state dump: whole, bounded, JSON, and without secrets."""

import json

import pytest

from gateway.config import Admin, Config, Pool, Replicas, ResolvedKey, Tenant, Worker
from gateway.long_work import at_once
from gateway.telemetry.state import GatewayIdentity, state_dump

IDENTITY = GatewayIdentity("1.2.3", started_at=1_700_000_000.0, uptime_seconds=12.5, is_draining=False)


@pytest.fixture
def config() -> Config:
    worker = Worker(name="w0", url="http://127.0.0.1:8101", api_key="worker-secret")
    digest = bytes(range(32))
    return Config(
        admin=Admin(digest=digest),
        pools=(Pool(model="tiny", engine_model="byte", aliases=("small",), workers=(worker,)),),
        tenants=(Tenant(name="alice", keys=(ResolvedKey(id="laptop", digest=digest),)), Tenant(name="bob")),
    )


def test_the_dump_shows_queues_workers_and_requests(config: Config, state, pool, tenant, worker, request_view) -> None:
    """Everything of the snapshots appears under its own name."""
    alice = tenant("alice", 2.0, 7.5, service=15.0, queued=1, in_flight=1, oldest_wait_seconds=0.5, is_held_back=True)
    fairness = {"spread": 3.0, "spread_bound": 9.0, "jain_index": 0.9, "drain_rate_per_second": 2.0}
    state.pool_views = [pool("tiny", queued=1, in_flight=1, tenants=(alice,), **fairness)]
    state.worker_views = [worker(sequences_in_flight=1)]
    requests = [request_view("r2", state="streaming", worker="w0", age_seconds=2.0, prompt_tokens=9, output_tokens=4)]
    dump = json.loads(json.dumps(at_once(state_dump(state, requests, config, IDENTITY))))
    assert dump["gateway"] == {
        "version": "1.2.3",
        "started_at": 1_700_000_000.0,
        "uptime_seconds": 12.5,
        "is_draining": False,
    }
    assert dump["pools"] == [
        {
            "pool": "tiny",
            "queued": 1,
            "in_flight": 1,
            "spread": 3.0,
            "spread_bound": 9.0,
            "jain_index": 0.9,
            "drain_rate_per_second": 2.0,
            "estimated_tokens": 0,
            "tenants": {
                "total": 1,
                "truncated": False,
                "busiest_first": [
                    {
                        "tenant": "alice",
                        "weight": 2.0,
                        "counter": 7.5,
                        "service": 15.0,
                        "queued": 1,
                        "in_flight": 1,
                        "oldest_wait_seconds": 0.5,
                        "is_held_back": True,
                    }
                ],
            },
        }
    ]
    assert dump["workers"] == [
        {
            "pool": "tiny",
            "worker": "w0",
            "url": "http://127.0.0.1:8101",
            "state": "serving",
            "sequences_in_flight": 1,
            "window_sequences": 17,
            "prefill_tokens_in_flight": 0,
            "window_prefill_tokens": 2048,
            "kv_demand_tokens": 300,
            "kv_capacity_tokens": 4096,
            "limited_by": "nothing",
            "phase": "settled",
            "degraded": "",
            "others_sequences": 0,
            "engine_running": 3.0,
            "engine_waiting": 1.0,
            "unmetered_share": 0.25,
            "max_model_len": 2048,
        }
    ]
    assert dump["requests"] == {
        "total": 1,
        "truncated": False,
        "oldest_first": [
            {
                "request_id": "r2",
                "tenant": "alice",
                "pool": "tiny",
                "state": "streaming",
                "age_seconds": 2.0,
                "worker": "w0",
                "prompt_tokens": 9,
                "output_tokens": 4,
            }
        ],
    }


def test_the_oldest_requests_come_first_and_the_list_is_bounded(config: Config, state, request_view) -> None:
    """Of 1,500 requests the 1,000 oldest are listed, and the dump says that some are not."""
    requests = [request_view(f"r{age}", age_seconds=float(age)) for age in range(1500)]
    listed = at_once(state_dump(state, requests, config, IDENTITY))["requests"]
    assert listed["total"] == 1500
    assert listed["truncated"] is True
    assert [request["request_id"] for request in listed["oldest_first"]] == [f"r{age}" for age in range(1499, 499, -1)]
    assert listed["oldest_first"][0]["worker"] is None


def test_the_busiest_tenants_come_first_and_the_list_is_bounded(config: Config, state, pool, tenant) -> None:
    """Of 1,500 tenants those with requests come first, then those with most service."""
    idle = [tenant(f"t{n}", service=float(n)) for n in range(1499)]
    state.pool_views = [pool(tenants=(*idle, tenant("waiting", queued=1)))]
    (view,) = at_once(state_dump(state, [], config, IDENTITY))["pools"]
    listed = view["tenants"]
    assert (listed["total"], listed["truncated"], len(listed["busiest_first"])) == (1500, True, 1000)
    assert [entry["tenant"] for entry in listed["busiest_first"][:3]] == ["waiting", "t1498", "t1497"]


def test_what_is_shared_with_others_is_shown(config: Config, state, replicas) -> None:
    """The gateways, the calls and the room at each worker are there; a gateway alone has null."""
    assert at_once(state_dump(state, [], config, IDENTITY))["replicas"] is None
    assert at_once(state_dump(state, [], config, IDENTITY))["configuration"]["replicas"] is None
    state.sharing = replicas(failure="no answer")
    fleet = Replicas(store="redis://store:6379", username="gateway", password="store-secret")
    shared = config.model_copy(update={"replicas": fleet})
    dump = json.loads(json.dumps(at_once(state_dump(state, [], shared, IDENTITY))))
    shown = dump["replicas"]
    assert (shown["fleet"], shown["name"], shown["expected"]) == ("vtc-gateway", "h:8000", 3)
    assert (shown["failure"], shown["age_seconds"]) == ("no answer", 0.5)
    assert shown["calls"] == {
        "answered": 7,
        "failed": 2,
        "seconds": 0.25,
        "bounds_seconds": [0.001, 0.05],
        "counts": [4, 3, 2],
    }
    (pool,) = shown["pools"]
    assert (pool["living"], pool["rank"], pool["with_other_settings"]) == (3, 1, 0)
    worker = {"worker": "w0", "held": 5, "idle": 2, "window": 17, "held_by_all": 12, "idle_of_all": 4, "ghosts": 1}
    assert pool["workers"] == [worker]
    assert dump["configuration"]["replicas"]["store"] == "redis://store:6379"
    assert "store-secret" not in json.dumps(dump)


def test_the_fullest_limits_come_first_and_the_list_is_bounded(config: Config, state, replicas, shared_limit) -> None:
    """Of 1,500 shared limits the 1,000 that are fullest are listed, each with all that is known of it."""
    state.sharing = replicas(limits=tuple(shared_limit(f"t{taken}", most=2000, taken=taken) for taken in range(1500)))
    listed = at_once(state_dump(state, [], config, IDENTITY))["replicas"]["limits"]
    assert (listed["total"], listed["truncated"], len(listed["fullest_first"])) == (1500, True, 1000)
    assert listed["fullest_first"][0] == {
        "tenant": "t1499",
        "limit": "tokens_per_minute",
        "most": 2000,
        "held": 40,
        "taken": 1499,
        "is_refusing": False,
    }


def test_the_configuration_is_shown_without_secrets(config: Config, state) -> None:
    """Policy, pools and numbers are there; no key, digest or worker's key is."""
    dump = at_once(state_dump(state, [], config, IDENTITY))
    summary = dump["configuration"]
    assert summary["scheduler"]["policy"] == "vtc"
    assert summary["scheduler"]["predictor"] == "quantile"
    assert summary["tenants"] == 2
    (shown,) = summary["pools"]
    assert (shown["model"], shown["engine_model"], shown["aliases"]) == ("tiny", "byte", ["small"])
    assert shown["cost"]["function"] == "linear"
    assert shown["workers"] == ["w0"]
    text = json.dumps(dump)
    assert "worker-secret" not in text
    assert bytes(range(32)).hex() not in text
    assert "digest" not in text
