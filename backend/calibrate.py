"""Measures an engine through its HTTP API and writes a profile of the embedded engine that is as fast.

The cost of a step is linear (`engine/core/cost.py`), so two kinds of measurement determine it. Prefill: the time to the
first token of one prompt on an idle engine, by the prompt's length. Decode: the time of a step while a batch of known
size decodes and nobody prefills, by the batch and by the context that it reads. Rules: lengths are the engine's own
counts; prompts are random letters, so that no prefix is cached; nothing else may use the engine meanwhile. What the API
itself takes stays out of the profile and is stated, as the fit's error is. How long answers are is not measured but
given.
"""

import asyncio
import os
import re
import string
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Annotated, Any

import aiohttp
import orjson
import typer

from backend.engine.core import EngineCapacity, StepCost
from backend.engine.profile import OutputLengths, Profile
from backend.fit import Measurement, fit

_PREFILL_PARTS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)  # of the longest prompt
_SHORT_CONTEXT_TOKENS = 32
_MIN_STEPS = 8  # of a batch decoding undisturbed, or its measurement is left out
_KV_SHARE = 0.8  # of the cache at most, so that nothing is preempted
_LENGTH_SHARE = 0.8  # of the context at most: how many tokens random letters make is an estimate
_PROBE_LETTERS = 512
_DIGITS = 4
_OUTPUT = OutputLengths(median_tokens=160, sigma=0.8)  # a chat's, for want of a measurement
_REQUEST_SECONDS = 600.0


class CalibrationError(Exception):
    """The engine cannot be measured; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One streamed answer: its prompt's tokens, and how many tokens had come at what time; `asked_at` as the clock."""

    prompt_tokens: int
    asked_at: float
    progress: tuple[tuple[float, int], ...]

    @property
    def first_token_seconds(self) -> float:
        """From the request to the first token."""
        return self.progress[0][0] - self.asked_at


class EngineUnderTest:
    """An engine's API as the calibration needs it."""

    def __init__(self, http: aiohttp.ClientSession, model: str, seed: int) -> None:
        self._http = http
        self._model = model
        self._random = Random(seed)
        self._letters_per_token = 1.0

    async def learn_letters(self, letters: int) -> None:
        """Find out with one prompt how many random letters make a token; warms the engine up at the same time."""
        answer = await self.ask(letters, 2)
        self._letters_per_token = letters / answer.prompt_tokens

    async def ask(self, prompt_tokens: int, output_tokens: int) -> Answer:
        """Stream an answer of exactly `output_tokens` to a new prompt of about `prompt_tokens`."""
        letters = max(1, round(prompt_tokens * self._letters_per_token))
        body = {
            "model": self._model,
            "prompt": "".join(self._random.choices(string.ascii_lowercase, k=letters)),
            "max_tokens": output_tokens,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
        asked_at = asyncio.get_running_loop().time()
        async with self._http.post("/v1/completions", json=body) as response:
            if response.status != 200:
                raise CalibrationError(f"the engine answered {response.status}: {(await response.text())[:300]}")
            return await _read(response, asked_at)

    async def ask_together(self, count: int, prompt_tokens: int, output_tokens: int) -> list[Answer]:
        """`count` answers at the same time."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self.ask(prompt_tokens, output_tokens)) for _ in range(count)]
        except BaseExceptionGroup as faults:
            raise faults.exceptions[0] from None  # those of a batch have one cause
        return [task.result() for task in tasks]


async def _read(response: aiohttp.ClientResponse, asked_at: float) -> Answer:
    clock = asyncio.get_running_loop().time
    progress: list[tuple[float, int]] = []
    prompt_tokens = counted = 0
    async for line in response.content:
        usage = _usage(line)
        if usage is not None and usage["completion_tokens"] > counted:
            prompt_tokens, counted = usage["prompt_tokens"], usage["completion_tokens"]
            progress.append((clock(), counted))
    if not progress:
        raise CalibrationError("the engine streamed no token counts: is it vLLM?")
    return Answer(prompt_tokens, asked_at, tuple(progress))


def _usage(line: bytes) -> Mapping[str, int] | None:
    """The token counts of an event, where it has any."""
    if not line.startswith(b"data: {"):
        return None
    event = orjson.loads(line.removeprefix(b"data: "))
    if "error" in event:
        raise CalibrationError(f"the engine failed in mid-answer: {event['error']}")
    usage: Mapping[str, int] | None = event.get("usage")
    return usage


@dataclass(frozen=True, slots=True)
class CalibrationPlan:
    """What to measure: as large as the engine allows. `output_tokens` of each answer, each prompt `repeats` times."""

    capacity: EngineCapacity
    output_tokens: int = 64
    repeats: int = 3

    @property
    def prompts(self) -> list[int]:
        """Lengths of prompts that are read in one step."""
        longest = min(self.capacity.max_num_batched_tokens, int(_LENGTH_SHARE * self.capacity.max_model_len))
        return sorted({max(1, int(longest * part)) for part in _PREFILL_PARTS})

    @property
    def batches(self) -> list[tuple[int, int]]:
        """Pairs of a batch and a prompt's length: powers of two and the largest batch, with short and long contexts."""
        largest = self.capacity.max_num_seqs
        sizes = sorted({min(2**power, largest) for power in range(largest.bit_length() + 1)})
        return sorted({(size, context) for size in sizes for context in self._contexts(size)})

    def _contexts(self, size: int) -> list[int]:
        """Short, medium and the longest prompt with which a batch fits into the context and into the cache."""
        capacity = self.capacity
        cache = int(_KV_SHARE * capacity.num_blocks * capacity.block_size) // size
        room = min(cache, int(_LENGTH_SHARE * capacity.max_model_len)) - self.output_tokens - 1
        longest = int(room / (1 + size / capacity.max_num_batched_tokens))
        return [context for context in (_SHORT_CONTEXT_TOKENS, longest // 2, longest) if 1 <= context <= longest]

    def tokens(self, size: int, prompt_tokens: int) -> int:
        """Length of each answer of a batch: the first must still run when the last prompt has been read."""
        return self.output_tokens + -(-size * prompt_tokens // self.capacity.max_num_batched_tokens)


async def measure_prefill(engine: EngineUnderTest, plan: CalibrationPlan) -> list[Measurement]:
    """The time to the first token by prompt length: median of the repeats, with a constant for step and API."""
    found = []
    for tokens in plan.prompts:
        answers = [await engine.ask(tokens, 1) for _ in range(plan.repeats)]
        length = median(answer.prompt_tokens for answer in answers)
        seconds = median(answer.first_token_seconds for answer in answers)
        found.append(Measurement((1.0, float(length)), seconds))
    return found


async def measure_decode(engine: EngineUnderTest, plan: CalibrationPlan) -> list[Measurement]:
    """The time of a step by batch and by context, for each batch that decoded long enough undisturbed."""
    found = []
    for size, context in plan.batches:
        answers = await engine.ask_together(size, context, plan.tokens(size, context))
        measurement = decode_step(answers)
        if measurement is not None:
            found.append(measurement)
    return found


def decode_step(answers: Sequence[Answer]) -> Measurement | None:
    """The mean step while all answers decoded, and the context that it read; None if that was too short."""
    begin = max(answer.progress[0][0] for answer in answers)
    end = min(answer.progress[-1][0] for answer in answers)
    steps = seconds = context = 0.0
    for answer in answers:
        inside = [(when, tokens) for when, tokens in answer.progress if begin <= when <= end]
        if len(inside) < 2 or inside[-1][1] - inside[0][1] < _MIN_STEPS:
            return None
        (started, first), (ended, last) = inside[0], inside[-1]
        steps += last - first
        seconds += ended - started
        # The step that makes token k + 1 reads the prompt and k - 1 tokens before the one that it computes.
        context += answer.prompt_tokens + (first + last - 1) / 2 - 1
    return Measurement((1.0, float(len(answers)), context), seconds / steps)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Both fits with their measurements."""

    prefill: tuple[Measurement, ...]
    decode: tuple[Measurement, ...]
    prefill_fit: tuple[float, ...]
    decode_fit: tuple[float, ...]

    @classmethod
    def of(cls, prefill: Sequence[Measurement], decode: Sequence[Measurement]) -> "Calibration":
        """Fit the measurements; raises CalibrationError if they tell too little."""
        if len(decode) < 3:
            raise CalibrationError("too few batches decoded undisturbed: ask for longer answers (--output-tokens)")
        return cls(tuple(prefill), tuple(decode), fit(prefill), fit(decode))

    @property
    def cost(self) -> StepCost:
        """The profile's coefficients."""
        step, sequence, context = self.decode_fit
        return StepCost(*map(_rounded, (step, self.prefill_fit[1], sequence, context)))

    @property
    def api_seconds(self) -> float:
        """What a request takes beside its steps: the engine's API and the way to it."""
        return max(0.0, self.prefill_fit[0] - self.decode_fit[0])

    def worst_errors(self) -> tuple[float, float]:
        """The largest relative error of a prefill and of a decode measurement."""
        return (
            max(each.error(self.prefill_fit) for each in self.prefill),
            max(each.error(self.decode_fit) for each in self.decode),
        )

    def source(self, engine: str) -> str:
        """Where the profile's numbers come from, in a sentence for the file."""
        prefill, decode = self.worst_errors()
        return (
            f"Measured through the API of {engine}: {len(self.prefill)} prompt lengths within {prefill:.0%}, "
            f"{len(self.decode)} batches within {decode:.0%} of a least-squares fit of the relative error; "
            f"{self.api_seconds * 1000:.1f} ms of the time to the first token are the API's and left out. "
            "Lengths of answers are chosen, not measured."
        )


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


async def capacity_of(http: aiohttp.ClientSession, model: str, max_num_seqs: int, step_tokens: int) -> EngineCapacity:
    """The engine's sizes; the caller gives those that the engine does not report."""
    cards = {card["id"]: card for card in (await _json(http, "/v1/models"))["data"]}
    if model not in cards:
        raise CalibrationError(f"the engine does not serve {model!r} but {', '.join(cards)}")
    async with http.get("/metrics") as response:
        facts = re.search(r"^vllm:cache_config_info\{(.*)\}", await response.text(), re.MULTILINE)
    if facts is None:
        raise CalibrationError("the engine's /metrics has no vllm:cache_config_info: is it vLLM?")
    labels = dict(re.findall(r'(\w+)="([^"]*)"', facts[1]))
    return EngineCapacity(
        max_num_seqs,
        step_tokens,
        cards[model]["max_model_len"],
        int(labels["num_gpu_blocks"]),
        int(labels["block_size"]),
    )


async def first_model(http: aiohttp.ClientSession) -> str:
    """The name of the model that the engine lists first."""
    name: str = (await _json(http, "/v1/models"))["data"][0]["id"]
    return name


async def _json(http: aiohttp.ClientSession, path: str) -> Any:
    async with http.get(path) as response:
        if response.status != 200:
            raise CalibrationError(f"{path} answered {response.status}: {(await response.text())[:300]}")
        return orjson.loads(await response.read())


@asynccontextmanager
async def reached(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A session with the engine, with the key of `VLLM_API_KEY` where there is one; its faults as CalibrationError."""
    key = os.environ.get("VLLM_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = aiohttp.ClientTimeout(total=_REQUEST_SECONDS)
    # Without aiohttp's limit of 100 connections: a batch of 256 is 256 of them.
    connector = aiohttp.TCPConnector(limit=0)
    try:
        async with aiohttp.ClientSession(url, headers=headers, timeout=timeout, connector=connector) as http:
            yield http
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CalibrationError(f"{url}: {error or type(error).__name__}") from error


async def measure(engine: EngineUnderTest, plan: CalibrationPlan) -> Calibration:
    """Everything that a profile needs, one measurement after the other."""
    await engine.learn_letters(min(_PROBE_LETTERS, plan.capacity.max_model_len // 2))
    prefill = await measure_prefill(engine, plan)
    return Calibration.of(prefill, await measure_decode(engine, plan))


@dataclass(frozen=True, slots=True)
class Given:
    """What the engine does not report and the person who measures knows."""

    machine: str
    max_num_seqs: int
    max_num_batched_tokens: int
    model: str | None = None
    seed: int = 0


async def profile_of(url: str, given: Given, plan_of: Callable[[EngineCapacity], CalibrationPlan]) -> Profile:
    """Measure the engine at `url` and describe it."""
    async with reached(url) as http:
        model = given.model or await first_model(http)
        version = (await _json(http, "/version"))["version"]
        capacity = await capacity_of(http, model, given.max_num_seqs, given.max_num_batched_tokens)
        calibration = await measure(EngineUnderTest(http, model, given.seed), plan_of(capacity))
    source = calibration.source(f"vLLM {version}")
    return Profile(f"{model} on {given.machine}.", source, calibration.cost, capacity, _OUTPUT)


def document(profile: Profile) -> bytes:
    """A file of `engine/profiles/`."""
    content = asdict(profile)
    del content["capacity"]["policy"]  # the order of the queue is chosen when an engine is started
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def calibrate(  # noqa: PLR0913 -- one parameter for each option
    url: Annotated[str, typer.Option(help="The engine's address; nothing else may use it meanwhile.")],
    machine: Annotated[str, typer.Option(help="What it runs on, for the profile's description.")],
    max_num_seqs: Annotated[int, typer.Option(min=1, help="As the engine was started with; it does not tell.")],
    max_num_batched_tokens: Annotated[int, typer.Option(min=1, help="As the engine was started with.")],
    model: Annotated[str | None, typer.Option(help="Model to measure; default: the first that it lists.")] = None,
    output_tokens: Annotated[int, typer.Option(min=16, help="Tokens of each measured answer.")] = 64,
    repeats: Annotated[int, typer.Option(min=1, help="How often each prompt length is measured.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the prompts.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Profile to write; default: standard output.")] = None,
) -> None:
    """Measure a running engine and write a profile of the embedded engine that is as fast."""
    given = Given(machine, max_num_seqs, max_num_batched_tokens, model, seed=seed)
    try:
        profile = asyncio.run(
            profile_of(url, given, lambda capacity: CalibrationPlan(capacity, output_tokens, repeats))
        )
    except (CalibrationError, ValueError) as error:
        typer.echo(f"calibrate: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(profile.source, err=True)
    if out is None:
        sys.stdout.buffer.write(document(profile))
    else:
        out.write_bytes(document(profile))
