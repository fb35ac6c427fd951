"""Which GPUs are found, and who gets how much of which."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from backend.supervisor.gpus import Allotment, Gpu, NoGpuLeft, find_gpus

TWO = (Gpu(0), Gpu(1))


class _NvmlError(Exception):
    pass


def _nvml(names: list[str], *, works: bool = True) -> SimpleNamespace:
    def start() -> None:
        if not works:
            raise _NvmlError

    return SimpleNamespace(
        NVMLError=_NvmlError,
        nvmlInit=start,
        nvmlDeviceGetCount=lambda: len(names),
        nvmlDeviceGetHandleByIndex=lambda index: names[index],
        nvmlDeviceGetName=lambda handle: handle,
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(total=80 << 30),
    )


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """The device files of a machine with two GPUs."""
    for name in ("nvidiactl", "nvidia0", "nvidia1", "nvidia-uvm"):
        (tmp_path / name).touch()
    return tmp_path


def test_no_driver_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the driver's device nothing is asked."""
    monkeypatch.setitem(sys.modules, "pynvml", _nvml(["H100"]))
    assert find_gpus({}, tmp_path) == ()


def test_nvml_knows_names_and_memory(devices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its package GPUs have names and memory; only visible ones count."""
    monkeypatch.setitem(sys.modules, "pynvml", _nvml(["H100", "A10G"]))
    assert find_gpus({}, devices) == (Gpu(0, "H100", 81920), Gpu(1, "A10G", 81920))
    assert [gpu.name for gpu in find_gpus({"CUDA_VISIBLE_DEVICES": "1"}, devices)] == ["A10G"]
    assert find_gpus({"CUDA_VISIBLE_DEVICES": ""}, devices) == ()


@pytest.mark.parametrize("nvml", [None, _nvml([], works=False)], ids=["not installed", "fails"])
def test_without_nvml_the_device_files_count(nvml: object, devices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs are found by their device files where NVML cannot be asked."""
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert find_gpus({}, devices) == TWO


def test_shares_fill_the_emptiest_gpu() -> None:
    """Halves spread over both before they share one; a whole one fits no more, and what is given back is free."""
    allotment = Allotment(TWO)
    assert [allotment.take(name, 0.5) for name in "abc"] == [(0,), (1,), (0,)]
    with pytest.raises(NoGpuLeft, match="asks for 1 GPUs, left are GPU 0: 0%, GPU 1: 50%"):
        allotment.take("d", 1)
    allotment.give_back("b")
    assert allotment.take("d", 1) == (1,)


def test_thirds_are_three() -> None:
    """Fractions that cannot be written exactly still add up to one GPU, and not to more."""
    allotment = Allotment((Gpu(0),))
    assert {allotment.take(name, 0.3333333) for name in "abc"} == {(0,)}
    with pytest.raises(NoGpuLeft):
        allotment.take("d", 0.3333333)


def test_tensor_parallel_takes_several_whole_ones() -> None:
    """Two of two, none of one; asking again takes the same again."""
    allotment = Allotment(TWO)
    assert allotment.take("a", 2) == (0, 1)
    assert allotment.take("a", 2) == (0, 1)
    with pytest.raises(NoGpuLeft, match="lower `gpus` or `count`"):
        Allotment((Gpu(0),)).take("a", 2)
    with pytest.raises(NoGpuLeft, match="left are none"):
        Allotment(()).take("a", 1)
