cat >"$FOLDER/envoy.yaml" <<EOF
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: $PORT}}
    tcp_backlog_size: 4096
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: /}, route: {cluster: engine, timeout: 0s}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: engine
    type: STATIC
    circuit_breakers: {thresholds: [{max_connections: $MANY, max_pending_requests: $MANY, max_requests: $MANY}]}
    load_assignment:
      cluster_name: engine
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: ${ENGINE_AUTHORITY%:*}, port_value: ${ENGINE_AUTHORITY##*:}}}}
EOF
exec "$PROGRAM" -c "$FOLDER/envoy.yaml" --concurrency 1 --disable-hot-restart --log-level warning
