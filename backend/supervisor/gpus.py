"""The GPUs of this machine, and how much of each GPU which worker has.

They are found by NVML (the package nvidia-ml-py, where it is installed) or by their device files, and numbered in PCI
order, which `CUDA_DEVICE_ORDER=PCI_BUS_ID` makes CUDA's own. Where `CUDA_VISIBLE_DEVICES` is set only those are used,
read as CUDA reads it: numbers or beginnings of UUIDs, and nothing behind an entry that it does not know. A worker gets
the GPUs that it had before where they are free, else those with the most left; shares are of memory, 1 is a whole GPU.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

# Shares are sums of decimal fractions: three thirds must fit.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: what `CUDA_VISIBLE_DEVICES` calls it, mostly its number; its name and memory where they are known."""

    selector: str
    name: str = "GPU"
    memory_mib: int | None = None
    uuid: str = ""

    @property
    def label(self) -> str:
        """How it is called in what people read."""
        return f"{self.selector} ({self.name})"


class NoGpuLeft(Exception):
    """A worker asks for more than the GPUs have left, which may change; the message says how much that is."""


class TooFewGpus(Exception):
    """A worker asks for more GPUs than the machine has."""


def find_gpus(environment: Mapping[str, str], devices: Path = Path("/dev")) -> tuple[Gpu, ...]:
    """The GPUs that workers may use."""
    if not (devices / "nvidiactl").exists():
        return ()
    found = _by_nvml() or _by_device_files(devices)
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    return found if visible is None else tuple(_visible(found, visible))


def _visible(found: Sequence[Gpu], listed: str) -> Iterator[Gpu]:
    """What CUDA would see of `found`: an unknown entry hides what follows it, and one named twice counts once."""
    seen: set[str] = set()
    for entry in map(str.strip, listed.split(",")):
        gpu = _named(found, entry)
        if gpu is None:
            return
        if gpu.selector not in seen:
            seen.add(gpu.selector)
            yield gpu


def _named(found: Sequence[Gpu], entry: str) -> Gpu | None:
    if entry.startswith("MIG-"):
        return Gpu(entry, "MIG device")
    if not entry.startswith("GPU-"):
        return next((gpu for gpu in found if gpu.selector == entry), None)
    if not any(gpu.uuid for gpu in found):
        return Gpu(entry)  # nobody to ask which it is: CUDA knows
    matches = [gpu for gpu in found if gpu.uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 else None


def _by_nvml() -> tuple[Gpu, ...]:
    try:
        nvml = import_module("pynvml")
    except ImportError:
        return ()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return ()
    try:
        return tuple(_described(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
    except nvml.NVMLError:
        return ()
    finally:
        nvml.nvmlShutdown()


def _described(nvml: ModuleType, index: int) -> Gpu:
    """What NVML says about one GPU; some report no memory (they share the host's, or are divided by MIG)."""
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name, uuid = str(nvml.nvmlDeviceGetName(handle)), str(nvml.nvmlDeviceGetUUID(handle))
    try:
        memory_mib = nvml.nvmlDeviceGetMemoryInfo(handle).total >> 20
    except nvml.NVMLError:
        memory_mib = None
    return Gpu(str(index), name, memory_mib, uuid)


def _by_device_files(devices: Path) -> tuple[Gpu, ...]:
    # Their numbers are the driver's: CUDA counts what it finds from 0, in a container with /dev/nvidia3 alone too.
    count = sum(path.name.removeprefix("nvidia").isdigit() for path in devices.glob("nvidia[0-9]*"))
    return tuple(Gpu(str(index)) for index in range(count))


class Allotment:
    """How much of each GPU which worker has."""

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        """Nothing is taken."""
        self._gpus = tuple(gpus)
        self._left = {gpu.selector: 1.0 for gpu in gpus}
        self._taken: dict[str, tuple[tuple[Gpu, ...], float]] = {}
        self._last: dict[str, tuple[Gpu, ...]] = {}  # places of workers that had some: at most one for each name

    def take(self, worker: str, gpus: float) -> tuple[Gpu, ...]:
        """Give `worker` a share of one GPU, or `gpus` whole ones, those it had before where they are free.

        So workers that restart together do not scatter their shares over GPUs that others need whole. Raises
        `NoGpuLeft`, or `TooFewGpus` where waiting is of no use.
        """
        self.give_back(worker)
        share, count = min(gpus, 1.0), max(int(gpus), 1)
        if count > len(self._gpus):
            raise TooFewGpus(f"asks for {gpus:g} GPUs, there are {len(self._gpus)}; lower `gpus`")
        free = [gpu for gpu in self._gpus if self._left[gpu.selector] >= share - _ROUNDING]
        if len(free) < count:
            left = ", ".join(f"GPU {selector}: {room:.0%}" for selector, room in self._left.items())
            raise NoGpuLeft(f"asks for {gpus:g} GPUs, left are {left}; lower `gpus` or `count`")
        before = self._last.get(worker, ())
        best = sorted(free, key=lambda gpu: (gpu not in before, -self._left[gpu.selector]))[:count]
        chosen = tuple(gpu for gpu in self._gpus if gpu in best)
        for gpu in chosen:
            self._left[gpu.selector] -= share
        self._taken[worker], self._last[worker] = (chosen, share), chosen
        return chosen

    def give_back(self, worker: str) -> None:
        """Take back what `worker` has, if anything."""
        chosen, share = self._taken.pop(worker, ((), 0.0))
        for gpu in chosen:
            self._left[gpu.selector] += share
