# make setup   bring what demo, tests and benches need (root or sudo; instant when nothing is missing)
# make demo    the whole story on throwaway servers
# make test    every test;  WITHOUT="mysql postgres18" leaves out what cannot be had, and says so at the end
# make simulate  the applier over servers in memory, with random faults  (SECONDS=600)
# make fuzz    each fuzz target for so long  (SECONDS=60)
# make lint    formatting, clippy, documentation, licences
# make model   the protocol's model, deeper than `make test` goes  (MORE=1 faults of each kind, SECONDS=120 a scene)
# make torment kill, freeze, cut and starve everything under load, ten minutes on each secondary
#              (SECONDS=600 SEED=… TARGET=mariadb FAULTS="kill_primary trickle_secondary"); with SWITCH=1
#              the primary changes meanwhile, to and fro, of all tables or a group, by coordinators that die over it
# make bench   every bench, on an idle machine for an hour; writes README.md's figures  (ROUNDS=3 SECONDS=10 ROWS=1000000)

WITHOUT ?=
comma = ,
optional = $(filter-out $(subst $(comma), ,$(WITHOUT)),mysql postgres18)
model = tests/model/Cargo.toml
figures = FIGURES=$(CURDIR)/target/figures.jsonl
parts = tools servers $(optional) drivers browser deploy

.PHONY: setup demo test simulate torment fuzz lint model bench

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

torment:
	tests/setup/install.sh tools servers $(filter mysql,$(optional))
	CROSSFADE_WITHOUT="$(WITHOUT)" CROSSFADE_TORMENT_SECONDS=$(or $(SECONDS),600) \
	CROSSFADE_SEED=$(SEED) CROSSFADE_FAULTS="$(FAULTS)" \
	cargo test --test main torment_$(if $(SWITCH),to_and_fro_loses_nothing_and_leaves_no_difference,leaves_nothing_lost_and_nothing_different)_on_$(TARGET) \
		-- --nocapture --test-threads=1

fuzz:
	tests/setup/install.sh tools servers
	CROSSFADE_SECONDS=$(or $(SECONDS),60) cargo test --lib --test main -- fuzz --nocapture --test-threads=1

lint:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo fmt --check --manifest-path $(model)
	CARGO_TARGET_DIR=target/model cargo clippy --manifest-path $(model) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps
	tests/setup/install.sh lint
	tests/setup/deny.sh

model:
	CARGO_TARGET_DIR=target/model cargo run --quiet --locked --manifest-path $(model)

bench:
	tests/setup/install.sh tools servers $(filter mysql,$(optional)) bench
	rm -f target/figures.jsonl
	$(figures) cargo bench --bench parts --bench apply --bench proxy --bench copy --bench switch --bench translate
	$(if $(filter mysql,$(optional)),$(figures) TARGET=mysql cargo bench --bench translate)
	$(figures) cargo bench --bench readme
