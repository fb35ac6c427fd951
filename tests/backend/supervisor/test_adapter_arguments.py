"""How a plan's LoRA adapters reach each engine."""

from pathlib import Path

from backend.supervisor.gpus import Gpu
from backend.supervisor.machine import Machine, vllm_arguments
from backend.supervisor.plan import EngineChoice, WorkerPlan, read_plan

ADAPTERS = {"poet": "/lora/poet", "sailor": "org/sailor"}


def test_vllm_loads_the_adapters_of_its_plan() -> None:
    """vLLM gets the name and place of each adapter; without adapters it prepares for none."""
    arguments = vllm_arguments(read_plan({"name": "m/w0", "adapters": ADAPTERS}))
    first = arguments.index("--lora-modules") + 1
    assert arguments[first : first + 2] == ("poet=/lora/poet", "sailor=org/sailor")
    assert "--enable-lora" in arguments
    assert "--enable-lora" not in vllm_arguments(WorkerPlan("m/w0"))


def test_the_embedded_engine_answers_to_their_names(tmp_path: Path) -> None:
    """The engine loads no adapter, so it needs no place."""
    machine = Machine((Gpu(0, "H100", 81920),), {"PATH": str(tmp_path)}, "the-key")
    command = machine.recipe(WorkerPlan("m/w0", engine=EngineChoice.EMBEDDED, adapters=ADAPTERS)).command
    assert [command[place + 1] for place, word in enumerate(command) if word == "--adapter"] == ["poet", "sailor"]
