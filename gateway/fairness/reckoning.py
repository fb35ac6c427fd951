"""Estimates how far an answer is that reports nothing: dead reckoning from what was seen last, by steps or by pace.

- An answer that is not streamed is reckoned from its dispatch. If its engine's steps are counted (`cadence`), each step
  after those that read its prompt gives one token for each sequence. Else the tenant's usual speeds apply.
- A stream is reckoned once it has begun. The reckoning starts at its beginning if the engine counts only at the end; at
  the last figure if figures ceased to come; at the moment at which its client fell behind, since the engine then goes
  on unseen.
- The time in which a client is behind is reckoned in steps too, if they are counted. Any other silence is reckoned by
  the stream's own pace, if the stream was long enough to show one, else by the tenant's usual speed.
No estimate goes beyond the most that was asked for. While a request runs, the estimate is charged, and the next figure
corrects it (`running` says when). At its end the caller says until when the engine can have generated.
"""

import math
from typing import Final

from gateway.fairness.ticket import Ticket
from gateway.learned.speeds import EngineSpeeds
from gateway.usage import Usage

QUIET_SECONDS: Final = 1.0  # a stream that reports figures is reckoned after this time without one
_LEAST_PACE_SECONDS: Final = 0.2
# Tokens of a sequence per step, by two measured paces. Between these bounds it counts as one. It is less if some of the
# sequences have ended, and more if the engine guesses ahead (speculative decoding).
_LEAST_OF_ONE: Final = 0.75
_MOST_OF_ONE: Final = 1.5
_STEP_UNDER_WAY: Final = 1.0  # the steps under way when a request comes and when it is looked at give it no token


class Reckoning:
    """Reckons with the speeds of one pool."""

    __slots__ = ("_speeds",)

    def __init__(self, speeds: EngineSpeeds) -> None:
        """`speeds` are those that the pool's answers have shown."""
        self._speeds = speeds

    def running_output(self, ticket: Ticket, now: float) -> int | None:
        """The output that `ticket` should have by `now`; None if its engine's figures are up to date."""
        if not ticket.is_watched:
            return self._unseen(ticket, now)
        if ticket.started_at is None:
            return None
        if ticket.has_reported and ticket.is_lagging(now):
            return self._behind(ticket, now)
        if ticket.reports_at_end:
            return self._since(ticket, ticket.started_at, ticket.sequences, now)
        if ticket.output_tokens != ticket.noted_tokens:
            ticket.noted_tokens, ticket.noted_at = ticket.output_tokens, now
            return None
        if now - ticket.noted_at < QUIET_SECONDS:
            return None
        return self._since(ticket, ticket.noted_at, ticket.noted_tokens, now)

    def final_usage(self, ticket: Ticket, until: float) -> Usage:
        """What `ticket` has used, if its engine generated for it until `until` and gave no final figures."""
        reported = ticket.usage
        if reported is None:
            return Usage(ticket.prompt_tokens, 0, self._final_output(ticket, until))
        return reported._replace(output_tokens=max(reported.output_tokens, self._final_output(ticket, until)))

    def _final_output(self, ticket: Ticket, until: float) -> int:
        if not ticket.is_watched:
            return self._unseen(ticket, until)
        if ticket.started_at is None:
            return 0
        if ticket.has_reported and ticket.is_lagging(until):
            return self._behind(ticket, until)
        if ticket.has_reported:
            is_quiet = until - ticket.noted_at >= QUIET_SECONDS and ticket.output_tokens == ticket.noted_tokens
            return self._since(ticket, ticket.noted_at, ticket.noted_tokens, until) if is_quiet else 0
        return self._since(ticket, ticket.started_at, ticket.sequences, until)

    def _unseen(self, ticket: Ticket, now: float) -> int:
        tokens = self._steps_behind_prompt(ticket, now)
        if tokens is None:
            tokens = self._speeds.output_tokens(ticket.tenant, now - ticket.granted_at, ticket.prompt_tokens)
        return min(ticket.max_output_tokens, int(tokens * ticket.sequences))

    def _steps_behind_prompt(self, ticket: Ticket, now: float) -> float | None:
        """Whole steps of its engine that gave a token for each sequence; None if steps are not counted."""
        mark, cadence = ticket.mark, ticket.cadence
        if mark is None or cadence is None or cadence.pace is None:
            return None
        waiting_seconds, prefill_seconds = self._speeds.prefill(ticket.tenant, ticket.prompt_tokens)
        steps = mark.steps_since(now, prefill_seconds)
        if steps is None:
            return None
        return max(0.0, math.floor(steps - max(_STEP_UNDER_WAY, cadence.pace * waiting_seconds - 0.5)))

    def _behind(self, ticket: Ticket, now: float) -> int:
        at, tokens, mark, cadence = ticket.behind_since, ticket.behind_tokens, ticket.mark, ticket.cadence
        steps = None if mark is None else mark.steps_since(now)
        pace = None if cadence is None else cadence.pace
        if steps is None or not pace:
            return self._since(ticket, at, tokens, now)
        per_step = self._pace(ticket, at, tokens) / pace
        if _LEAST_OF_ONE < per_step / ticket.sequences < _MOST_OF_ONE:
            per_step = float(ticket.sequences)
        return min(max(ticket.max_output_tokens, tokens), tokens + int(per_step * steps))

    def _since(self, ticket: Ticket, at: float, tokens: int, now: float) -> int:
        reckoned = tokens + self._pace(ticket, at, tokens) * max(0.0, now - at)
        return min(max(ticket.max_output_tokens, tokens), int(reckoned))

    def _pace(self, ticket: Ticket, at: float, tokens: int) -> float:
        """Tokens a second over all its sequences: its own pace up to `at`, or else its tenant's usual one."""
        began = ticket.started_at
        if ticket.has_reported and began is not None and at - began >= _LEAST_PACE_SECONDS:
            return (tokens - ticket.first_output_tokens) / (at - began)
        return self._speeds.tokens_per_second(ticket.tenant) * ticket.sequences
