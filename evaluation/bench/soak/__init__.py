"""`vtc-gateway bench soak`: many minutes of ordinary trouble, and what of it stays behind.

`clients` are the callers, of whom some leave, read slowly or ask for what cannot be; `evidence` is what the process
holds over time, and the gateway's account of each request beside the engines' own; `command` runs the engines with
scripted faults, the gateway with a configuration that changes under it, and judges.
"""
