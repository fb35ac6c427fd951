"""The tables of a ledger's file, and the way from each version of them to the next.

`requests` has a row for each request that ended, `open` one for each that runs: it becomes a row of `requests` if its
gateway is killed. `quarters` has the sums of `requests`, `worker_time` the busy and idle time of workers. `sent` names
this file for the database of a fleet, and says up to which row of `requests` and which quarter hour it has them.
Names are numbers into `names`; an end user is a text in the row itself, so that nothing is left when it is forgotten.
A step is never changed after its release: a new version gets a new step.
"""

from typing import Final

from gateway.ledger.quarters import KEYS, SUMS
from gateway.ledger.rows import Row

APPLICATION_ID: Final = 0x7674636C  # "vtcl"
NAMED: Final = ("tenant", "key", "pool", "model", "worker", "outcome")  # columns that are numbers into `names`
COLUMNS: Final = Row._fields

_REQUEST = """
    request_id TEXT NOT NULL,
    quarter INTEGER NOT NULL,
    granted_us INTEGER,
    ended_us INTEGER NOT NULL,
    tenant INTEGER NOT NULL,
    key INTEGER NOT NULL,
    pool INTEGER NOT NULL,
    model INTEGER NOT NULL,
    worker INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    end_user TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    estimated_tokens INTEGER NOT NULL,
    lost_prompt_tokens INTEGER NOT NULL,
    lost_output_tokens INTEGER NOT NULL,
    cost REAL NOT NULL,
    worker_us INTEGER NOT NULL,
    money_nano INTEGER NOT NULL,
    queue_us INTEGER,
    ttft_us INTEGER,
    duration_us INTEGER NOT NULL
"""

STEPS: Final = (  # of our own words, as every statement here
    f"""
    CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
    CREATE TABLE requests (id INTEGER PRIMARY KEY, {_REQUEST}) STRICT;
    CREATE TABLE open ({_REQUEST}, PRIMARY KEY (request_id)) STRICT, WITHOUT ROWID;
    CREATE TABLE quarters (
        quarter INTEGER NOT NULL,
        tenant INTEGER NOT NULL,
        key INTEGER NOT NULL,
        pool INTEGER NOT NULL,
        model INTEGER NOT NULL,
        requests INTEGER NOT NULL,
        prompt_tokens INTEGER NOT NULL,
        cached_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        estimated_tokens INTEGER NOT NULL,
        lost_prompt_tokens INTEGER NOT NULL,
        lost_output_tokens INTEGER NOT NULL,
        cost REAL NOT NULL,
        worker_us INTEGER NOT NULL,
        money_nano INTEGER NOT NULL,
        PRIMARY KEY (quarter, tenant, key, pool, model)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE worker_time (
        quarter INTEGER NOT NULL,
        worker INTEGER NOT NULL,
        busy_us INTEGER NOT NULL,
        idle_us INTEGER NOT NULL,
        generated_tokens INTEGER NOT NULL,
        PRIMARY KEY (quarter, worker)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE life (only_one INTEGER PRIMARY KEY CHECK (only_one = 1), is_open INTEGER NOT NULL,
        last_batch INTEGER NOT NULL) STRICT;
    INSERT INTO life VALUES (1, 0, 0);
    """,  # noqa: S608
    # What money is for, how often an engine counts a prompt, and what it has counted. Older money has no parts.
    "ALTER TABLE requests ADD COLUMN choices INTEGER NOT NULL DEFAULT 1;"
    "ALTER TABLE open ADD COLUMN choices INTEGER NOT NULL DEFAULT 1;"
    "ALTER TABLE worker_time ADD COLUMN read_tokens INTEGER NOT NULL DEFAULT 0;"
    + "".join(
        f"ALTER TABLE {table} ADD COLUMN {part} INTEGER NOT NULL DEFAULT 0;"
        for table in ("requests", "open", "quarters")
        for part in ("prompt_nano", "cached_nano", "output_nano")
    ),
    """
    CREATE TABLE sent (only_one INTEGER PRIMARY KEY CHECK (only_one = 1), book TEXT NOT NULL,
        request INTEGER NOT NULL, quarter INTEGER NOT NULL) STRICT;
    INSERT INTO sent VALUES (1, lower(hex(randomblob(16))), 0, 0);
    """,
)
VERSION: Final = len(STEPS)
READABLE: Final = 2  # the first version that reports can read

_LIST = ", ".join(COLUMNS)
_MARKS = ", ".join("?" * len(COLUMNS))
_ADDED = ", ".join(f"{name} = {name} + excluded.{name}" for name in ("requests", *SUMS))
_SUM_LIST = ", ".join((*KEYS, "requests", *SUMS))

INSERT_REQUEST: Final = f"INSERT INTO requests ({_LIST}) VALUES ({_MARKS})"  # noqa: S608 - of our own words
NOTE_OPEN: Final = f"INSERT OR REPLACE INTO open ({_LIST}) VALUES ({_MARKS})"  # noqa: S608
END_OPEN: Final = "DELETE FROM open WHERE request_id = ?"
ADD_QUARTER: Final = (
    f"INSERT INTO quarters ({_SUM_LIST}) VALUES ({', '.join('?' * (len(KEYS) + 1 + len(SUMS)))}) "  # noqa: S608
    f"ON CONFLICT (quarter, tenant, key, pool, model) DO UPDATE SET {_ADDED}"
)
ADD_TIME: Final = (
    "INSERT INTO worker_time VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (quarter, worker) DO UPDATE SET "
    "busy_us = busy_us + excluded.busy_us, idle_us = idle_us + excluded.idle_us, "
    "generated_tokens = generated_tokens + excluded.generated_tokens, "
    "read_tokens = read_tokens + excluded.read_tokens"
)
DELETE_OLD: Final = (
    "DELETE FROM requests WHERE id IN (SELECT id FROM requests ORDER BY id LIMIT ?) AND ended_us < ? "
    "AND (id <= (SELECT request FROM sent) OR ended_us < ?) AND id < (SELECT max(id) FROM requests)"
)
CLOSE_ORPHANS: Final = (
    f"INSERT INTO quarters ({_SUM_LIST}) SELECT {', '.join(KEYS)}, count(*), "  # noqa: S608
    f"{', '.join(f'sum({name})' for name in SUMS)} FROM open WHERE true GROUP BY {', '.join(KEYS)} "
    f"ON CONFLICT (quarter, tenant, key, pool, model) DO UPDATE SET {_ADDED}",
    f"INSERT INTO requests ({_LIST}) SELECT {_LIST} FROM open",  # noqa: S608
    "DELETE FROM open",
)
