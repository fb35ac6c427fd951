"""What the errors of a store mean to an operator: each becomes one line that says what to do.

A script's errors arrive differently by version: Redis 6.2 wraps the code in a sentence, later servers put it first.
"""

import re
from typing import Final

MOST_QUOTED: Final = 200  # characters of a server's own words in a line of ours

_WHAT_AND_REMEDY: Final = {
    "READONLY": "it is a replica and takes no writes; name the primary in replicas.store",
    "MASTERDOWN": "it is a replica and takes no writes; name the primary in replicas.store",
    "NOREPLICAS": "too few of its replicas are connected; bring them back, or lower its min-replicas-to-write",
    "OOM": "its memory is full; raise its maxmemory",
    "MISCONF": "it cannot save to its disk and refuses writes; make room there, or switch off its snapshots",
    "LOADING": "it is still loading its data; it serves when it is done",
    "BUSY": "it is busy with a script that does not end; SCRIPT KILL ends it",
    "MOVED": "it is one node of a cluster; name a server outside of a cluster",
    "ASK": "it is one node of a cluster; name a server outside of a cluster",
    "CLUSTERDOWN": "it is one node of a cluster; name a server outside of a cluster",
    "WRONGPASS": "it refuses the user or the password; correct replicas.username and the password",
    "NOAUTH": "it asks for a password; set replicas.password_env or replicas.password_file",
    "DENIED": "it is in protected mode and takes no connections from elsewhere; give it a password",
    "WRONGTYPE": "its keys that begin with vtc belong to something else; use another server",
}
_BY_WORDS: Final = (
    (r"(?i)unknown (redis )?command\W+(evalsha|script)", "it runs no Lua scripts; use Redis or Valkey, 6.2 or later"),
    ("max number of clients", "it takes no more connections; raise its maxclients"),
    (
        "without any password|no password is set",
        "it asks for no password; remove replicas.password_env or password_file",
    ),
)
_CODE: Final = re.compile(r"^([A-Z]+) |-([A-Z]+) ")


class StoreFailed(Exception):
    """The store did not answer a call as it should; the text is one line for the log. What it did is then unknown."""


def explain(error: str) -> str:
    """What `error`, the text of a server's error, means, and what to do about it."""
    for found in _CODE.finditer(error):
        if meaning := _WHAT_AND_REMEDY.get(found[1] or found[2]):
            return meaning
    for pattern, meaning in _BY_WORDS:
        if re.search(pattern, error):
            return meaning
    if error.startswith("NOPERM"):
        return f"it does not let the user do what replicas need ({quote(error)}); widen the user's permissions"
    return f"it answered: {quote(error)}"


def quote(words: object) -> str:
    """The foreign `words`, or what an error says, as part of one line."""
    return " ".join(str(words).split())[:MOST_QUOTED]
