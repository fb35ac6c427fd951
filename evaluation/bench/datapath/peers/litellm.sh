cat >"$FOLDER/litellm.yaml" <<EOF
model_list:
- model_name: $MODEL
  litellm_params: {model: openai/$MODEL, api_base: "$ENGINE/v1", api_key: none}
litellm_settings: {num_retries: 0}
EOF
export NO_DOCS=True LITELLM_LOG=ERROR LITELLM_LOCAL_MODEL_COST_MAP=True
# It listens on loopback and authenticates nobody, like the other yardsticks, and wants to be told that it may.
export LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY=true
exec "$PROGRAM" --config "$FOLDER/litellm.yaml" --host 127.0.0.1 --port "$PORT" --telemetry False
