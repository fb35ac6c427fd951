"""The reasons why a worker could not be reached, and the evidence that each of them is."""

from gateway.workers import Evidence


class WorkerUnreachable(Exception):
    """The worker could not be reached, or did not answer; the text says why."""


class GatewayShort(WorkerUnreachable):
    """The gateway itself lacked descriptors, ports or memory; this says nothing about the worker."""


class WorkerSilent(WorkerUnreachable):
    """The worker did not answer in time."""


class HostUnknown(WorkerUnreachable):
    """The worker's host name was not found; this says nothing about the worker."""


def evidence_of_failure(error: WorkerUnreachable) -> Evidence:
    """The evidence that a failure to reach a worker, or to get its complete answer, is."""
    match error:
        case GatewayShort():
            return Evidence.SHORT
        case HostUnknown():
            return Evidence.NAMELESS
        case WorkerSilent():
            return Evidence.SILENT
        case _:
            return Evidence.UNREACHABLE
