# LiteLLM proxy number $NUMBER, of two that are told to count the limits of the keys in one Redis.
export PYTHONPATH=$PEERS NO_DOCS=True LITELLM_LOG=ERROR LITELLM_LOCAL_MODEL_COST_MAP=True
LITELLM_MASTER_KEY=sk-$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export LITELLM_MASTER_KEY
config=$PEERS/litellm.yaml
[ "$SHARES" = 1 ] && config=$PEERS/litellm-fleet.yaml
exec .venv-peers/litellm/bin/litellm --config "$config" --host 127.0.0.1 --port "$PORT" --telemetry False
