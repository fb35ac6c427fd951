"""The part of the file for the ledger: where it lies, how long it keeps what, and which database gets it too.

The address of a database holds a password, so it never stands in the file. It comes from an environment variable or
from a file.
"""

from pydantic import ConfigDict

from gateway.config.choices import EndUsers
from gateway.config.credentials import VARIABLE_PATTERN
from gateway.config.section import Count, Section, restart, setting


class PostgresEntry(Section):
    """A database that gets the rows of all gateways; exactly one of `url_env` and `url_file` is given."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in ("url_env", "url_file")]})

    url_env: str | None = restart(
        None,
        "Name of the environment variable that holds the address, `postgresql://user:password@host:5432/database`.",
        pattern=VARIABLE_PATTERN,
    )
    url_file: str | None = restart(
        None,
        "File that holds the address, relative to the configuration's folder; only its owner may write it (0600, 0640; "
        "mounted: 0440).",
        min_length=1,
    )
    ca_file: str | None = restart(
        None,
        "Certificates (PEM) that may sign the server's; the gateway then insists on TLS and on the host's name.",
        min_length=1,
    )
    rows_days: Count = restart(
        760,
        "How long the database keeps the row of a request; as long a row waits in the folder while it cannot be sent.",
        unit="days",
        ge=1,
        le=36500,
    )


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
    postgres: PostgresEntry | None = setting(None, "A database that gets the rows too; reports then read it.")
