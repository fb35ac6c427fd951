"""From a plan to a command on this machine: which engine runs it, on which GPUs, with which arguments.

`auto` is vLLM on the GPUs if there are any, else vLLM on the processor if its build for that is installed, else a
fault: the embedded engine invents its answers, so it runs only if it is named. The choice is always reported.
Engines get our arguments last, so that none of a plan's can undo them: loopback and a port of our own, the sizes that
the gateway's window rests on, and a bound on the engine's queue behind it. The engines' key travels in the environment,
which other users cannot read.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.supervisor.gpus import Allotment, Gpu, TooFewGpus
from backend.supervisor.plan import MAX_LEARNED_SEQUENCES, EngineChoice, WorkerPlan
from backend.vllm.engine_order import EngineOrder
from backend.vllm.launch import LaunchError, find_python, is_cpu_build

KEY_VARIABLE = "VLLM_API_KEY"
# Our own file, and nothing from the folder we are started in: another `backend` may lie there.
BACKEND = (sys.executable, "-P", str(Path(__file__).resolve().parents[1] / "__main__.py"))

# One request that is larger than the window is sent alone: 2,048 inputs (OpenAI's bound) of 4 answers each (the
# gateway's own). The engine's queue limit must let it in.
LARGEST_REQUEST_SEQUENCES = 4 * 2048
# vLLM's own default for a GPU that it has to itself.
GPU_MEMORY = 0.9

# `vtc-backend vllm` gives vLLM 8 s before it uses force.
_VLLM_GRACE_SECONDS = 12.0
_EMBEDDED_GRACE_SECONDS = 3.0


_INVENTED = (
    "; `engine: embedded` runs an engine model that needs neither and invents its answers, as `make run` and "
    "`vtc-gateway demo` do"
)


class CannotStart(Exception):
    """A plan that this machine cannot carry out; the message says why and what helps."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to start a worker: `engine` in words, `grace_seconds` to end by itself, `shared_gpu` if it shares one."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    engine: str
    grace_seconds: float
    shared_gpu: str | None = None


class Machine:
    """What workers share: the GPUs, the interpreter with vLLM, the key, and turns at loading."""

    def __init__(self, gpus: Sequence[Gpu], environment: Mapping[str, str], api_key: str) -> None:
        """A machine on which nothing runs yet; `environment` is what engines inherit."""
        self.gpus = tuple(gpus)
        self.api_key = api_key
        self._environment = dict(environment)
        self._allotment = Allotment(gpus)
        self._turns: dict[str, asyncio.Lock] = {}

    def recipe(self, plan: WorkerPlan) -> Recipe:
        """The command for `plan`, its GPUs taken; raises `CannotStart`, or `NoGpuLeft` while others have them."""
        python = self._vllm(plan.engine)
        if python is None:
            return self._embedded(plan)
        if is_cpu_build(python) or not self.gpus:
            return self._on_cpu(plan, python)
        try:
            gpus = self._allotment.take(plan.name, plan.gpus)
        except TooFewGpus as fault:
            raise CannotStart(str(fault)) from None
        return self._on_gpus(plan, python, gpus)

    def give_back(self, worker: str) -> None:
        """`worker` needs its GPUs no more."""
        self._allotment.give_back(worker)

    def turn(self, recipe: Recipe) -> asyncio.Lock:
        """To be held while loading: vLLM measures the memory of its GPU, which a neighbour's loading would falsify."""
        if recipe.shared_gpu is None:
            return asyncio.Lock()
        return self._turns.setdefault(recipe.shared_gpu, asyncio.Lock())

    def _vllm(self, engine: EngineChoice) -> Path | None:
        """The interpreter for vLLM, None if the plan asks for the embedded engine."""
        if engine is EngineChoice.EMBEDDED:
            return None
        try:
            python = find_python(None, self._environment)
        except LaunchError as fault:
            raise CannotStart(f"{fault}{'' if self.gpus else _INVENTED}") from None
        if engine is EngineChoice.AUTO and not self.gpus and not is_cpu_build(python):
            raise CannotStart(f"no GPU found, and the vLLM of {python} needs one{_INVENTED}")
        return python

    # -- commands

    def _embedded(self, plan: WorkerPlan) -> Recipe:
        if plan.engine_order is not EngineOrder.FCFS:
            raise CannotStart(f"the embedded engine has no engine_order {plan.engine_order.value}; use fcfs")
        command = (
            *(*BACKEND, "embedded", "--profile", plan.profile, "--model", plan.client_name),
            *("--max-model-len", str(plan.max_model_len), "--max-num-queued-reqs", str(_queue_limit(plan))),
            "--end-with-parent",
            *(argument for name in plan.adapters for argument in ("--adapter", name)),
            *_sizes(plan),
        )
        environment = self._inherited(plan)
        return Recipe(command, environment, "embedded engine (it invents its answers)", _EMBEDDED_GRACE_SECONDS)

    def _on_cpu(self, plan: WorkerPlan, python: Path) -> Recipe:
        reason = "no GPU found" if not self.gpus else "its build for processors is installed"
        return self._recipe(plan, python, f"vLLM on the processor ({reason})")

    def _on_gpus(self, plan: WorkerPlan, python: Path, gpus: Sequence[Gpu]) -> Recipe:
        visible = {"CUDA_VISIBLE_DEVICES": ",".join(gpu.selector for gpu in gpus), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        named = ", ".join(gpu.label for gpu in gpus)
        if plan.gpus < 1:
            share = ("--gpu-memory-utilization", f"{GPU_MEMORY * plan.gpus:.4f}")
            return self._recipe(plan, python, f"vLLM on {plan.gpus:g} of GPU {named}", share, visible, gpus[0].selector)
        parallel = ("--tensor-parallel-size", str(len(gpus))) if len(gpus) > 1 else ()
        return self._recipe(plan, python, f"vLLM on GPU {named}", parallel, visible)

    def _recipe(
        self,
        plan: WorkerPlan,
        python: Path,
        engine: str,
        devices: tuple[str, ...] = (),
        visible: Mapping[str, str] | None = None,
        shared_gpu: str | None = None,
    ) -> Recipe:
        command = (
            *(*BACKEND, "vllm", "--model", plan.model, "--python", str(python)),
            *("--start-seconds", f"{plan.start_seconds:g}", "--engine-order", plan.engine_order.value),
            "--end-with-parent",
            *("--", *devices, *plan.arguments, *vllm_arguments(plan)),
        )
        environment = self._inherited(plan) | dict(visible or {})
        return Recipe(command, environment, engine, _VLLM_GRACE_SECONDS, shared_gpu)

    def _inherited(self, plan: WorkerPlan) -> dict[str, str]:
        return {**self._environment, **plan.environment, KEY_VARIABLE: self.api_key, "PYTHONUNBUFFERED": "1"}


def vllm_arguments(plan: WorkerPlan) -> tuple[str, ...]:
    """What a plan means to vLLM; the address and reports on cached tokens are `vtc-backend vllm`'s."""
    return (
        *("--served-model-name", plan.client_name, "--max-model-len", str(plan.max_model_len)),
        *("--max-num-queued-reqs", str(_queue_limit(plan)), *_sizes(plan)),
        *("--scheduling-policy", "fcfs", "--stream-interval", "1"),
        *("--enable-force-include-usage", "--enable-prompt-tokens-details"),
        *_adapters(plan),
    )


def _adapters(plan: WorkerPlan) -> tuple[str, ...]:
    """How many of them run at once is vLLM's `--max-loras`, among the plan's own arguments."""
    if not plan.adapters:
        return ()
    return ("--enable-lora", "--lora-modules", *(f"{name}={path}" for name, path in plan.adapters.items()))


def _sizes(plan: WorkerPlan) -> tuple[str, ...]:
    """The engine's batch and step where the plan says them; a step has a token for each sequence of the batch.

    Where the engine orders its queue the gateway sends it far more prompts than a step takes: the step is its own.
    """
    batch, tokens = plan.sequences, plan.prefill_tokens
    if plan.engine_order is not EngineOrder.FCFS:
        tokens = None
    arguments: tuple[str, ...] = ()
    if batch is not None:
        arguments += ("--max-num-seqs", str(batch))
    if tokens is not None:
        arguments += ("--max-num-batched-tokens", str(max(tokens, batch or MAX_LEARNED_SEQUENCES)))
    return arguments


def _queue_limit(plan: WorkerPlan) -> int:
    """Sequences in the engine beyond which it refuses: never reached while the gateway keeps to its window."""
    return 2 * (plan.sequences or MAX_LEARNED_SEQUENCES) + LARGEST_REQUEST_SEQUENCES


def this_machine(gpus: Sequence[Gpu], api_key: str) -> Machine:
    """The machine that this process runs on."""
    return Machine(gpus, os.environ, api_key)
