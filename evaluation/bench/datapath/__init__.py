"""What the way through the gateway costs, beside other proxies on the same machine in the same minutes.

An engine that sends vLLM's bytes at a fixed pace and a load client, both cheaper than what they measure, stand on one
core; the proxies stand on another, each alone at work in its turn, in rounds that alternate. Costs are taken from the
kernel's account of the proxy's processes, times at the client; what is judged are ratios and differences within a run.
"""
