"""Which GPUs are found, and who gets how much of which."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from backend.supervisor.gpus import Allotment, Gpu, NoGpuLeft, TooFewGpus, find_gpus

TWO = (Gpu("0"), Gpu("1"))
# As NVML tells of a machine with two cards of different make.
H100 = Gpu("0", "NVIDIA H100 80GB HBM3", 81559, "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6")
A10G = Gpu("1", "NVIDIA A10G", 23028, "GPU-89a1b2c3-0f5e-4d11-9a77-3b2c1d0e9f88")


class _NvmlError(Exception):
    pass


@dataclass
class Nvml:
    """The part of NVML's binding that is called, for `cards`; every call before `nvmlInit` or after the end fails."""

    cards: tuple[Gpu, ...] = (H100, A10G)
    works: bool = True
    lost: frozenset[int] = frozenset()
    NVMLError: type[Exception] = field(default=_NvmlError, init=False)
    is_open: bool = field(default=False, init=False)

    def nvmlInit(self) -> None:
        if not self.works:
            raise _NvmlError("Driver/library version mismatch")
        self.is_open = True

    def nvmlShutdown(self) -> None:
        self._card(0)
        self.is_open = False

    def nvmlDeviceGetCount(self) -> int:
        assert self.is_open
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index in self.lost:
            raise _NvmlError("GPU is lost")
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:
        return self._card(handle).name

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return self._card(handle).uuid

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        memory_mib = self._card(handle).memory_mib
        if memory_mib is None:
            raise _NvmlError("Not Supported")
        return SimpleNamespace(total=memory_mib << 20)

    def _card(self, handle: int) -> Gpu:
        assert self.is_open
        return self.cards[handle]


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """The device files of a machine with two GPUs."""
    for name in ("nvidiactl", "nvidia0", "nvidia1", "nvidia-uvm"):
        (tmp_path / name).touch()
    return tmp_path


def seen(devices: Path, monkeypatch: pytest.MonkeyPatch, nvml: object, visible: str | None = None) -> tuple[Gpu, ...]:
    """The GPUs that are found with this NVML and `CUDA_VISIBLE_DEVICES`."""
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    return find_gpus({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}, devices)


def test_no_driver_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the driver's device the supervisor asks nothing."""
    assert seen(tmp_path, monkeypatch, Nvml()) == ()


def test_nvml_knows_names_memory_and_uuids(devices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its package GPUs are known by name; it is closed again."""
    nvml = Nvml()
    assert seen(devices, monkeypatch, nvml) == (H100, A10G)
    assert not nvml.is_open
    assert [gpu.label for gpu in (H100, A10G)] == ["0 (NVIDIA H100 80GB HBM3)", "1 (NVIDIA A10G)"]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("", ()),
        ("0,1", (H100, A10G)),
        (" 1 , 0 ", (A10G, H100)),
        ("1,1", (A10G,)),
        ("1,-1,0", (A10G,)),
        ("7,0", ()),
        ("0,7", (H100,)),
        ("NoDevFiles", ()),
        (H100.uuid, (H100,)),
        ("GPU-89a1,GPU-8932", (A10G, H100)),
        ("GPU-89", ()),
        ("GPU-0000", ()),
        ("MIG-63a9,MIG-0b8e", (Gpu("MIG-63a9", "MIG device"), Gpu("MIG-0b8e", "MIG device"))),
    ],
)
def test_the_variable_is_read_as_cuda_reads_it(
    visible: str, expected: tuple[Gpu, ...], devices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers and beginnings of UUIDs that fit one GPU; what CUDA does not know hides all that follows."""
    assert seen(devices, monkeypatch, Nvml(), visible) == expected


def test_a_uuid_without_nvml_is_left_to_cuda(devices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can say which GPU it is, and it is one all the same: the machine must not pass for one without."""
    assert seen(devices, monkeypatch, None, f"{A10G.uuid},{H100.uuid}") == (Gpu(A10G.uuid), Gpu(H100.uuid))


def test_a_gpu_that_hides_its_memory_is_one(devices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some share the host's memory, and one that is cut into MIG devices shows none in a container."""
    shy = Gpu("0", "NVIDIA GB10", None, "GPU-5d2f")
    assert seen(devices, monkeypatch, Nvml((shy,))) == (shy,)


@pytest.mark.parametrize(
    "nvml", [None, Nvml(works=False), Nvml(lost=frozenset({1}))], ids=["not installed", "fails", "lost a GPU"]
)
def test_without_nvml_the_device_files_count(nvml: object, devices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs are found by their device files where NVML cannot be asked."""
    assert seen(devices, monkeypatch, nvml) == TWO


def test_device_files_count_from_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that was given one GPU of eight has /dev/nvidia5, which CUDA calls 0."""
    for name in ("nvidiactl", "nvidia5", "nvidia-modeset"):
        (tmp_path / name).touch()
    assert seen(tmp_path, monkeypatch, None) == (Gpu("0"),)


def test_shares_fill_the_emptiest_gpu() -> None:
    """Halves spread over both before they share one; a whole one fits no more, and what is given back is free."""
    allotment = Allotment(TWO)
    assert [allotment.take(name, 0.5) for name in "abc"] == [TWO[:1], TWO[1:], TWO[:1]]
    with pytest.raises(NoGpuLeft, match="asks for 1 GPUs, left are GPU 0: 0%, GPU 1: 50%"):
        allotment.take("d", 1)
    allotment.give_back("b")
    assert allotment.take("d", 1) == TWO[1:]


def test_who_restarts_gets_what_it_had() -> None:
    """Of a whole one and two halves that die together no half takes the GPU that the whole one needs."""
    allotment = Allotment(TWO)
    assert [allotment.take("whole", 1), allotment.take("b", 0.5), allotment.take("c", 0.5)] == [
        TWO[:1],
        TWO[1:],
        TWO[1:],
    ]
    for name in ("whole", "b"):
        allotment.give_back(name)
    assert allotment.take("b", 0.5) == TWO[1:]
    assert allotment.take("whole", 1) == TWO[:1]


def test_thirds_are_three() -> None:
    """Fractions that cannot be written exactly still add up to one GPU, and not to more."""
    allotment = Allotment(TWO[:1])
    assert {allotment.take(name, 0.3333333) for name in "abc"} == {TWO[:1]}
    with pytest.raises(NoGpuLeft):
        allotment.take("d", 0.3333333)


def test_tensor_parallel_takes_several_whole_ones() -> None:
    """Two of two, in PCI order; asking again takes the same again, and not one beside a share."""
    allotment = Allotment((*TWO, Gpu("2")))
    allotment.take("share", 0.2)
    assert allotment.take("a", 2) == (Gpu("1"), Gpu("2"))
    assert allotment.take("a", 2) == (Gpu("1"), Gpu("2"))
    with pytest.raises(NoGpuLeft, match="lower `gpus` or `count`"):
        allotment.take("b", 2)


def test_more_than_there_are_is_another_fault() -> None:
    """It would not help to wait until others end."""
    with pytest.raises(TooFewGpus, match="asks for 2 GPUs, there are 1"):
        Allotment(TWO[:1]).take("a", 2)
    with pytest.raises(TooFewGpus, match="there are 0"):
        Allotment(()).take("a", 0.5)
