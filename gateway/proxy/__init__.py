"""One request, from its route to its one end.

Rules. Every request ends in exactly one outcome, one event and one answer in its own API's format. Its ticket is
settled exactly once, by a call that does not wait, whatever is cancelled where. Nothing is tried again after the
first byte. The streaming path wakes no task: a buffer is metered, charged and written in the call that received it.

Modules: `router` has the routes and credentials, `directory` who may do what; `exchange` is the life of a scheduled
request, `attempt` what one sending of it met, `relay` the way of its answer, `remainders` what a slow client leaves
behind; `dispatcher` carries out the scheduler's decisions; `utility` answers requests that run no model, `control`
the gateway's own pages, `delivery` whatever is whole before its first byte; `record` becomes the event of its end;
`retired` forgets pools that the configuration no longer has.
"""
