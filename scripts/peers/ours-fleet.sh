# Gateway number $NUMBER of this repository, of two with one account.
if [ "$SHARES" = 1 ]; then exec .venv/bin/vtc-gateway serve "$PEERS/ours-fleet.yaml" --announce; fi
exec .venv/bin/vtc-gateway serve "$PEERS/ours.yaml" --announce
