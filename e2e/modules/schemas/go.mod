module archfan.dev/e2e/modules/schemas

go 1.26.0

// Not built: the definitions that it brings are what rendered objects are compared with.
require github.com/prometheus-operator/prometheus-operator v0.85.0
