exec "$PROGRAM" --host 127.0.0.1 --port "$PORT" --prometheus-port "$OTHER_PORT" --worker-urls "$ENGINE" \
  --policy round_robin --max-concurrent-requests "$MANY" --log-level warning
