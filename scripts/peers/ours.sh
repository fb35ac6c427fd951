# The gateway of this repository.
exec .venv/bin/vtc-gateway serve "$PEERS/ours.yaml" --announce
