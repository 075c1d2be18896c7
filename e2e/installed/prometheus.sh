# shellcheck shell=bash
# A real Prometheus that scrapes as the chart's ServiceMonitor says. Sourced by e2e/test-install.

# certificate: a Secret as cert-manager would make it, for the metrics' Service.
certificate() {
  local name=archfan-metrics.$OPS.svc
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$name" -addext "subjectAltName=DNS:$name" \
    -keyout "$WORK/tls.key" -out "$WORK/tls.crt" 2>/dev/null
  kubectl create namespace "$OPS" --dry-run=client -o yaml | kubectl apply -f - >/dev/null
  in_ops create secret generic archfan-metrics-tls --type kubernetes.io/tls --dry-run=client -o yaml \
    --from-file=tls.crt="$WORK/tls.crt" --from-file=tls.key="$WORK/tls.key" --from-file=ca.crt="$WORK/tls.crt" | kubectl apply -f - >/dev/null
}

# monitored: the chart's arguments with which metrics are served over TLS to those who may get them.
monitored() { printf '%s\n' --set "metrics.tls.secretName=archfan-metrics-tls,metrics.access=token"; }

# secret_file NAME KEY: writes a Secret's value into a file and prints its name.
secret_file() {
  in_ops get secret "$1" -o json | jq -er --arg key "$2" '.data[$key] | @base64d' >"$WORK/secret-$1-$2"
  echo "$WORK/secret-$1-$2"
}

# monitor: the chart's ServiceMonitor, with the values of the release.
monitor() {
  helm get values archfan -o yaml >"$WORK/values.yaml"
  helm template archfan "$REPO_DIR/charts/archfan" --values "$WORK/values.yaml" --show-only templates/servicemonitor.yaml \
    --set metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.renderMode=alwaysRender | "$(bin charttool charttool)" objects
}

# targets MONITOR: the endpoints that the monitor selects, with the labels that the operator gives them. Debian's Prometheus is built without
# discovery in Kubernetes, so this looks at the same objects in its place.
targets() {
  local selector service
  selector=$(jq -r '.spec.selector.matchLabels | to_entries | map("\(.key)=\(.value)") | join(",")' <<<"$1")
  service=$(in_ops get services -l "$selector" -o json | jq -ce '.items | if length == 1 then .[0] else error("\(length) Services") end')
  in_ops get endpointslices -l "kubernetes.io/service-name=$(jq -r .metadata.name <<<"$service")" -o json |
    jq --argjson monitor "$1" --argjson service "$service" '[.items[] | .metadata.namespace as $namespace
      | (.ports[] | select(.name == $monitor.spec.endpoints[0].port).port) as $port | .endpoints[]
      | {targets: ["\(.addresses[0]):\($port)"],
         labels: {namespace: $namespace, pod: .targetRef.name, service: $service.metadata.name, job: $service.metadata.labels[$monitor.spec.jobLabel]}}]'
}

# scrape_config: what the Prometheus operator makes of the monitor.
scrape_config() {
  local monitor ca token
  monitor=$(monitor)
  ca=$(secret_file "$(jq -er '.spec.endpoints[0].tlsConfig.ca.secret.name' <<<"$monitor")" "$(jq -er '.spec.endpoints[0].tlsConfig.ca.secret.key' <<<"$monitor")")
  token=$(secret_file "$(jq -er '.spec.endpoints[0].authorization.credentials.name' <<<"$monitor")" "$(jq -er '.spec.endpoints[0].authorization.credentials.key' <<<"$monitor")")
  targets "$monitor" >"$WORK/targets.json"
  jq --arg targets "$WORK/targets.json" --arg ca "$ca" --arg token "$token" --arg rules "$REPO_DIR/charts/archfan/files/alerts.yaml" '
    .spec.endpoints[0] as $endpoint |
    {global: {scrape_interval: "2s", scrape_timeout: "2s", evaluation_interval: "5s"}, rule_files: [$rules], scrape_configs: [{
      job_name: "serviceMonitor/\(.metadata.namespace)/\(.metadata.name)/0",
      file_sd_configs: [{files: [$targets]}],
      scheme: $endpoint.scheme, metrics_path: $endpoint.path,
      tls_config: {server_name: $endpoint.tlsConfig.serverName, ca_file: $ca},
      authorization: {type: $endpoint.authorization.type, credentials_file: $token}}]}' <<<"$monitor"
}

start_prometheus() {
  local attempt
  scrape_config >"$WORK/prometheus.json"
  promtool check config "$WORK/prometheus.json" >"$WORK/last" || die "no configuration of Prometheus: $(cat "$WORK/last")"
  for attempt in 1 2 3 4 5; do
    PROMETHEUS=127.0.0.1:$((20000 + (RANDOM % 20000)))
    prometheus --config.file="$WORK/prometheus.json" --storage.tsdb.path="$WORK/tsdb" --web.listen-address="$PROMETHEUS" >"$WORK/prometheus.log" 2>&1 &
    PROMETHEUS_PID=$!
    sleep 1
    kill -0 "$PROMETHEUS_PID" 2>/dev/null && break
  done
  until_true 60 "two replicas that Prometheus scrapes over TLS with a token" value_is 2 'sum(up{job="archfan"})'
  BEGAN=$(date +%s)
  saw "a Prometheus ($(prometheus --version 2>&1 | sed -nE 's/.*version ([^ ]*).*/\1/p' | head -n 1)) scrapes two replicas over TLS with a token, as the ServiceMonitor says"
}

# value QUERY: the value of a query that has one; nothing if it has none.
value() { curl -fsSG "http://$PROMETHEUS/api/v1/query" --data-urlencode "query=$1" | jq -r '.data.result[0].value[1] // empty'; }

value_is() { [[ $(value "$2") == "$1" ]] || { echo "$2 is '$(value "$2")', not $1"; return 1; }; }

# strangers_are_sent_away: the answers to those who bear no token, or one of an account that may not get /metrics.
strangers_are_sent_away() {
  local pod ip code
  pod=$(leader)
  ip=$(in_ops get pod "$pod" -o jsonpath='{.status.podIP}')
  ask() {
    curl -sS --cacert "$WORK/tls.crt" --resolve "archfan-metrics.$OPS.svc:8080:$ip" -o "$WORK/answer" -w '%{http_code}' "$@" "https://archfan-metrics.$OPS.svc:8080/metrics"
  }
  code=$(ask)
  [[ $code == 401 ]] || die "a scrape without a token was answered with $code"
  code=$(ask -H "Authorization: Bearer $(in_team create token builder)")
  [[ $code == 403 ]] || die "a scrape by an account that may not was answered with $code"
  saw "without a token 401, with one of an account that may not get /metrics 403"
}

# every_panel_has_data: each query of both dashboards, over the time since Prometheus was started.
every_panel_has_data() {
  local file query count=0
  for file in "$REPO_DIR"/charts/archfan/files/dashboards/*.json; do
    while read -r query; do
      query=${query//\$__rate_interval/30s}
      query=${query//\"\$job\"/\"archfan\"}
      query=$(sed -E 's/"\$[a-z]+"/".*"/g' <<<"$query")
      curl -fsSG "http://$PROMETHEUS/api/v1/query_range" --data-urlencode "query=$query" \
        --data "start=$BEGAN&end=$(date +%s)&step=5" | jq -e '[.data.result[].values[][1] | select(. != "NaN")] | length > 0' >/dev/null ||
        die "$(basename "$file"): no data for $query"
      count=$((count + 1))
    done < <(jq -r '.panels[].targets[]?.expr' "$file")
  done
  saw "$count queries of 2 dashboards have data"
}
