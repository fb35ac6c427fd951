"""The tables of a fleet's ledger in PostgreSQL, the way from each version of them to the next, and their statements.

They stand in a schema of their own, `vtc_ledger`. Names are texts, so that reports need no second table. `requests` has
each request once, by its id. `quarters` has the sums of what was added to `requests`: the statement that adds the rows
adds them up too. `worker_time` has a line for each file (`book`), because its figures are totals of that file.
A step is never changed after its release: a new version gets a new step.
"""

from collections.abc import Iterable
from typing import Final

from gateway.ledger.quarters import KEYS, SUMS
from gateway.ledger.report import FIELDS, Query
from gateway.ledger.rows import Row
from gateway.ledger.worker_times import WorkerTime
from gateway.wire.end_user import PSEUDONYM_DIGITS

LOCK: Final = 0x7674636C  # "vtcl": shared by who adds rows, exclusive for who makes tables or forgets an end user
SLICE_ROWS: Final = 5000  # deleted at once

STEPS: Final = (  # of our own words, as every statement here
    """
    CREATE TABLE vtc_ledger.requests (
        request_id text PRIMARY KEY,
        quarter integer NOT NULL,
        granted_us bigint,
        ended_us bigint NOT NULL,
        tenant text NOT NULL,
        key text NOT NULL,
        pool text NOT NULL,
        model text NOT NULL,
        worker text NOT NULL,
        outcome text NOT NULL,
        end_user text NOT NULL,
        attempts integer NOT NULL,
        choices integer NOT NULL,
        prompt_tokens bigint NOT NULL,
        cached_tokens bigint NOT NULL,
        output_tokens bigint NOT NULL,
        estimated_tokens bigint NOT NULL,
        lost_prompt_tokens bigint NOT NULL,
        lost_output_tokens bigint NOT NULL,
        cost double precision NOT NULL,
        worker_us bigint NOT NULL,
        money_nano bigint NOT NULL,
        prompt_nano bigint NOT NULL,
        cached_nano bigint NOT NULL,
        output_nano bigint NOT NULL,
        queue_us bigint,
        ttft_us bigint,
        duration_us bigint NOT NULL
    );
    CREATE INDEX requests_by_quarter ON vtc_ledger.requests (quarter);
    CREATE TABLE vtc_ledger.quarters (
        quarter integer NOT NULL,
        tenant text NOT NULL,
        key text NOT NULL,
        pool text NOT NULL,
        model text NOT NULL,
        requests bigint NOT NULL,
        prompt_tokens bigint NOT NULL,
        cached_tokens bigint NOT NULL,
        output_tokens bigint NOT NULL,
        estimated_tokens bigint NOT NULL,
        lost_prompt_tokens bigint NOT NULL,
        lost_output_tokens bigint NOT NULL,
        cost double precision NOT NULL,
        worker_us bigint NOT NULL,
        money_nano bigint NOT NULL,
        prompt_nano bigint NOT NULL,
        cached_nano bigint NOT NULL,
        output_nano bigint NOT NULL,
        PRIMARY KEY (quarter, tenant, key, pool, model)
    );
    CREATE TABLE vtc_ledger.worker_time (
        quarter integer NOT NULL,
        worker text NOT NULL,
        book text NOT NULL,
        busy_us bigint NOT NULL,
        idle_us bigint NOT NULL,
        generated_tokens bigint NOT NULL,
        read_tokens bigint NOT NULL,
        PRIMARY KEY (quarter, worker, book)
    );
    """,
)
VERSION: Final = len(STEPS)

BEGIN: Final = """
    CREATE SCHEMA vtc_ledger;
    CREATE TABLE vtc_ledger.version (only_one integer PRIMARY KEY CHECK (only_one = 1), version integer NOT NULL);
    INSERT INTO vtc_ledger.version VALUES (1, 0);
"""
HAS_VERSION: Final = "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'vtc_ledger' AND tablename = 'version')"
READ_VERSION: Final = "SELECT version FROM vtc_ledger.version"
SET_VERSION: Final = "UPDATE vtc_ledger.version SET version = $1"
SHARE: Final = f"SELECT pg_advisory_xact_lock_shared({LOCK})"
EXCLUDE: Final = f"SELECT pg_advisory_xact_lock({LOCK})"

_TEXTS: Final = frozenset({"request_id", "tenant", "key", "pool", "model", "worker", "outcome", "end_user"})
_OTHERS: Final = {"quarter": "integer", "attempts": "integer", "choices": "integer", "cost": "double precision"}


def _type(name: str) -> str:
    return "text" if name in _TEXTS else _OTHERS.get(name, "bigint")


def _read_from_json(names: Iterable[str]) -> str:
    """The columns `names`, in their order, of an array of JSON called `line`."""
    return ", ".join(f"(line->>{place})::{_type(name)}" for place, name in enumerate(names))


_LIST = ", ".join(Row._fields)
_SUM_LIST = ", ".join((*KEYS, *FIELDS))
_ADDED = ", ".join(f"{name} = quarters.{name} + excluded.{name}" for name in FIELDS)

# In one order, so that two gateways that add the same rows or sums wait for each other and never both.
ADD_REQUESTS: Final = f"""
    WITH fresh AS (
        INSERT INTO vtc_ledger.requests ({_LIST})
        SELECT {_read_from_json(Row._fields)} FROM jsonb_array_elements($1::jsonb) AS line ORDER BY 1
        ON CONFLICT (request_id) DO NOTHING RETURNING *
    )
    INSERT INTO vtc_ledger.quarters ({_SUM_LIST})
    SELECT {", ".join(KEYS)}, count(*), {", ".join(f"sum({name})" for name in SUMS)}
    FROM fresh GROUP BY {", ".join(KEYS)} ORDER BY {", ".join(KEYS)}
    ON CONFLICT ({", ".join(KEYS)}) DO UPDATE SET {_ADDED}
"""  # noqa: S608
_TIMES = ", ".join(WorkerTime._fields)
_GREATER = ", ".join(f"{name} = greatest(worker_time.{name}, excluded.{name})" for name in WorkerTime._fields[2:])
SET_TIMES: Final = f"""
    INSERT INTO vtc_ledger.worker_time (book, {_TIMES})
    SELECT $1, {_read_from_json(WorkerTime._fields)} FROM jsonb_array_elements($2::jsonb) AS line ORDER BY 2, 3
    ON CONFLICT (quarter, worker, book) DO UPDATE SET {_GREATER}
"""  # noqa: S608
DELETE_OLD: Final = f"""
    DELETE FROM vtc_ledger.requests WHERE request_id IN (
        SELECT request_id FROM vtc_ledger.requests WHERE quarter < $1 ORDER BY quarter LIMIT {SLICE_ROWS}
        FOR UPDATE SKIP LOCKED)
"""  # noqa: S608
# As `gateway.wire.end_user.pseudonym` makes it of the name, if rows have names.
FORGET: Final = f"""
    UPDATE vtc_ledger.requests SET end_user = '' WHERE end_user <> '' AND (end_user = $1
    OR left(encode(sha256(convert_to(end_user, 'UTF8')), 'hex'), {PSEUDONYM_DIGITS}) = $1)
"""  # noqa: S608
COUNTED: Final = """
    SELECT worker, sum(read_tokens)::bigint, sum(generated_tokens)::bigint FROM vtc_ledger.worker_time
    WHERE quarter >= $1 AND quarter < $2 GROUP BY book, worker
"""
# A stream tells how long its prompt is when it begins, every other answer when it ends.
_FIGURES = (
    "prompt_tokens * choices",
    "CASE WHEN estimated_tokens > 0 OR (ttft_us IS NULL AND outcome <> 'completed') "
    "THEN prompt_tokens * choices ELSE 0 END",
    "lost_prompt_tokens * choices",
    "output_tokens",
    "estimated_tokens",
    "lost_output_tokens",
    "CASE WHEN prompt_tokens > 0 AND outcome <> 'completed' THEN choices ELSE 0 END",
)
WORK: Final = f"""
    SELECT worker, {", ".join(f"sum({figure})::bigint" for figure in _FIGURES)}
    FROM vtc_ledger.requests WHERE quarter >= $1 AND quarter < $2 GROUP BY worker
"""  # noqa: S608


def report_of(query: Query) -> str:
    """The statement that adds up what `query` asks for, by quarter hour; its parameters are the first and the end."""
    sums = [f"sum({name})::{_type(name)}" for name in FIELDS]
    table = "quarters"
    if query.needs_rows:
        table, sums[0] = "requests", "count(*)"
    groups = ", ".join(("quarter", *(subject.value for subject in query.subjects)))
    columns = f"{groups}, {', '.join(sums)}"
    return f"SELECT {columns} FROM vtc_ledger.{table} WHERE quarter >= $1 AND quarter < $2 GROUP BY {groups}"  # noqa: S608
