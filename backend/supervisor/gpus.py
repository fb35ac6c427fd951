"""The GPUs of this machine, and who has how much of which.

They are found by NVML (the package nvidia-ml-py, where it is installed) or by their device files, and numbered in PCI
order, which `CUDA_DEVICE_ORDER=PCI_BUS_ID` makes CUDA's own. Where `CUDA_VISIBLE_DEVICES` is set only those are used.
A worker gets the GPUs with the most left; shares are of memory, 1 is a whole GPU.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

# Shares are sums of decimal fractions: three thirds must fit.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: its number in PCI order, its name and memory where they are known."""

    index: int
    name: str = "GPU"
    memory_mib: int | None = None


class NoGpuLeft(Exception):
    """A worker asks for more than the GPUs have left; the message says how much that is."""


def find_gpus(environment: Mapping[str, str], devices: Path = Path("/dev")) -> tuple[Gpu, ...]:
    """The GPUs that workers may use."""
    if not (devices / "nvidiactl").exists():
        return ()
    found = _by_nvml() or _by_device_files(devices)
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found
    wanted = {int(index) for index in visible.split(",") if index.strip().isdigit()}
    return tuple(gpu for gpu in found if gpu.index in wanted)


def _by_nvml() -> tuple[Gpu, ...]:
    try:
        nvml = import_module("pynvml")
    except ImportError:
        return ()
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        return tuple(
            Gpu(index, str(nvml.nvmlDeviceGetName(handle)), nvml.nvmlDeviceGetMemoryInfo(handle).total >> 20)
            for index, handle in enumerate(handles)
        )
    except nvml.NVMLError:
        return ()


def _by_device_files(devices: Path) -> tuple[Gpu, ...]:
    numbers = (path.name.removeprefix("nvidia") for path in devices.glob("nvidia[0-9]*"))
    return tuple(Gpu(index) for index in sorted(int(number) for number in numbers if number.isdigit()))


class Allotment:
    """Who has how much of which GPU."""

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        """Nothing is taken."""
        self._left = {gpu.index: 1.0 for gpu in gpus}
        self._taken: dict[str, tuple[tuple[int, ...], float]] = {}

    def take(self, worker: str, gpus: float) -> tuple[int, ...]:
        """Give `worker` a share of one GPU, or `gpus` whole ones; the same again where it has them already."""
        self.give_back(worker)
        share, count = min(gpus, 1.0), max(int(gpus), 1)
        by_room = sorted(self._left, key=lambda index: (-self._left[index], index))
        chosen = tuple(sorted(index for index in by_room[:count] if self._left[index] >= share - _ROUNDING))
        if len(chosen) < count:
            left = ", ".join(f"GPU {index}: {room:.0%}" for index, room in self._left.items())
            raise NoGpuLeft(f"asks for {gpus:g} GPUs, left are {left or 'none'}; lower `gpus` or `count`")
        for index in chosen:
            self._left[index] -= share
        self._taken[worker] = (chosen, share)
        return chosen

    def give_back(self, worker: str) -> None:
        """Take back what `worker` has, if anything."""
        chosen, share = self._taken.pop(worker, ((), 0.0))
        for index in chosen:
            self._left[index] += share
