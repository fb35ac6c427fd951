"""The part of the file for budgets: how much a tenant, a key or an end user may use in a period."""

from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from gateway.config.choices import BudgetOwner, BudgetPeriod, BudgetUnit, OnLedgerLoss
from gateway.config.section import Quantity, Section, live


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        remedy = "write a name of the IANA time zones, like `Europe/Berlin`"
        raise PydanticCustomError("refused", "{message}", {"message": "is no time zone", "remedy": remedy}) from None
    return name


ZoneName = Annotated[str, AfterValidator(_known_zone)]


class BudgetEntry(Section):
    """An amount for each period; a request runs only if what it may use at most is left in all its budgets."""

    amount: Quantity = live(
        ..., "What may be used in one period: tokens, cost units, or money in `ledger.currency`.", gt=0, le=1e15
    )
    unit: BudgetUnit = live(
        BudgetUnit.TOKENS,
        "What is counted: `tokens` (input and output), `cost_units` (of the pool's `cost`), or `money` (by the pool's "
        "`prices`).",
    )
    per: BudgetOwner = live(
        BudgetOwner.TENANT,
        "Who has the amount: the whole `tenant`, each `key` of it, or each `end_user` (needs `share_by: end_user`).",
    )
    period: BudgetPeriod = live(
        BudgetPeriod.MONTH, "After how long the amount is there again: `hour`, `day`, `week` (from Monday on), `month`."
    )
    zone: ZoneName = live("UTC", "Time zone in which periods begin, by its IANA name.")
    on_ledger_loss: OnLedgerLoss = live(
        OnLedgerLoss.ALLOW,
        "While the ledger cannot be written, or could not be read at the start: `allow` counts on from what the "
        "gateway knows, `refuse` answers with 503.",
    )
