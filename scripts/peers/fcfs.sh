# The gateway of this repository without fairness: the control.
export POLICY=fcfs
exec .venv/bin/vtc-gateway serve "$PEERS/ours.yaml" --announce
