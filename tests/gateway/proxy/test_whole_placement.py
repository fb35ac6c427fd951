"""The whole gateway decides where a request goes, and under which model: cached prompts, adapters, fallbacks."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from virtual_time import virtual_time
from whole_gateway import ADMIN_KEY, CHAT, Plan, Stage, chat, key_of, question, stage, tenant
from workers_on_stage import ENGINE_CONFIG, MODEL, EngineWorker

from gateway.config import Config, Pool, Timeouts, Window, Worker
from gateway.config.pools import Adapter
from gateway.outcomes import Outcome

TURNS = 5
SAYING = "A few words of no importance, said at some length so that they fill a block or two of the cache. " * 3
WIDE = Window(sequences=4, slack=1, prefill_tokens=100_000)  # room is always where the prompt is
AT_ONCE = Timeouts(outage_seconds=0)  # no outage is waited out
POETS = (Adapter(name="poet"), Adapter(name="sailor"))


async def converse(scene: Stage, who: str, topic: str, tokens: int) -> list[tuple[str, int]]:
    """A chat of some turns: for each the worker that answered, and how many tokens of the prompt it had cached.

    Answers of other lengths end at other times, so that now one worker is less loaded, now the other.
    """
    said: list[dict[str, str]] = []
    seen: list[tuple[str, int]] = []
    for turn in range(TURNS):
        said.append({"role": "user", "content": f"{topic} {turn}: {SAYING}"})
        answer = await scene.ask(question(max_tokens=tokens, min_tokens=tokens) | {"messages": said}, who)
        said.append(answer.json["choices"][0]["message"])
        event = next(each for each in scene.finished if each.request_id == answer.header("x-request-id"))
        seen.append((event.worker, event.cached_tokens))
    return seen


@virtual_time
async def test_a_conversation_returns_to_the_worker_that_has_read_it() -> None:
    """Each of several chats stays at one worker, whose cache holds all of it but the last turn."""
    async with stage(EngineWorker(), EngineWorker(), plan=Plan(window=WIDE)) as scene:
        people = (("alice", "ships", 11), ("alice", "songs", 17), ("bob", "ships", 29), ("bob", "songs", 43))
        chats = [converse(scene, *person) for person in people]
        for seen in await asyncio.gather(*chats):
            assert len({worker for worker, _ in seen}) == 1
            assert [cached >= len(SAYING) * turn for turn, (_, cached) in enumerate(seen)] == [True] * TURNS
        assert len({event.worker for event in scene.finished}) == 2
        state = (await scene.get("/debug/state", ADMIN_KEY)).json
        rates = {each["tenant"]: each["hit_rate"] for each in state["prefix_cache"]}
        assert set(rates) == {"alice", "bob"}
        assert min(rates.values()) > 0.6


async def code(scene: Stage, who: str, topic: str, tokens: int) -> list[str]:
    """Send twenty turns as Claude Code does, each with another first block of system text; return who answered."""
    said: list[dict[str, Any]] = []
    ids: list[str | None] = []
    for turn in range(20):
        header = f"x-anthropic-billing-header: cc_version=2.1.7; cc_entrypoint=cli; cch={turn * 7919:05x};"
        system = [{"type": "text", "text": text} for text in (header, f"{topic}: {SAYING}")]
        said.append({"role": "user", "content": f"{turn}: why?"})
        body = {"model": MODEL, "max_tokens": tokens, "system": system, "messages": said}
        answer = await scene.ask(body, who, "/v1/messages")
        said.append({"role": "assistant", "content": answer.json["content"]})
        ids.append(answer.header("x-request-id"))
    workers = {event.request_id: event.worker for event in scene.finished}
    return [workers[each] for each in ids if each]


@virtual_time
async def test_a_header_that_is_never_the_same_does_not_part_a_chat_from_its_worker() -> None:
    """All twenty turns of each chat of Claude Code go to one worker, though now and then another has less to do."""
    async with stage(EngineWorker(), EngineWorker(), plan=Plan(window=WIDE)) as scene:
        people = (("alice", "ships", 11), ("alice", "songs", 17), ("bob", "ships", 29), ("bob", "songs", 43))
        for workers in await asyncio.gather(*(code(scene, *person) for person in people)):
            assert workers == workers[:1] * 20
        assert len({event.worker for event in scene.finished}) == 2


@virtual_time
async def test_tenants_who_say_the_same_share_nothing() -> None:
    """The same conversation of another tenant finds nothing cached, at any worker."""
    async with stage(EngineWorker(), EngineWorker(), plan=Plan(pool={"locality_quantum": 1e6})) as scene:
        await scene.ask(chat(5, prompt=SAYING), "alice")
        await scene.ask(chat(5, prompt=SAYING), "alice")
        await scene.ask(chat(5, prompt=SAYING), "bob")
        assert [event.cached_tokens > 0 for event in scene.finished] == [False, True, False]


@virtual_time
async def test_a_quantum_lets_the_cached_request_go_first() -> None:
    """With one slot, a request with a cached prompt overtakes within the quantum, and waits without one."""
    order = {}
    for quantum in (0.0, 1e5):
        plan = Plan(
            tenants=(tenant("alice"), tenant("bob"), tenant("carol")),
            pool={"locality_quantum": quantum},
            window=Window(sequences=1, slack=0, prefill_tokens=2048),
        )
        async with stage(EngineWorker(), plan=plan) as scene:
            await scene.ask(chat(20, prompt=SAYING), "alice")
            await scene.ask(chat(1, prompt="hello"), "bob")
            busy = scene.asking(chat(20), "carol")
            await scene.until(lambda scene=scene: len(scene.dispatched) == 3)
            waiting = [scene.asking(chat(5, prompt=f"{who}: {SAYING}"), who) for who in ("bob", "carol")]
            waiting.append(scene.asking(chat(5, prompt=SAYING), "alice"))
            await asyncio.gather(busy, *waiting)
            order[quantum] = [event.tenant for event in scene.dispatched[3:]]
    assert order[0.0].index("alice") > 0
    assert order[1e5][0] == "alice"


@dataclass(frozen=True, slots=True)
class TwoPools(Plan):
    """One worker in each of the pools `tiny` and `large`; `tiny` falls back to `large` where `falls_back`."""

    falls_back: bool = True

    def config(self, urls: Sequence[str]) -> Config:
        """The configuration in front of both."""
        whole = super(TwoPools, self).config(urls[:1])
        small = whole.pools[0].model_copy(update={"fallback": "large" if self.falls_back else None})
        worker = Worker(name="big", url=urls[1], window=self.window)
        large = Pool(model="large", engine_model=MODEL, workers=(worker,), window=self.window)
        return whole.model_copy(update={"pools": (small, large)})


TENANTS = (tenant("alice"), tenant("bob", models=(MODEL,)))


@virtual_time
async def test_a_pool_without_a_worker_is_stood_in_for() -> None:
    """The fallback answers and is who charges; log, state and metric say so."""
    async with stage(EngineWorker(), EngineWorker(), plan=TwoPools(TENANTS, pool={"timeouts": AT_ONCE})) as scene:
        assert (await scene.ask(chat(5))).status == 200
        assert (scene.last.pool, scene.last.asked_pool) == (MODEL, "")
        scene.engines[0].kill()
        await scene.until_worker_is("down")
        answer = await scene.ask(chat(5, stream=False))
        assert answer.status == 200
        assert answer.json["model"] == MODEL  # as the engine calls it
        assert (scene.last.pool, scene.last.asked_pool, scene.last.model) == ("large", MODEL, MODEL)
        charged = {pool.pool: sum(each.service for each in pool.tenants) for pool in scene.gateway.pools()}
        assert charged["large"] == scene.last.service
        metrics = (await scene.get("/metrics")).body.decode()
        assert f'vtc_gateway_fallbacks_total{{pool="{MODEL}",fallback="large"}} 1' in metrics
        assert (await scene.ask(chat(5), "bob")).status == 503  # who may not use the model that stands in
        await scene.engines[0].start()
        await scene.until_worker_is("on_trial")
        assert (await scene.ask(chat(5))).status == 200
        assert scene.last.pool == MODEL
        assert '"asked_pool":"tiny"' in scene.end_log()


@virtual_time
async def test_no_pool_stands_in_unless_it_is_told_to() -> None:
    """Without `fallback` the requests of a pool without a worker stay there: they are refused when its time is over."""
    plan = TwoPools(TENANTS, falls_back=False, pool={"timeouts": AT_ONCE})
    async with stage(EngineWorker(), EngineWorker(), plan=plan) as scene:
        scene.engines[0].kill()
        await scene.until_worker_is("down")
        assert (await scene.ask(chat(5))).status == 503
        assert scene.last.outcome is Outcome.NO_WORKER


@virtual_time
async def test_a_fallback_is_taken_at_once_and_waited_for_only_where_none_serves() -> None:
    """A fallback that serves answers during the outage; if both pools are out, a request waits for its own."""
    async with stage(EngineWorker(), EngineWorker(), plan=TwoPools()) as scene:
        scene.engines[0].kill()
        await scene.until_worker_is("down")
        assert (await scene.ask(chat(5))).is_done
        assert (scene.last.pool, scene.last.asked_pool) == ("large", "tiny")
        assert scene.last.queue_wait_seconds < 0.1
        scene.engines[1].kill()
        await scene.until_worker_is("down", 1)
        asking = scene.asking(chat(5))
        await asyncio.sleep(5)
        await scene.engines[0].start()
        assert (await asking).is_done
        assert scene.last.pool == "tiny"


@virtual_time
async def test_a_fallback_in_its_outage_is_better_than_none() -> None:
    """A pool whose time is over hands its requests to one whose time is not."""
    async with stage(EngineWorker(), EngineWorker(), plan=TwoPools(pool={"timeouts": AT_ONCE})) as scene:
        for number, engine in enumerate(scene.engines):
            engine.kill()
            await scene.until_worker_is("down", number)
        asking = scene.asking(chat(5))
        await asyncio.sleep(5)
        await scene.engines[1].start()
        assert (await asking).is_done
        assert (scene.last.pool, scene.last.asked_pool) == ("large", "tiny")


@virtual_time
async def test_adapters_are_models_of_their_own() -> None:
    """They are listed with their parent, allowed by name, sent upstream by name and answered under it."""
    engine = replace(ENGINE_CONFIG, adapters=("poet", "sailor"))
    tenants = (tenant("alice"), tenant("bob", models=("poet",)))
    plan = Plan(tenants, pool={"adapters": POETS, "engine_model": MODEL, "aliases": ("small",)})
    async with stage(EngineWorker(engine), plan=plan) as scene:
        listed: dict[str, dict[str, Any]] = defaultdict(dict)
        for who in ("alice", "bob"):
            for card in (await scene.get("/v1/models", key_of(who))).json["data"]:
                listed[who][card["id"]] = card["parent"]
        assert listed["alice"] == {MODEL: None, "small": MODEL, "poet": MODEL, "sailor": MODEL}
        assert listed["bob"] == {"poet": MODEL}
        answers = [await scene.post(CHAT, question(model=name, max_tokens=3)) for name in ("poet", "small", "sailor")]
        assert [answer.json["model"] for answer in answers] == ["poet", MODEL, "sailor"]
        assert [sent.body["model"] for sent in scene.sent] == ["poet", MODEL, "sailor"]
        assert (await scene.post(CHAT, question(model="poet"), key_of("bob"))).status == 200
        assert (await scene.post(CHAT, question(model="sailor"), key_of("bob"))).status == 404
        assert (await scene.post(CHAT, question(model=MODEL), key_of("bob"))).status == 404
        tokenized = await scene.post("/tokenize", {"model": "poet", "prompt": "abc"})
        assert tokenized.json["count"] == 3
        assert scene.sent[-1].body["model"] == "poet"


@virtual_time
async def test_adapters_do_not_share_a_cache() -> None:
    """The same prompt is read anew under another adapter."""
    engine = EngineWorker(replace(ENGINE_CONFIG, adapters=("poet", "sailor")))
    async with stage(engine, plan=Plan(pool={"adapters": POETS, "locality_quantum": 1.0})) as scene:
        for name in ("poet", "poet", "sailor"):
            await scene.post(CHAT, question(SAYING, name, max_tokens=3))
        assert [event.cached_tokens > 0 for event in scene.finished] == [False, True, False]
