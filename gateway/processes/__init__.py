"""Several gateway processes on one machine behind one port: a parent, its processes, and the store beside them.

One event loop runs on one core. With `processes: N` a parent starts N gateway processes, which are ordinary gateways of
one process each. They share three things, and the parent owns all of them:

- The listening socket. The parent binds it once and the processes inherit it, so each connection goes to one that
  accepts. A process that ends takes no waiting connection with it. (If each had a socket of its own, by SO_REUSEPORT,
  it would: the connections that wait at a socket are lost when it closes.)
- The account. Each process is a replica (`gateway.replicas`) and shares counters and room with the others through a
  store. The parent starts one on a Unix socket unless `replicas.store` names one. A store that ends is started again;
  requests go on meanwhile.
- The runtime directory, in which their Unix sockets lie. Only their user can enter it.

The parent serves nothing, reads no request and holds no state of one, so nothing but a fault of its own few modules can
end it. It starts a process again that ends by itself, after a pause that doubles. It passes signals on: SIGTERM and
SIGINT let all drain, a second one ends all at once, SIGHUP makes each read the configuration again. If the parent dies,
however that happens, each process drains and ends, and the store ends at once, because their pipes to it have closed.

The parent has an event loop. It waits for processes, pipes, sockets, signals and timers at the same time. Without the
event loop it would need one of its own for that, and could use none of the code that exists for it.

A new parent can take the gateway over from the one that runs, without a gap (`succession`).

Whichever process is asked answers for all (`pages`): `/metrics`, `/ready` and `/debug/state` are one answer of what
each says within a second. One that is silent is named.

Modules. `parent`: the whole. `gateway_process`: one process as the parent sees it. `member`: the parent as a process
sees it. `channel`: messages between them. `listening`: the sockets. `engines`: launched workers, which all processes
share. `store`, `kept`, `guard`: the store, and how a program can outlive a parent that hands it over. `pages`,
`merging`: one answer of several. `estate`: what ended processes have counted. `directory`: where they meet. `office`:
which parent is in office. `cores`: what `auto` means. `pauses`: when to start again.
"""

from gateway.processes.cores import usable_cores
from gateway.processes.directory import DirectoryFault, runtime_directory
from gateway.processes.member import Member, ParentLink, member_of
from gateway.processes.parent import Parent, ProcessFailed, ProcessPlan
from gateway.processes.store import StoreMissing
from gateway.processes.succession import TakeOverFailed

__all__ = [
    "DirectoryFault",
    "Member",
    "Parent",
    "ParentLink",
    "ProcessFailed",
    "ProcessPlan",
    "StoreMissing",
    "TakeOverFailed",
    "member_of",
    "runtime_directory",
    "usable_cores",
]
