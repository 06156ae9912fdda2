# Every task of the project; `make help` lists them. Continuous integration calls only these.

SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
TARGET := $(or $(CARGO_TARGET_DIR),target)
SETUP := python3 scripts/setup.py --print-env

.PHONY: help
help: ## List the tasks
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: build
build: ## Build the program, optimised
	cargo build --release

.PHONY: demo
demo: build ## Play a day of traffic on this machine, from zero replicas to zero; ends by itself
	parts=$$($(SETUP) runtime pictures model --spotscale $(TARGET)/release/spotscale)
	eval "$$parts"
	$(TARGET)/release/spotscale up --scenario day --report target/demo

.PHONY: test
test: ## Get what the tests need and run them all; ARGS="--test keda x12" runs some
	cargo test --workspace --no-run $(ARGS)
	parts=$$($(SETUP) runtime pictures python browser prometheus faketime cluster crds model --spotscale $(TARGET)/debug/spotscale)
	eval "$$parts"
	# They wait for each other's processes most of the time.
	export RUST_TEST_THREADS=$${RUST_TEST_THREADS:-3}
	$(if $(ARGS),cargo test --workspace $(ARGS),python3 scripts/test.py)

.PHONY: lint
lint: ## Formatting, clippy, documentation, source files that no module names
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	# With examples, of which there are none, features are those that clippy has checked: nothing is checked twice.
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --lib --bins --examples --quiet
	python3 -m compileall -q scripts
	scripts/orphans.sh $(TARGET)

.PHONY: fmt
fmt: ## Format the source
	cargo fmt --all

.PHONY: gen
gen: ## Generate the code of the .proto files anew
	SPOTSCALE_GENERATE=1 cargo test -p spotscale-proto --test generated

.PHONY: manifests
manifests: ## Render manifests/install.yaml from the chart anew
	eval "$$($(SETUP) cluster)"
	manifest=$$(HELM="$$SPOTSCALE_CLUSTER/bin/helm" scripts/render.sh)
	echo "$$manifest" > manifests/install.yaml

.PHONY: model
model: build ## Bring ResNet-50 of the ONNX Model Zoo, or write its stand-in with seeded weights
	$(SETUP) model --spotscale $(TARGET)/release/spotscale

.PHONY: runtime
runtime: ## Bring the ONNX Runtime library
	$(SETUP) runtime

.PHONY: bench-front
bench-front: ## Measure the front beside the direct call: requests/s, and the latency it adds
	cargo bench -p spotscale-scaler --bench front

.PHONY: bench-scaler
bench-scaler: ## Measure the scaler: 1,000 ScaledObjects, 800 calls/s, 1,000 push streams on one connection
	cargo bench -p spotscale-scaler --bench scaler

.PHONY: bench-interruption
bench-interruption: ## Take machines away under load: requests lost, latency, replacement times; REQUESTS=1000000
	cargo test --release --test autoscaler --no-run
	parts=$$($(SETUP) runtime python cluster crds)
	eval "$$parts"
	SPOTSCALE_REQUESTS=$(or $(REQUESTS),1000000) cargo test --release --test autoscaler interruption:: -- --test-threads=1 --nocapture

.PHONY: bench-plan
bench-plan: ## Put the autoscaler on a cluster of 5,000 nodes and 50,000 pods: its ticks, its memory; NODES=5000
	parts=$$($(SETUP) cluster)
	eval "$$parts"
	SPOTSCALE_NODES=$(or $(NODES),5000) cargo test --release --test autoscaler scale::a_plan -- --ignored --nocapture

.PHONY: check-cuda
check-cuda: build ## Compare CUDA with the CPU on this machine's GPU, and time both
	parts=$$($(SETUP) runtime-cuda pictures model --spotscale $(TARGET)/release/spotscale)
	eval "$$parts"
	scripts/check-cuda.sh --spotscale $(TARGET)/release/spotscale

.PHONY: fuzz
fuzz: ## Fuzz the picture decoder for a minute (needs a nightly toolchain and cargo-fuzz)
	cd inference/vision && cargo +nightly fuzz run decode -- -max_total_time=60 -timeout=20 -rss_limit_mb=2048

.PHONY: clean
clean: ## Remove what was built; the cache of brought parts stays
	cargo clean
