"""How many connections one process may hold."""

import resource


def allow_many_connections() -> None:
    """Every connection is a descriptor: allow as many as the system does; the usual soft limit is 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
