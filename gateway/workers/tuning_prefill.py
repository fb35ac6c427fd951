"""Finds the window in prompt tokens that were sent and not read: enough that no slot waits for a prompt, and no more.

    reading                                                             effect on the window
    more than the slack waits, and neither slots nor memory explain it  a strike; the second one makes it a rung smaller
    nothing waits                                                       a hundredth of a strike is forgiven
    nothing waits, and the window alone held work back while an eighth  the fourth in a row makes it a rung larger; on a
    of the slots was empty                                              size that once was too large, only the 64th

With fewer empty slots a larger window would gain no throughput, and each further prompt that is sent may stand in front
of another tenant's short one. No size is given up for ever: a size that was too large for one moment's prompts may suit
others.
"""

from dataclasses import dataclass, replace

LADDER = (
    512,
    640,
    819,
    1024,
    1280,
    1638,
    2048,
    2560,
    3200,
    4000,
    5000,
    6250,
    8192,
)  # the last: vLLM's largest budget on common GPUs
FEWEST_PREFILL_TOKENS = LADDER[0]
FIRST_PREFILL_TOKENS = 2048  # vLLM's default step budget
_STRIKE, _MOST_STRIKES = 100, 200  # one queue in a hundred readings is borne
_PATIENCE, _LONG_PATIENCE = 4, 64


@dataclass(frozen=True, slots=True)
class Prefill:
    """What is known: the rung, the rung up to which to climb fast, and hundredths of strikes.

    `limited_readings` counts the readings in a row at which this window alone held work back.
    """

    rung: int = LADDER.index(FIRST_PREFILL_TOKENS)
    safe_rung: int = len(LADDER) - 1
    strikes: int = 0
    limited_readings: int = 0

    @property
    def limit(self) -> int:
        """The window in tokens."""
        return LADDER[self.rung]

    @property
    def smaller_limit(self) -> float:
        """The window one rung lower; infinity on the lowest rung, which cannot shrink."""
        return LADDER[self.rung - 1] if self.rung else float("inf")


def after_queue(known: Prefill) -> Prefill:
    """The limit after a reading at which prompts waited at the engine because too many had been sent."""
    strikes = known.strikes + _STRIKE
    if strikes < _MOST_STRIKES or not known.rung:
        return replace(known, strikes=min(_MOST_STRIKES - 1, strikes), limited_readings=0)
    return Prefill(known.rung - 1, known.rung - 1)


def after_no_queue(known: Prefill, *, is_limiting: bool) -> Prefill:
    """The limit after a reading at which nothing waits at the engine.

    `is_limiting` says that this limit alone held work back at the gateway, and that the engine had empty slots.
    """
    limited_readings, strikes = known.limited_readings + 1 if is_limiting else 0, max(0, known.strikes - 1)
    patience = _PATIENCE if known.rung < known.safe_rung else _LONG_PATIENCE
    if limited_readings < patience or known.rung == len(LADDER) - 1:
        return replace(known, strikes=strikes, limited_readings=min(limited_readings, _LONG_PATIENCE))
    return Prefill(known.rung + 1, max(known.safe_rung, known.rung + 1), strikes)
