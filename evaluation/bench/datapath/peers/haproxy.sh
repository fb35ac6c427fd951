cat >"$FOLDER/haproxy.cfg" <<EOF
global
  nbthread 1
  maxconn $((MANY / 2 - 100))
defaults
  mode http
  option http-keep-alive
  option http-no-delay
  http-reuse always
  timeout connect 5s
  timeout client 600s
  timeout server 600s
frontend clients
  bind 127.0.0.1:$PORT backlog 4096
  default_backend engines
backend engines
  server engine $ENGINE_AUTHORITY
EOF
exec "$PROGRAM" -db -f "$FOLDER/haproxy.cfg"
