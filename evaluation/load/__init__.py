"""Load on live endpoints: tenants that send, the connections they send on, what reached each of them, and the child
processes that serve them."""
