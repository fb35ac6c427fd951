# vllm-router with its limit of concurrent requests and its queue. https://github.com/vllm-project/router
exec .venv-peers/vllm-router/bin/vllm-router --host 127.0.0.1 --port "$PORT" --prometheus-host 127.0.0.1 --prometheus-port "$OTHER_PORT" \
  --worker-urls "$ENGINE" --policy round_robin --log-level warning \
  --max-concurrent-requests "$SLOTS" --queue-size 512
