"""The gateway reads the installed vLLM's metrics by the filtered page, and finds the size of its batch by them."""

import asyncio
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
from conftest import ALICE, BOB, OUR_SERVER_SECONDS, SEQUENCES, SLACK, Gateway, write_gateway_config
from crowd import crowd
from test_window import keep_asking
from vllm_exchange import exchange
from vllm_servers import python, running

from gateway.watch.poller import FILTERED_PAGE, WHOLE_PAGE
from gateway.wire.exposition import read_cache, read_figures

CLIENTS_PER_TENANT = 12
FOUND_VIEWS = 20  # in a row that show the right size


@pytest.fixture(scope="module")
def learning_gateway(vllm_url: str, logs: Path) -> Iterator[Gateway]:
    """A gateway that is not told how much its worker runs at once."""
    config = logs / "learning.yaml"
    write_gateway_config(config, vllm_url, pool_keys={"window": {}})
    with running(
        python("gateway", "serve", str(config), "--announce"), logs / "learning.log", OUR_SERVER_SECONDS
    ) as url:
        yield Gateway(url)


def test_the_filtered_page_has_every_figure_and_little_else(vllm_url: str) -> None:
    """Each name that we ask for exists in this version, with and without the filter."""
    filtered = exchange(vllm_url, "GET", FILTERED_PAGE)
    whole = exchange(vllm_url, "GET", WHOLE_PAGE)
    assert (filtered.status, whole.status) == (200, 200)
    assert None not in astuple(read_figures(filtered.body))
    assert read_figures(filtered.body).waiting == read_figures(whole.body).waiting
    cache = read_cache(filtered.body)
    assert cache is not None
    assert cache.kv_tokens > 0
    assert len(filtered.body) < len(whole.body) / 4


def test_the_size_of_the_batch_is_found_and_followed(learning_gateway: Gateway, vllm_url: str) -> None:
    """Under load the window comes to what vLLM runs and the slack; the state dump shows what was seen."""

    def worker() -> Any:
        (view,) = learning_gateway.state()["workers"]
        return view

    async def scenario() -> list[Any]:
        views: list[Any] = []
        enough = asyncio.Event()
        async with crowd(learning_gateway, vllm_url) as clients:
            keepers = [
                asyncio.create_task(keep_asking(clients, tenant, number, enough))
                for number, tenant in enumerate((ALICE, BOB) * CLIENTS_PER_TENANT)
            ]

            async def is_found() -> bool:
                view = await asyncio.to_thread(worker)
                if view["engine_running"] is not None:
                    views.append(view)
                sizes = [view["window_sequences"] for view in views[-FOUND_VIEWS:]]
                return len(sizes) == FOUND_VIEWS and set(sizes) == {SEQUENCES + SLACK}

            await clients.until(is_found)
            enough.set()
            await asyncio.gather(*keepers)
        return views

    views = asyncio.run(scenario())
    assert max(view["engine_running"] for view in views) == SEQUENCES
    assert {view["degraded"] for view in views[-FOUND_VIEWS:]} == {""}
    assert views[-1]["kv_capacity_tokens"] > 0
    assert abs(views[-1]["unmetered_share"]) < 0.05
