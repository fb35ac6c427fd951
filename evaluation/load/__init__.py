"""Load on live endpoints: a client with its connections, tenants that send, what reached each of them, and the child
processes that serve them."""
