# The gateway of this repository with weights 1 and 3.
export WEIGHT_BOB=3
exec .venv/bin/vtc-gateway serve "$PEERS/ours.yaml" --announce
