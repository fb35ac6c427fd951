"""What a decision costs the production scheduler, by how many tenants wait, are known, and have requests queued.

Pure computation, no sockets: every trial runs in a process of its own, so that its memory is its own. Judged are
ratios between sizes, which any machine can repeat, and the stated numbers.
"""
