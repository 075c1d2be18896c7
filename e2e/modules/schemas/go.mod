module archfan.dev/e2e/modules/schemas

go 1.26.0

// Not built: the definitions that they bring are what rendered objects are compared with.
require (
	github.com/grafana/grafana-operator/v5 v5.18.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
