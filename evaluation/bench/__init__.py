"""The benches and the demo: real engine, real gateway, real sockets, measured from outside.

A bench starts both programs as child processes, drives them with `evaluation.load` and judges only what a client, a log
line or a metrics page shows. It imports none of the gateway's code, so it cannot agree with it by construction.
Every bench measures a control too (`fcfs`, or the engine without a gateway): a target that the control meets as well
would prove nothing. Each bench is a coroutine, `measure(options) -> Report`, which `report.delivery` runs:
`fairness`, `isolation`, `window`, `locality`, `scheduler`, `blocking`, `soak` and `datapath.command`. The `demo` stands
beside them. A bench with live engines starts them and their gateways on a `stage`, with `settings`. A bench that
compares several ways lets them take `turns`, and these benches share one `judgement`.
"""
