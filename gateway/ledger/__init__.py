"""Keeps what every request has used, in files of SQLite beside the gateway, for reports and invoices.

`recorder` observes the gateway's events on the event loop and hands what ended to `writer`, whose thread alone writes
rows into the `file`. Where several gateways share a `database`, the thread of `follower` sends on what the file has.
What a row says (`rows`), how rows add up (`quarters`) and what a report makes of them (`report`) is pure. No request
waits for the ledger: while it cannot write, rows wait in memory, up to a bound.
"""
