"""How a worker can fail to be asked, and what each failure is as evidence."""

from gateway.workers import Evidence


class WorkerUnreachable(Exception):
    """The worker could not be asked, or did not answer; the text says why."""


class GatewayShort(WorkerUnreachable):
    """The worker could not be asked for want of descriptors, ports or memory here: it says nothing of the worker."""


class WorkerSilent(WorkerUnreachable):
    """The worker did not answer in time."""


class HostUnknown(WorkerUnreachable):
    """The worker's host was not found: that says nothing of the worker."""


def evidence_of_failure(error: WorkerUnreachable) -> Evidence:
    """What it means that a worker could not be asked, or that no whole answer came."""
    match error:
        case GatewayShort():
            return Evidence.SHORT
        case HostUnknown():
            return Evidence.NAMELESS
        case WorkerSilent():
            return Evidence.SILENT
        case _:
            return Evidence.UNREACHABLE
