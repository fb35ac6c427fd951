"""Starts engine workers on this machine, watches them and starts them again.

`life` says as a table what a worker does when something happens to it, `crashes` how long it waits before the next
attempt, `reporter` how much of its output is told; all are pure. `machine` turns a `WorkerPlan` into a command: which
engine, which GPUs. `worker` carries out one worker's life, `supervisor` keeps all of them, and `session` speaks with
whoever started the program. Whether requests may be sent to a worker is the gateway's business.
"""
