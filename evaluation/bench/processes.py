"""What the kernel charged a process and its descendants: processor time and resident memory, from `/proc` (Linux).

The scheduler counts processor time in nanoseconds for every thread (`schedstat`). A kernel without that count gives the
ticks of `stat`, of 10 ms. Both contain the network work that the kernel does in the process's name: sending, and on
loopback also the work of the receiving end.
"""

import os
from collections.abc import Sequence
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_NANOSECONDS = 1e9
# Fields of /proc/PID/stat after the command's name (proc(5)): parent, then time in user and in kernel mode.
_PARENT, _USER, _SYSTEM = 1, 11, 12


def family(ancestor: int, proc: Path = Path("/proc")) -> list[int]:
    """Process `ancestor` and all its descendants, parents before their children."""
    parents = {int(entry.name): _parent(entry) for entry in proc.iterdir() if entry.name.isdigit()}
    found = [ancestor]
    for member in found:  # grows on the way
        found += sorted(pid for pid, parent in parents.items() if parent == member)
    return found


def program_name(pid: int, proc: Path = Path("/proc")) -> str:
    """The name of the program that a process runs, cut to 15 characters; "" if it has ended."""
    try:
        return (proc / str(pid) / "comm").read_text().rstrip("\n")
    except OSError:
        return ""


def processor_seconds(pids: Sequence[int], proc: Path = Path("/proc")) -> float:
    """Processor time that the processes have used so far; one that has ended counts as nothing."""
    return sum(_seconds(proc / str(pid)) for pid in pids)


def resident_bytes(pids: Sequence[int], proc: Path = Path("/proc")) -> int:
    """Memory of the processes that is in RAM, shared pages counted once for each."""
    return sum(_resident(proc / str(pid)) for pid in pids)


def _seconds(process: Path) -> float:
    try:
        threads = (process / "task").iterdir()
        nanoseconds = [int((thread / "schedstat").read_text().split()[0]) for thread in threads]
    except OSError:
        fields = _stat(process)
        return (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS_PER_SECOND if fields else 0.0
    return sum(nanoseconds) / _NANOSECONDS


def _resident(process: Path) -> int:
    try:
        return int((process / "statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def _parent(process: Path) -> int | None:
    fields = _stat(process)
    return int(fields[_PARENT]) if fields else None


def _stat(process: Path) -> list[str]:
    """The fields of `stat` after the command's name, which may hold spaces and brackets; none where it has ended."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
