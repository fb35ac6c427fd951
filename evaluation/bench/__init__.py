"""The benches and the demo: real engine, real gateway, real sockets, measured from outside.

A bench starts both programs as child processes, drives them with `evaluation.load` and judges only what a client, a log
line or a metrics page shows. It imports nothing of the gateway's inside, so it cannot agree with it by construction.
Every bench measures a control too (`fcfs`, or the engine without a gateway): a target that the control meets as well
would prove nothing. Each bench is a coroutine, `measure(options) -> Report`, which `report.delivery` conducts:
`fairness`, `isolation`, `window`, `locality`, `scheduler`, `blocking`, `soak` and `datapath.command`; beside them is
the `demo`. Those with live engines start them and their gateways on a `stage`, from `settings`; those that compare ways
let these take `turns` and share their `judgement`.
"""
