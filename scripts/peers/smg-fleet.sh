# SMG number $NUMBER, of two with one mesh; otherwise as smg.sh.
read -r first second <<<"$MESH_PORTS"
mine=$first other=$second
[ "$NUMBER" = 1 ] || { mine=$second other=$first; }
mesh=()
[ "$SHARES" = 1 ] && mesh=(--enable-mesh --mesh-server-name "smg-$NUMBER" --mesh-host 127.0.0.1 --mesh-port "$mine" --mesh-peer-urls "127.0.0.1:$other")
exec .venv-peers/smg/bin/smg launch --host 127.0.0.1 --port "$PORT" --prometheus-host 127.0.0.1 --prometheus-port "$OTHER_PORT" \
  --worker-urls "$ENGINE" --policy round_robin --log-level warn --disable-tokenizer-autoload \
  --tenant-api-key "alice:$KEY_ALICE" --tenant-api-key "alice:$KEY_ALICE_2" --tenant-api-key "bob:$KEY_BOB" \
  --max-concurrent-requests "$SLOTS" "${mesh[@]}" \
  --priority-scheduler-enabled --priority-scheduler-config "$PEERS/smg.yaml"
