"""What a request is settled at when its attempt ends: the engine's figures, or an estimate where they are not final.

Final are the figures of an answer that came to its own end. An answer that broke off has generated more than was seen:
the scheduler then estimates what the engine did up to a moment, which is found here. Figures beyond what the request
can have used are cut by the dispatcher, and reported.
"""

from gateway.endpoints.progress import Progress
from gateway.fairness import Ticket
from gateway.proxy.dispatcher import Dispatcher
from gateway.usage import Usage
from gateway.wire.meter import Meter

STEPS_LAST_SECONDS = 2.0  # an engine whose steps can be seen counts as generating for this long after its last step


def reported_by(meter: Meter) -> Usage:
    """The figures of the engine so far."""
    return Usage(meter.prompt_tokens, meter.cached_tokens, meter.output_tokens)


def settle_at_figures(dispatcher: Dispatcher, ticket: Ticket, meter: Meter) -> None:
    """Settle `ticket` at the final figures of `meter`."""
    is_complete = meter.is_complete and not meter.has_error
    dispatcher.settle(ticket, dispatcher.possible(ticket, reported_by(meter)), completed=is_complete)


def settle_at_estimate(dispatcher: Dispatcher, ticket: Ticket, meter: Meter, until: float) -> int | None:
    """Settle `ticket` at what its engine should have generated `until` then, and at least at its figures.

    Returns how many of the output tokens the engine did not count; None if there are none.
    """
    usage, reported = dispatcher.account(ticket.pool).estimated_usage(ticket, until), reported_by(meter)
    if meter.has_usage:
        reported = dispatcher.possible(ticket, reported)
        usage = reported._replace(output_tokens=max(usage.output_tokens, reported.output_tokens))
    dispatcher.settle(ticket, usage)
    return max(0, usage.output_tokens - reported.output_tokens) or None


def generated_until(progress: Progress, silent_since: float, now: float, *, is_silence: bool) -> float:
    """Until when an engine generated, by its steps; by its output if `is_silence` means that it made none; else `now`.

    No output has been seen since `silent_since`.
    """
    if not progress.sees_steps:
        return silent_since if is_silence else now
    if now - progress.moved_at > STEPS_LAST_SECONDS:
        return max(silent_since, progress.moved_at)
    return now
