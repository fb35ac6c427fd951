"""One request, from its route to its one end.

Rules. Every request ends with exactly one outcome, one event and one answer in its own API's format. Its ticket is
settled exactly once, by a call that does not wait, wherever the request's task is cancelled. The gateway tries nothing
again after the first byte. The streaming path wakes no task: the call that receives a buffer meters it, charges it and
writes it.

Modules: `router` finds the handler of a request and checks its key; `directory` knows who may do what. `exchange` is
the life of a scheduled request; `attempt` says what one sending of it met; `relay` passes the answer on; `settlement`
says what the request is settled at; `remainders` reads what a slow client has not taken. `dispatcher` carries out the
scheduler's decisions. `utility` answers requests that run no model; `control` serves the gateway's own pages;
`delivery` sends complete answers, and waits for the client at the end of every answer. `record` has what is known of a
request: its context, which never changes, and the record, which becomes the event of its end. `services` are the
objects that all requests share. `retired` forgets pools that the configuration no longer has.
"""
