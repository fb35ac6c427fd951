# LiteLLM proxy; its dynamic rate limiter shares the model's tokens per minute among the keys' priorities once it is busy.
export LITELLM_DYNAMIC=1 PYTHONPATH=$PEERS NO_DOCS=True LITELLM_LOG=ERROR LITELLM_LOCAL_MODEL_COST_MAP=True
LITELLM_MASTER_KEY=sk-$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export LITELLM_MASTER_KEY
exec .venv-peers/litellm/bin/litellm --config "$PEERS/litellm-dynamic.yaml" --host 127.0.0.1 --port "$PORT" --telemetry False
