# The list of verbs. What a verb does stands in the scripts it calls.

.DEFAULT_GOAL := help
.PHONY: install uninstall package package-check python book reference
.PHONY: help demo test lint mutations mutants mutants-nightly fuzz soak browser machines guest doc figures bench bench-check profile prepush

# Where rustup puts cargo when .ci/prepare had to install it.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

# Where cargo builds, and where figures go.
TARGET := $(or $(CARGO_TARGET_DIR),target)
FIGURES ?= $(TARGET)/figures

# Where `make install` puts things, and which program: without BINARY, one that it builds.
PREFIX ?= /usr/local
DESTDIR ?=
BINARY ?=

# What `make profile` looks at.
BENCH ?= socket --only read --depth 32

# How long each fuzz target runs.
SECONDS ?= 600

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' Makefile | expand -t 16

demo: ## build, boot a guest on a RAM-backed drive, watch it do verified I/O, and cut the power of another
	@.ci/prepare
	@campaign/guest/demo

test: ## all tests, guests included; installs what it needs
	@.ci/test

lint: ## formatting, clippy, dependencies
	@.ci/prepare
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	.ci/deny

mutations: ## mistakes made on purpose in the drive, orderings of the disk left out, and how soon each is found
	@.ci/prepare
	cargo test --locked --package brownout-media --lib ordering::histories -- --nocapture
	cargo test --release --locked --package brownout-oracle --features mutations --test mutations -- --nocapture

mutants: ## mistakes in FILES (or in those of spec-tests/mutants/nightly.txt), SAMPLE=100 of them by SEED=1, that no test notices
	@.ci/prepare
	cargo build --locked --package brownout-mutants
	$(TARGET)/debug/mutants $(FILES) $(if $(SAMPLE),--sample $(SAMPLE)) --seed $(or $(SEED),1) \
		--scratch $(TARGET)/mutants --at-least $(or $(AT_LEAST),0)

mutants-nightly: ## other 300 of them each day; fails if the tests notice fewer than 95 of 100
	$(MAKE) mutants SAMPLE=300 SEED=$$(date +%j) AT_LEAST=95

fuzz: ## each fuzz target for SECONDS=600
	@.ci/fuzz $(SECONDS)

soak: ## the long versions of the tests
	@.ci/test --soak

browser: ## live page and a report in Chromium, looked at by axe-core; pictures in target/browser/pictures
	@.ci/prepare chromium npm
	cargo build --release --locked --package brownout
	spec-tests/browser/run $(TARGET)/release/brownout $(TARGET)/browser/pictures

machines: ## a campaign over two nodes by Slurm's own daemons, as root
	@.ci/prepare slurmctld slurmd munge jq
	cargo build --release --locked --package brownout
	spec-tests/machines/slurm $(TARGET)/release/brownout

python: ## check and test the Python package in python/; its drives run PROGRAM, or one that is built
	@.ci/prepare
	$(if $(PROGRAM),,cargo build --release --locked --package brownout)
	@.ci/python $(or $(PROGRAM),$(TARGET)/release/brownout)

guest: ## get QEMU 10.1 or later, kernels and initial file systems into the cache
	@campaign/guest/recipe/assets

doc: ## the documentation of all crates, with warnings as errors
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked

book: ## the documentation as one book in target/book, its links checked
	@.ci/prepare python3
	@.ci/book

reference: ## write the pages of docs/reference again, as the program says them
	@.ci/prepare
	cargo build --locked --package brownout
	$(TARGET)/debug/brownout reference docs/reference

figures: ## draw all figures into target/figures, as SVG and PNG; two minutes of experiments
	@.ci/prepare
	cargo build --release --locked --package brownout
	@mkdir -p $(FIGURES)
	@set -e; waf="$(TARGET)/release/brownout waf"; for format in svg png; do \
		$$waf --iu 4KiB,16KiB,64KiB --plot $(FIGURES)/indirection-unit.$$format; \
		$$waf --sd-card --plot $(FIGURES)/sd-card.$$format; \
		$$waf --theory --plot $(FIGURES)/garbage-collection.$$format; \
	done

bench: ## what a command costs on this machine; minutes, and 10 GiB of memory
	@.ci/prepare valgrind
	cargo build --release --locked --package brownout-bench
	$(TARGET)/release/bench device-cost
	$(TARGET)/release/bench instructions
	cargo build --release --locked --package brownout-bench --features without-steps --target-dir $(TARGET)/without-steps
	$(TARGET)/release/bench extras $(TARGET)/without-steps/release/bench

bench-check: ## instructions of a command against the table in spec-tests/bench; the same on every machine
	@.ci/prepare valgrind
	cargo build --release --locked --package brownout-bench
	$(TARGET)/release/bench instructions --check

profile: ## a flame graph of BENCH="socket --only read" in target/figures; needs perf
	@.ci/prepare
	@spec-tests/bench/profile $(FIGURES)/profile.svg $(BENCH)

install: ## program, manual pages, completions and documents into PREFIX=/usr/local, below DESTDIR=
	$(if $(BINARY),,BROWNOUT_COMMIT=$$(.ci/commit) cargo build --release --locked --package brownout)
	@DESTDIR=$(DESTDIR) .ci/install install "$(or $(BINARY),$(TARGET)/release/brownout)" "$(DESTDIR)$(PREFIX)"

package: ## a Debian package, its debug symbols, and a static tarball, in target/package; a quick one with PROFILE=dev
	@.ci/prepare dpkg-dev
	@.ci/package $(PROFILE)

package-check: ## install the Debian package in a Debian 12 and a Debian 13, use it, purge it; as root, minutes
	@.ci/prepare debootstrap
	@spec-tests/package/check $(TARGET)/package/brownout.deb $(SUITES)

uninstall: ## take away what `make install` put there
	@.ci/install uninstall "$(DESTDIR)$(PREFIX)"

prepush: ## what CI runs
	@.ci/run
