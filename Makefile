# Every target can be interrupted at any moment and called again, says how long it takes and how long it usually takes.
# The work is done by scripts; `make help` lists the targets.

SHELL := bash
.DEFAULT_GOAL := help
CLUSTER := e2e/cluster
SIM = "$$(.ci/compile archfan-sim)"

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / {printf "make %-21s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: cluster
cluster: ## bring up the two-architecture Kubernetes and Tekton cluster (builds what is not in the cache)
	@$(CLUSTER)/up

.PHONY: cluster-down
cluster-down: ## take the cluster down and leave nothing of it behind
	@$(CLUSTER)/down

.PHONY: cluster-status
cluster-status: ## show each part of the cluster: version, health, address, log file
	@$(CLUSTER)/status

.PHONY: demo
demo: ## build a real image for two architectures with one custom task, and watch it (1 min once the cluster is up)
	@e2e/demo

.PHONY: lint
lint: lint-scripts lint-rust ## check everything that can be checked without running it

.PHONY: lint-rust
lint-rust: ## check formatting, clippy, documentation, and the dependencies' licences and sources
	@.ci/lint

.PHONY: lint-scripts
lint-scripts: ## check the shell scripts, and that the changes of conformance-mutations can be applied
	@$(CLUSTER)/lint
	@e2e/mutations/check
	@diff <($(MAKE) --silent help | awk '{print $$2}' | sort) <(sed -n 's/^.PHONY: //p' Makefile | sort) || \
	  { echo "make help does not list every target" >&2; exit 1; }

.PHONY: test
test: ## every test there is, on the real cluster
	@.ci/test

.PHONY: test-unit
test-unit: ## test the policies, the cache, the queue and the parsers, with no cluster
	@.ci/step test-unit "unit and property tests" cargo test --locked --workspace --lib --bins

.PHONY: test-sim
test-sim: ## play 50,000 schedules of the controller against the model of its cluster (docs/simulator.md; 1 min after a build)
	@.ci/step sim-build "the simulator" .ci/compile archfan-sim
	@.ci/step test-sim "50,000 schedules of the simulator" $(SIM) run --schedules 50000

.PHONY: sim
sim: ## play 1,000,000 schedules, and show what they met (4 min on two cores)
	@$(SIM) run --schedules 1000000 --table

.PHONY: sim-faults
sim-faults: ## plant each bug of docs/simulator.md in turn, and find it (1 min on two cores)
	@$(SIM) faults

.PHONY: fuzz
fuzz: ## fuzz what reads foreign input: TARGET=… (docs/fuzzing.md) for SECONDS=60 (the first build takes 5 min)
	@e2e/fuzz/run "$(TARGET)" "$(or $(SECONDS),60)"

.PHONY: mutants
mutants: ## change what decides, one place at a time, and see whether a test notices (docs/mutation.md; hours)
	@.ci/mutants

.PHONY: test-model
test-model: ## hold the simulator's model against the cluster: 147 scenarios played on both (1 min once the cluster is up)
	@e2e/run --test model -- --ignored

.PHONY: test-chart
test-chart: ## test the charts, config/, the alerts and the dashboards' queries, with no cluster (25 s once helm is built)
	@tests/chart/run

.PHONY: test-install
test-install: cluster ## test the installation: upgrade, rollback, removal, Prometheus, leaders (7 min; nothing else may use archfan meanwhile)
	@e2e/test-install

.PHONY: test-alone
test-alone: ## test what no other test may run beside: deaths of the controller and of the API server, Tekton Chains
	@e2e/run --test chains --test restarts

.PHONY: test-e2e
test-e2e: test-conformance test-runs ## test archfan on the cluster: both of the next two (10 min)

.PHONY: test-conformance
test-conformance: ## test each obligation that Tekton has for a custom task, and what a child may wait for
	@e2e/run --test conformance --test waiting

.PHONY: test-runs
test-runs: ## test the whole path, policies, workspaces, bad input, examples and documents
	@e2e/run --test runs

.PHONY: test-rights
test-rights: ## compare the rights that archfan has with those that the tests before have seen it use
	@e2e/rights

.PHONY: conformance-mutations
conformance-mutations: cluster ## run the conformance cases against archfan with one thing wrong at a time, and see each fail (docs/conformance.md; 20 min after a build; nothing else may use archfan meanwhile)
	@e2e/install
	@e2e/mutations/run $(OBLIGATIONS)

.PHONY: self
self: ## let archfan build archfan's own image for both architectures on the cluster, and run it on both (compiles twice, 15 min)
	@e2e/self

.PHONY: generate
generate: ## make again what is made from something else: the definition, config/, the values' schema, tables in documents
	@.ci/generate

.PHONY: test-cluster
test-cluster: cluster ## test the cluster itself: both nodes, storage, registry, and that cluster-down leaves nothing
	@$(CLUSTER)/tests/run

.PHONY: test-works
test-works: cluster ## test that the cluster works: both nodes, images, storage, registry, Tekton (2 min)
	@$(CLUSTER)/tests/works

.PHONY: test-index
test-index: ## test `archfan index` on real registries, with faults and kills (2 min after a build)
	@.ci/step test-index "archfan index on registries" cargo test --locked --workspace --test index

.PHONY: bench
bench: ## measure the time from a CustomRun to its TaskRuns beside Tekton's matrix and bare requests (10 min once the cluster is up)
	@e2e/bench/fanout

.PHONY: bench-index
bench-index: ## measure `archfan index push` beside crane, buildah and a raw upload (10 min after a build)
	@cargo build --locked --release
	@e2e/bench/index/run

.PHONY: coverage
coverage: ## show which lines of src/core its tests reach, with the bound of 95 % (2 min)
	@.ci/coverage

.PHONY: bench-plan
bench-plan: ## measure what one look at a run costs (5 min with the build)
	@cargo bench --locked --bench plan
