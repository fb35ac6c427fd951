# The temporary paths would be system folders otherwise; so would the error log of the time before the configuration is read.
cat >"$FOLDER/nginx.conf" <<EOF
daemon off; worker_processes 1; pid $FOLDER/nginx.pid; error_log stderr warn;
worker_rlimit_nofile $MANY;
events { worker_connections $MANY; }
http {
  access_log off; tcp_nodelay on; keepalive_requests 1000000000; client_body_buffer_size 256k;
$(for kind in client_body proxy fastcgi uwsgi scgi; do echo "  ${kind}_temp_path $FOLDER/nginx-$kind;"; done)
  upstream engine { server $ENGINE_AUTHORITY; keepalive 1024; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:$PORT backlog=4096;
    location / {
      proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_read_timeout 600s;
    }
  }
}
EOF
exec "$PROGRAM" -c "$FOLDER/nginx.conf" -e stderr
