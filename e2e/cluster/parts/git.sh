# shellcheck shell=bash
# The git server on the machine `control`: git's own smart HTTP program behind nginx. Sourced after the lib files.

git_root() { echo "$(machine_disk control)/var/lib/git"; }

git_configure() {
  mkdir -p "$(git_root)" "$(machine_disk control)/var/log/nginx" "$(machine_disk control)/var/lib/nginx"
  cat >"$STATE_DIR/config/nginx.conf" <<NGINX
daemon off;
worker_processes 1;
pid /run/nginx.pid;
error_log stderr;
user root;
events { worker_connections 256; }
http {
  access_log /dev/stdout;
  client_max_body_size 0;
  server {
    listen ${GIT_URL##*:};
    location = /healthz { return 200 "ok\n"; }
    location / {
      include /etc/nginx/fastcgi_params;
      fastcgi_param SCRIPT_FILENAME /usr/lib/git-core/git-http-backend;
      fastcgi_param GIT_PROJECT_ROOT /var/lib/git;
      fastcgi_param GIT_HTTP_EXPORT_ALL 1;
      fastcgi_param PATH_INFO \$uri;
      fastcgi_pass unix:/run/git-http-backend.sock;
    }
  }
}
NGINX
}

git_services() {
  service control git-http-backend <<'EOF'
rm -f /run/git-http-backend.sock
export HOME=/root
exec fcgiwrap -f -c 2 -s unix:/run/git-http-backend.sock
EOF
  service control git <<EOF
exec nginx -c '$STATE_DIR/config/nginx.conf'
EOF
}

git_health() { curl -sf -m 5 "$GIT_URL/healthz"; }
git_version() { git --version | awk '{print $3}'; }
git_address() { echo "$GIT_URL/NAME.git"; }
