"""The part of the file for the ledger: where it lies, and how long it keeps what."""

from gateway.config.choices import EndUsers
from gateway.config.section import Count, Section, restart


class LedgerEntry(Section):
    """A file for each gateway process, with a row for each request of a tenant; `vtc-gateway usage` reads it."""

    folder: str = restart(
        "ledger",
        "Folder of the files, relative to the configuration's; on a disk of this machine.",
        min_length=1,
    )
    rows_days: Count = restart(90, "How long the row of a request is kept.", unit="days", ge=1, le=36500)
    quarters_days: Count = restart(
        760,
        "How long the sums by quarter hour are kept, for most reports.",
        unit="days",
        ge=1,
        le=36500,
    )
    end_users: EndUsers = restart(
        EndUsers.HASHED, "What a row says of the end user: a pseudonym, the name that the client gave, or nothing."
    )
    currency: str | None = restart(None, "Currency of `pools[].prices`, 1 to 8 letters.", pattern=r"^[A-Za-z]{1,8}$")
