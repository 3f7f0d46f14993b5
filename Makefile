# make setup   bring what demo, tests and benches need (root or sudo; instant when nothing is missing)
# make demo    the whole story on throwaway servers
# make test    every test;  WITHOUT="mysql postgres18" leaves out what cannot be had, and says so at the end
# make simulate  the applier over servers in memory, with random faults  (SECONDS=600)
# make lint    formatting, clippy, documentation, licences
# make bench   criterion benches, then pgbench against the proxy  (ROUNDS=3 SECONDS=10)

WITHOUT ?=
comma = ,
optional = $(filter-out $(subst $(comma), ,$(WITHOUT)),mysql postgres18)
parts = tools servers $(optional) drivers

.PHONY: setup demo test simulate lint bench

setup:
	tests/setup/install.sh

demo:
	tests/setup/install.sh tools servers
	cargo run --quiet -- demo

test:
	tests/setup/install.sh $(parts)
	CROSSFADE_WITHOUT="$(WITHOUT)" tests/setup/test.sh

simulate:
	CROSSFADE_SIM_SECONDS=$(or $(SECONDS),600) cargo test --lib apply::sim::whatever -- --nocapture

lint:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps
	if cargo deny --version >/dev/null 2>&1; then cargo deny --config .deny.toml check; fi

bench:
	tests/setup/install.sh tools servers bench
	cargo bench
