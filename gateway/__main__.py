"""`python -m gateway`: the same as `vtc-gateway`."""

from gateway.cli import main

main()
