# Every target can be interrupted at any moment and called again, says how long it takes and how long it usually takes.
# The work is done by scripts; `make help` lists the targets.

SHELL := bash
.DEFAULT_GOAL := help
CLUSTER := e2e/cluster

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: cluster
cluster: ## bring up the two-architecture Kubernetes and Tekton cluster (builds what is not in the cache)
	@$(CLUSTER)/up

.PHONY: cluster-down
cluster-down: ## take the cluster down and leave nothing of it behind
	@$(CLUSTER)/down

.PHONY: cluster-status
cluster-status: ## show each part of the cluster: version, health, address, log file
	@$(CLUSTER)/status

.PHONY: lint
lint: lint-scripts ## check everything that can be checked without running it

.PHONY: lint-scripts
lint-scripts: ## check the shell scripts
	@$(CLUSTER)/lint

.PHONY: test
test: lint test-cluster ## every test there is, on the real cluster

.PHONY: test-cluster
test-cluster: cluster ## test the cluster itself: both nodes, storage, registry, and that cluster-down leaves nothing
	@$(CLUSTER)/tests/run

.PHONY: test-index
test-index: ## test `archfan index` on real registries, with faults and kills (3 min after a build)
	@cargo test --locked --lib index::
	@cargo test --locked --test index

.PHONY: bench-index
bench-index: ## measure `archfan index push` beside crane, buildah and a raw upload (10 min after a build)
	@cargo build --locked --release
	@e2e/bench/index/run
