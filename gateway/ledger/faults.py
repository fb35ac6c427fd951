"""Why the ledger cannot write or be read, in words for the operator; no other module knows SQLite's exceptions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw


class LedgerFault(Exception):
    """The ledger's file cannot be used now; the text says why."""


class LedgerCorrupt(LedgerFault):
    """The file's content is damaged, or it is no ledger."""


@contextmanager
def told(path: Path) -> Iterator[None]:
    """A context in which SQLite's exceptions become `LedgerFault` or `LedgerCorrupt`."""
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise LedgerCorrupt(f"{path} is damaged: {error}") from None
    except apsw.FullError:
        raise LedgerFault(f"the disk of {path} is full") from None
    except apsw.BusyError:
        raise LedgerFault(f"{path} is locked by another program") from None
    except (apsw.Error, OSError) as error:
        raise LedgerFault(f"{path} cannot be used: {error}") from None
