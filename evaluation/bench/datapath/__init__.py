"""What the way through the gateway costs, compared with other proxies on the same machine in the same minutes.

One core runs a load client and an engine that sends vLLM's bytes at a fixed pace; both are cheaper than what they
measure. Another core runs the proxies. In every round each proxy works alone in its turn. The kernel's account of the
proxy's processes gives the costs, and the client measures the times. Verdicts are on ratios and differences within a
run.
"""
