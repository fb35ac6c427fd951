"""The benches and the demo: real engine, real gateway, real sockets, measured from outside.

A bench starts both programs as child processes, drives them with `evaluation.load` and judges only what a client, a log
line or a metrics page shows. It imports nothing of the gateway's inside, so it cannot agree with it by construction.
Every bench measures a control too (`fcfs`, or the engine without a gateway): a target that the control meets as well
would prove nothing. Entry points, each `run(options) -> exit status`: `fairness`, `isolation`, `window`, `locality`,
`demo`, and the commands of `datapath`, `scheduler` and `soak`. Those on a `stage` of engines let their ways take
`turns` and share their `judgement`.
"""
