"""The scenarios' acts: each puts load on the arena and hands its observation to its rule."""

import math
from dataclasses import replace

from evaluation.conformance import rules
from evaluation.conformance.arena import Arena
from evaluation.conformance.observation import Observed
from evaluation.conformance.rules import Judgement, not_applicable
from evaluation.load.prompts import Lengths
from evaluation.load.tenants import ClosedLoop, LoadTenant, OpenLoop

# A tenant of unequal demand asks for half of its share: unmistakably less than it could have.
PART_OF_SHARE = 0.5
LONG_PROMPT_ANSWERS = 8  # a long prompt in usual answers
LONGEST_PROMPT_TOKENS = 512
FEWEST_GATEWAYS = 2
SHORT_ANSWER_PARTS = 4  # a short answer is this part of a usual one


async def share(arena: Arena) -> Judgement:
    """One tenant floods, the others are merely backlogged."""
    first, *rest = arena.cast.tenants
    observed = await arena.observe("equal shares", [arena.flood(first), *map(arena.crowd, rest)])
    return rules.judge_shares(rules.SHARE, observed, arena.cast.weights)


async def unequal(arena: Arena) -> Judgement:
    """The last tenant asks for half of its share; the others take all they can get."""
    *rest, modest = arena.cast.tenants
    weights = arena.cast.weights
    part = PART_OF_SHARE * modest.weight / sum(weights.values())
    asking = arena.load(modest, OpenLoop(part * arena.scale.outstanding / arena.scale.answer_seconds))
    flood, *others = rest
    observed = await arena.observe("unequal demand", [arena.flood(flood), *map(arena.crowd, others), asking])
    asked = {tenant.name: math.inf for tenant in rest} | {modest.name: observed.tenants[modest.name].asked}
    return rules.judge_due(observed, asked, weights)


async def weights(arena: Arena) -> Judgement:
    """All are backlogged alike; shares follow the weights."""
    if not arena.cast.has_weights:
        return not_applicable("no different weights were given (--weights)")
    observed = await arena.observe("weights", [arena.crowd(tenant) for tenant in arena.cast.tenants])
    return rules.judge_shares(rules.by_weight(arena.cast.weights), observed, arena.cast.weights)


async def isolation(arena: Arena) -> Judgement:
    """A tenant of one short request at a time, alone and then beside a flood."""
    flood, modest, *_ = arena.cast.tenants
    tokens = max(1, arena.scale.answer_tokens // SHORT_ANSWER_PARTS)
    modestly = [replace(arena.load(modest, ClosedLoop(1)), output=Lengths(tokens, tokens))]
    await arena.rest()
    async with arena.playing(modestly) as load:
        alone = arena.look(load, await arena.pass_time("isolation: alone", arena.scale.warmup_seconds))
    async with arena.playing([arena.flood(flood)]) as crowd:
        await arena.pass_time("isolation: warm-up", arena.scale.warmup_seconds)
        async with arena.playing(modestly) as load:
            beside = arena.look(load, await arena.pass_time("isolation", arena.scale.window_seconds), crowd)
    return rules.judge_wait(modest.name, alone, beside, flood.name, arena.scale.answer_seconds)


async def on_off(arena: Arena) -> Judgement:
    """A tenant comes back after a pause: it gets its share, and no more for having paused."""
    pausing, steady, *_ = arena.cast.tenants
    observed = await _joins(arena, "on and off", arena.crowd(steady), arena.crowd(pausing))
    return rules.judge_shares(rules.SHARE, observed, arena.cast.weights)


async def past_use(arena: Arena) -> Judgement:
    """A tenant that had the idle endpoint for itself keeps its share when another comes."""
    user, newcomer, *_ = arena.cast.tenants
    observed = await _joins(arena, "past use", arena.crowd(user), arena.crowd(newcomer))
    return rules.judge_gain(rules.PAST, observed, arena.cast.weights, newcomer.name, user.name)


async def _joins(arena: Arena, what: str, present: LoadTenant, late: LoadTenant) -> Observed:
    """One tenant alone for a window, then both. Returns the observation from the moment the second tenant came."""
    await arena.rest()
    async with arena.playing([present]) as first:
        await arena.pass_time(f"{what}: one alone", arena.scale.window_seconds)
        async with arena.playing([late]) as second:
            span = await arena.pass_time(f"{what}: both", arena.scale.window_seconds)
            return arena.look(first, span, second)


async def lengths(arena: Arena) -> Judgement:
    """Long prompts with short answers against short prompts with long answers."""
    reader, writer, *_ = arena.cast.tenants
    usual = arena.scale.answer_tokens
    prompt = min(LONG_PROMPT_ANSWERS * usual, LONGEST_PROMPT_TOKENS)
    short = max(1, usual // SHORT_ANSWER_PARTS)
    observed = await arena.observe(
        "input- against output-heavy",
        [
            replace(arena.crowd(reader), prompt=arena.prompt(prompt), output=Lengths(short, short)),
            arena.crowd(writer),
        ],
    )
    return rules.judge_shares(rules.SHARE, observed, arena.cast.weights)


async def conservation(arena: Arena) -> Judgement:
    """The same load from one tenant alone and from all together, in an order in which a drift of speed affects both."""
    loads = {"one alone": [arena.crowd(arena.cast.tenants[0])], "together": list(map(arena.crowd, arena.cast.tenants))}
    seen: dict[str, list[Observed]] = {name: [] for name in loads}
    for name in ("one alone", "together", "together", "one alone"):
        seen[name].append(await arena.observe(f"work conservation: {name}", loads[name], part=0.5))
    return rules.judge_conservation(seen["one alone"], seen["together"])


async def disconnect(arena: Arena) -> Judgement:
    """One tenant's clients leave after half of each answer, before the usage at its end."""
    leaving, staying, *_ = arena.cast.tenants
    leaves_after = max(1, arena.scale.answer_tokens // 4)
    observed = await arena.observe(
        "disconnect before the end", [arena.leaver(leaving, leaves_after), arena.crowd(staying)]
    )
    return rules.judge_gain(rules.LEAVER, observed, arena.cast.weights, leaving.name, staying.name)


async def many_keys(arena: Arena) -> Judgement:
    """One tenant uses all of its keys, the other one."""
    rich = arena.cast.with_several_keys
    if rich is None:
        return not_applicable("no tenant was given with several keys (NAME=KEY,NAME=KEY)")
    other = next(tenant for tenant in arena.cast.tenants if tenant is not rich)
    keys = [arena.crowd(rich, key) for key in range(len(rich.keys))]
    observed = await arena.observe("many keys", [*keys, arena.crowd(other)])
    return rules.judge_gain(rules.by_keys(len(keys)), observed, arena.cast.weights, rich.name, other.name)


async def skewed(arena: Arena) -> Judgement:
    """Each tenant comes by a gateway of its own; then the first still does, while the others come by all gateways."""
    if arena.urls < FEWEST_GATEWAYS:
        return not_applicable("one URL was given (--url again for each other gateway of the fleet)")
    first, *rest = map(arena.crowd, arena.cast.tenants)
    first = replace(first, comes_by=(0,))
    apart = [replace(each, comes_by=range(1, arena.urls)) for each in rest]
    seen = [
        await arena.observe(f"skewed ingress: {name}", [first, *others])
        for name, others in (("each by one", apart), ("one by one", rest))
    ]
    margin = rules.by_gateways(arena.urls)
    judgements = [rules.judge_shares(margin, observed, arena.cast.weights) for observed in seen]
    return max(judgements, key=lambda each: math.inf if each.number is None else each.number)


async def refusals(arena: Arena) -> Judgement:
    """A load of no more than the endpoint runs at once. It also judges every refusal that the suite has met."""
    within = await arena.observe("refusals", [arena.within(tenant) for tenant in arena.cast.tenants])
    return rules.judge_refusals(within, arena.refusals, arena.refused)
