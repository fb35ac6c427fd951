keys=()
for key in $TENANT_KEYS; do keys+=(--tenant-api-key "$key"); done
exec "$PROGRAM" launch --host 127.0.0.1 --port "$PORT" --prometheus-port "$OTHER_PORT" --worker-urls "$ENGINE" \
  --policy round_robin --max-concurrent-requests "$MANY" --log-level warn --disable-tokenizer-autoload "${keys[@]}"
