# SMG with its priority scheduler and tenant limits; both tenants in the same class. https://github.com/lightseekorg/smg
exec .venv-peers/smg/bin/smg launch --host 127.0.0.1 --port "$PORT" --prometheus-host 127.0.0.1 --prometheus-port "$OTHER_PORT" \
  --worker-urls "$ENGINE" --policy round_robin --log-level warn --disable-tokenizer-autoload \
  --tenant-api-key "alice:$KEY_ALICE" --tenant-api-key "alice:$KEY_ALICE_2" --tenant-api-key "bob:$KEY_BOB" \
  --max-concurrent-requests "$SLOTS" \
  --priority-scheduler-enabled --priority-scheduler-config "$PEERS/smg.yaml" \
  --tenant-rate-limit-enabled --tenant-rate-limit-config "$PEERS/smg-limits.yaml"
