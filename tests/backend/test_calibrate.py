"""The calibration finds an engine's coefficients through its API: of embedded engines, whose true ones are known."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from engine_harness import faulty
from typer.testing import CliRunner
from virtual_time import virtual_time

import backend.engine
from backend.calibrate import Answer, CalibrationError, CalibrationPlan, Given, decode_step, document, profile_of
from backend.cli import app
from backend.engine.config import EngineConfig
from backend.engine.core import EngineCapacity, StepCost
from backend.engine.profile import load_profile
from backend.engine.server import bind, make_app, serve

COSTS = ("step_seconds", "prefill_token_seconds", "decode_sequence_seconds", "context_token_seconds")


async def measured(config: EngineConfig, **changes: int) -> tuple[StepCost, str]:
    """The result of the calibration of a running engine."""
    capacity = config.capacity
    given = Given("a test", capacity.max_num_seqs, capacity.max_num_batched_tokens)
    async with serve(make_app(config), bind("127.0.0.1", 0)) as url:
        profile = await profile_of(url, given, lambda found: replace(CalibrationPlan(found), **changes))
    assert profile.capacity == capacity
    return profile.cost, profile.source


@pytest.mark.parametrize("name", ["cpu-tiny", "a10g-llama2-7b", "h100-llama3-8b"])
def test_the_coefficients_of_a_profile_are_recovered(name: str) -> None:
    """In virtual time each coefficient is right within a thousandth, and so is the stated error."""

    @virtual_time
    async def story() -> None:
        cost, source = await measured(EngineConfig.of_profile(name, max_num_seqs=8), repeats=1, output_tokens=24)
        true = load_profile(name).cost
        for coefficient in COSTS:
            found, meant = getattr(cost, coefficient), getattr(true, coefficient)
            assert found == pytest.approx(meant, rel=2e-3, abs=1e-12), coefficient
        assert source.count("within 0%") == 2
        assert " 0.0 ms of the time to the first token" in source

    story()


@virtual_time
async def test_a_batch_that_is_read_in_many_steps_is_measured_undisturbed() -> None:
    """With a budget of a few tokens a step, prompts are read while others decode: that time is in no measurement."""
    config = EngineConfig.of_profile("cpu-tiny", max_num_seqs=4, max_num_batched_tokens=64, max_model_len=512)
    cost, _ = await measured(config, repeats=1)
    true = load_profile("cpu-tiny").cost
    assert cost.step_seconds == pytest.approx(true.step_seconds, rel=2e-3)
    assert cost.decode_sequence_seconds == pytest.approx(true.decode_sequence_seconds, rel=2e-3)
    assert cost.prefill_token_seconds == pytest.approx(true.prefill_token_seconds, rel=2e-3)


@virtual_time
async def test_answers_too_short_to_tell_are_refused() -> None:
    """No profile is made up from batches that never decoded undisturbed."""
    with pytest.raises(CalibrationError, match="--output-tokens"):
        await measured(EngineConfig.of_profile("cpu-tiny", max_num_seqs=4), repeats=1, output_tokens=4)


@virtual_time
async def test_an_engine_that_refuses_is_reported_in_its_words() -> None:
    """A status that is not 200 ends the calibration with the engine's message."""
    config = replace(
        EngineConfig.of_profile("cpu-tiny", max_num_seqs=4), faults=faulty({"kind": "refuse", "status": 503, "nth": 9})
    )
    with pytest.raises(CalibrationError, match="the engine answered 503"):
        await measured(config, repeats=1)


@virtual_time
async def test_an_unknown_model_is_reported_with_those_that_exist() -> None:
    """The name that is meant can be read off the message."""
    given = Given("a test", 4, 2048, model="other")
    async with serve(make_app(EngineConfig.of_profile("instant")), bind("127.0.0.1", 0)) as url:
        with pytest.raises(CalibrationError, match="does not serve 'other' but tiny"):
            await profile_of(url, given, CalibrationPlan)


def test_only_the_time_in_which_all_decode_counts() -> None:
    """From the last first token to the first last one; deltas that were merged count their tokens."""
    early = Answer(100, 0.0, tuple((0.5 + step, step + 1) for step in range(20)))
    late = Answer(50, 0.0, ((4.5, 1), (6.5, 3), *((6.5 + step, 3 + step) for step in range(1, 30))))
    measurement = decode_step([early, late])
    assert measurement is not None
    assert measurement.seconds == pytest.approx(1.0)
    assert measurement.features[:2] == (1.0, 2.0)
    # Both decode from second 4.5 to 19.5: tokens 5 to 20 of the one, 1 to 16 of the other.
    assert measurement.features[2] == pytest.approx((100 + (5 + 19) / 2 - 1) + (50 + (1 + 15) / 2 - 1))
    assert decode_step([early, Answer(50, 0.0, ((15.5, 1), (25.5, 11)))]) is None


@pytest.mark.parametrize("size", [1, 3, 16, 256])
@pytest.mark.parametrize("num_blocks", [1250, 12_500])
def test_a_plan_fits_into_the_engine(size: int, num_blocks: int) -> None:
    """No prompt and its answer exceed the context, no batch the cache; the largest batch is there if it fits at all."""
    capacity = EngineCapacity(size, 2048, 4096, num_blocks, 16)
    plan = CalibrationPlan(capacity)
    largest = max(size for size, _ in plan.batches)
    assert largest == size or num_blocks * 16 / size < 100
    for batch, context in plan.batches:
        tokens = context + plan.tokens(batch, context)
        assert tokens <= capacity.max_model_len
        assert batch * tokens <= capacity.num_blocks * capacity.block_size
    assert max(plan.prompts) <= capacity.max_num_batched_tokens


def test_what_is_written_is_a_profile() -> None:
    """The document has the form of the files in engine/profiles, number for number."""
    profile = load_profile("a10g-llama2-7b")
    written = json.loads(document(profile))
    file = Path(backend.engine.__file__).parent / "profiles" / "a10g-llama2-7b.json"
    assert written == json.loads(file.read_text())


def test_an_engine_that_is_not_there_is_reported() -> None:
    """The command prints the address without a traceback, and ends with status 1."""
    options = ("--machine", "none", "--max-num-seqs", "4", "--max-num-batched-tokens", "64")
    done = CliRunner().invoke(app, ["calibrate", "--url", "http://127.0.0.1:9", *options])
    assert (done.exit_code, done.output.startswith("calibrate: http://127.0.0.1:9: ")) == (1, True)


def test_the_clock_is_the_loops() -> None:
    """In virtual time minutes of measuring take none: nothing reads another clock."""

    @virtual_time
    async def story() -> None:
        began = asyncio.get_running_loop().time()
        await measured(EngineConfig.of_profile("a10g-llama2-7b", max_num_seqs=2), repeats=1, output_tokens=16)
        assert asyncio.get_running_loop().time() - began > 5

    story()
