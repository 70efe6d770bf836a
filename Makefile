# `make up` runs the daemon, `make test` tests it; both install what they need first.

export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

.DEFAULT_GOAL := help
.PHONY: up release test test-pages clients chaos mutants demo pictures bench bench-full bench-check lint lint-pages voice deps sqlx reference book setup setup-demo setup-tests help

up: setup ## Set up, build, and run the daemon on 127.0.0.1:8042
	cargo build
	exec target/debug/nowserving serve

release: setup ## Build what is shipped, optimised as a whole: target/release/nowserving
	cargo build --release

test: setup-tests ## Set up, and run every test
	@.ci/tests

test-pages: setup-tests ## Set up, and look at the pages in every state, size and language, in a real browser
	cargo test --test it -- --ignored --test-threads=2 long::pages::matrix::

clients: setup-tests ## Make clients in Java, TypeScript, C# and Rust with openapi-generator: target/clients
	@.ci/setup clients
	@.ci/clients

chaos: setup-tests ## Set up, and mix all faults: make chaos SECONDS=300 SEED=42 TOPOLOGY=cluster
	NOWSERVING_CHAOS_SECONDS=$(or $(SECONDS),300) NOWSERVING_CHAOS_SEED=$(SEED) \
		NOWSERVING_CHAOS_FAULTS=$(FAULTS) NOWSERVING_CHAOS_LEVEL=$(LEVEL) \
		NOWSERVING_CHAOS_TOPOLOGY=$(TOPOLOGY) NOWSERVING_CHAOS_KEEP=1 \
		cargo test --test it -- --exact --nocapture long::chaos::soak::soak

mutants: setup-tests ## Break the program in known ways, and see that tests notice: make mutants ONLY=stamp
	cargo run --quiet --example mutants -- $(ONLY)

demo: setup-demo ## See a lunch rush in the metrics, and an alert fire: make demo DEMO_SECONDS=180
	cargo build
	DEMO_SECONDS=$(DEMO_SECONDS) cargo run --quiet --example demo

pictures: setup-tests ## Draw the dashboards into grafana/pictures and the pages into docs/pictures, with a daemon at work
	cargo test --test it -- --ignored --exact --nocapture short::dashboards::queries::pictures long::pages::pictures::pictures

# In the environment, since others can see arguments.
bench: export NOWSERVING_BENCH_KEY := $(or $(KEY),$(NOWSERVING_BENCH_KEY))
bench: export NOWSERVING_BENCH_CA := $(or $(CA),$(NOWSERVING_BENCH_CA))
bench: setup ## Set up, and measure, at reduced sizes: make bench GROUPS='throughput cost'; or elsewhere: TARGET=URL KEY=…
ifdef TARGET
	@cargo bench --bench nowserving -- --target '$(TARGET)' $(if $(FIRST),--first-restaurant '$(FIRST)')
else
	cargo build --release --example counted_daemon
	cargo bench --bench nowserving -- $(GROUPS)
endif

bench-full: setup ## As bench, at the sizes that benches/README.md names
	cargo build --release --example counted_daemon
	cargo bench --bench nowserving -- --full $(GROUPS)

bench-check: setup ## Compare what requests cost with an earlier commit, and fail where one is dearer: make bench-check COMMIT=HEAD~1
	@.ci/bench-check '$(COMMIT)'

lint: ## Check the formatting and the code
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

lint-pages: ## Check the types of the pages' modules, with the TypeScript that `make test` fetches
	@.ci/lint-pages

voice: ## Make the clips of the built-in voice anew, with espeak-ng and ffmpeg
	.ci/voice

deps: ## List packages that are compiled twice, unused ones, and licences, with cargo-machete and cargo-deny where installed
	cargo tree --duplicates --edges normal
	@for tool in machete "deny --config .ci/deny.toml check"; do \
		if command -v cargo-$${tool%% *} >/dev/null; then cargo $$tool; else echo "deps: cargo-$${tool%% *} is not installed"; fi; \
	done

sqlx: setup ## Renew .sqlx after a change of a query or a migration
	.ci/sqlx

reference: ## Renew docs/reference after a change of the API, a code, a setting, a metric or a command
	cargo test --quiet --test house -- --ignored --exact reference::write_the_reference

book: ## Build the book of docs/ with mdbook, into target/book/html
	@.ci/book

setup: ## Install redis-server, postgresql and a C compiler where they are missing
	@.ci/setup

setup-demo: # And prometheus
	@.ci/setup demo

setup-tests: # And pgbouncer, nodejs, npm and Python
	@.ci/setup tests

help: ## List these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 12
