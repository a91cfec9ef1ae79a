# The only place commands live: people and CI call these targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# A build cache outside the tree, so that the next clone builds only what is ours.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/monorail/target
# Nothing here needs a Python that is not on the machine already.
export UV_PYTHON_DOWNLOADS := never
# Compiled once and kept, as users have it: hundreds of processes of the tests import what each would compile anew.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
PY := $(VENV)/bin/python
# torch and TensorFlow, several gigabytes, apart from all else.
NEURAL := .venv-neural
# The newest of these that is 3.11 or later; PYTHON=... overrides.
PYTHON ?= $(shell for p in python3 python python3.13 python3.12 python3.11 python3.14 /usr/bin/python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; exit 0; }; done; true)
UV := $(or $(shell command -v uv),$(CURDIR)/.tools/bin/uv)
RUST_SOURCES := Cargo.toml Cargo.lock $(shell find crates -name '*.rs' -o -name Cargo.toml)
# The runtime the installed wheel brings: what the Rust tests load.
RUNTIME = $(shell ls $(CURDIR)/$(VENV)/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.* 2>/dev/null | head -n 1)
LOCK := --universal --generate-hashes --no-annotate --no-header --python-version 3.11 --override locks/overrides.txt --quiet
# What each environment has of the package's extras. The neural frameworks are gigabytes, and have one of their own.
EXTRAS := sklearn lightgbm xgboost catboost mlflow skops worker pandas polars ray daft spark demo
NEURAL_EXTRAS := torch keras tensorflow mlflow sklearn worker pandas

SHARED_TESTS := $(filter-out tests/e2e tests/scale tests/neural tests/support tests/__pycache__ tests/conftest.py,$(wildcard tests/*))
TEST_NEURAL = $(NEURAL)/bin/python -m pytest tests/neural

# sync ENVIRONMENT,LOCK: the environment, made if it is not there, with exactly what the lock says.
define sync
test -x $(1)/bin/python || $(UV) venv --quiet --python "$$("$(PYTHON)" -c 'import sys; print(sys.executable)')" $(1); \
$(UV) pip sync --quiet --python $(1)/bin/python --require-hashes $(2)
endef

.PHONY: help setup demo test test-rust test-python test-neural test-jobs soak-jobs lint format bench lock dist generate clean system

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: system $(VENV)/.installed  ## make .venv from the locks, build the Rust core, install the package (quick when nothing changed)

demo: setup  ## fit, prove, serve and score the flights model
	@$(VENV)/bin/monorail demo

test: AND_THEN = $(TEST_NEURAL) || failed=$$?;
test: $(NEURAL)/.installed test-rust test-python  ## run all tests

test-rust: setup  ## run the tests of the Rust core, which never sees Python
	@MONORAIL_ORT_LIB="$(RUNTIME)" cargo test --release --locked --quiet -p monorail-core

# Clusters, which often wait, have a process of their own beside the tests that share the cores, and say at the end what
# they did; where all tests run, those of neural frameworks follow them there. Each has one core, so libraries need no
# threads of theirs. Tests that measure time have the machine to themselves. Long ones first, so that no core is idle at
# the end.
test-python: setup  ## run the Python tests
	@export OMP_NUM_THREADS=1; said="$$(mktemp)"; trap 'rm -f "$$said"' EXIT; \
	{ failed=0; $(PY) -m pytest tests/scale || failed=$$?; $(AND_THEN) exit $$failed; } >"$$said" 2>&1 & beside=$$!; failed=0; \
	$(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder -m 'not timed' tests/e2e $(SHARED_TESTS) || failed=$$?; \
	wait $$beside || failed=$$?; cat "$$said"; exit $$failed
	@$(PY) -m pytest -m timed tests/e2e tests/cli

test-neural: setup $(NEURAL)/.installed  ## run the tests of neural frameworks, in an environment of their own
	@$(TEST_NEURAL)

test-jobs: setup  ## kill a server fifty times while a hundred thousand jobs come in, and cut the power fifty times (minutes)
	@MONORAIL_TEST_KILLS=50 MONORAIL_TEST_SUBMISSIONS=100000 MONORAIL_TEST_CUTS=50 $(PY) -m pytest --timeout 3600 \
		tests/e2e/test_jobs_survive.py::test_killed_while_jobs_come_in \
		tests/e2e/test_jobs_disk.py::test_the_power_fails_while_jobs_come_in

JOBS ?= 10000000
soak-jobs: setup  ## queue ten million jobs (JOBS=... for fewer), see that memory is bounded, tell the disk they need, drain them (ten minutes, 25 GB)
	@$(PY) -m benchmarks.jobs_queued --rows $(JOBS)

lint: setup  ## check style, types and layering
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/basedpyright --level error
	@cargo fmt --all --check
	@cargo clippy --release --locked --quiet --workspace --all-targets -- -D warnings
	@if cargo tree --locked -p monorail-core -e normal,build,dev --prefix none | grep -E '^pyo3'; then \
		echo 'crates/core must not depend on pyo3' >&2; exit 1; fi
	@$(PY) docs/generate.py --check

format:  ## rewrite sources in the one style
	@$(VENV)/bin/ruff check --fix --quiet || true
	@$(VENV)/bin/ruff format
	@cargo fmt --all

bench: setup  ## run the benchmarks, each against a rival in the same run
	@$(PY) -m benchmarks

generate: setup  ## rewrite what is generated: settings.py, and the reference of errors, settings and estimators
	@$(PY) -m tests.conformance.estimators --write
	@$(PY) docs/generate.py
	@MONORAIL_WRITE_REFERENCE=1 cargo test --release --locked --quiet -p monorail-core --test reference

lock: $(UV)  ## resolve the locks anew
	@$(UV) pip compile $(LOCK) --upgrade pyproject.toml $(addprefix --extra ,$(EXTRAS)) locks/dev.in -o locks/dev.txt
	@$(UV) pip compile $(LOCK) --upgrade pyproject.toml $(addprefix --extra ,$(NEURAL_EXTRAS)) locks/neural.in -o locks/neural.txt
	@$(UV) pip compile $(LOCK) --upgrade locks/tools.in -o locks/tools.txt

dist: setup  ## build the wheel for others, into dist/
	@$(VENV)/bin/maturin build --profile dist --locked --out dist

clean:  ## remove what setup made (not the build cache)
	@rm -rf $(VENV) $(NEURAL) .tools dist python/monorail/_core*.so

# What the system must have; need THING DEBIAN-PACKAGE installs it where that is allowed, else names it in one line.
system:
	@need() { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "setup: installing $$2 for $$1" >&2; \
			{ apt-get install -qq -y $$2 || { apt-get update -qq && apt-get install -qq -y $$2; }; } >/dev/null; \
		else echo "setup: $$1 is missing: install it (Debian: sudo apt-get install $$2)" >&2; exit 1; fi; \
	}; \
	if [ -z "$(PYTHON)" ]; then echo "setup: Python 3.11 or later is missing: install it, or name one: make PYTHON=/path/to/python3 setup" >&2; exit 1; fi; \
	command -v cc >/dev/null || need "a C compiler (the linker of the Rust build)" "gcc libc6-dev"; \
	"$(PYTHON)" -c 'import ensurepip' 2>/dev/null || need "Python's venv module" python3-venv; \
	command -v java >/dev/null && command -v javac >/dev/null || need "a JDK (the Java example)" default-jdk-headless; \
	command -v mvn >/dev/null || need "Maven (the Java example)" maven; \
	command -v redis-server >/dev/null || need "Redis (the tests of queues)" redis-server; \
	command -v cargo >/dev/null || { echo "setup: cargo is missing: install Rust 1.88 or later from https://rustup.rs and put ~/.cargo/bin on PATH" >&2; exit 1; }; \
	if [ "$$(uname)" = Linux ]; then ldconfig -p 2>/dev/null | grep -q libgomp.so.1 || /sbin/ldconfig -p 2>/dev/null | grep -q libgomp.so.1 || need "libgomp (LightGBM's runtime)" libgomp1; fi

$(CURDIR)/.tools/bin/uv: locks/tools.txt
	@echo "setup: installing uv" >&2
	@"$(PYTHON)" -m venv --clear .tools
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/tools.txt
	@touch $@

$(VENV)/.synced: locks/dev.txt | $(UV) system
	@echo "setup: making $(VENV) from locks/dev.txt" >&2
	@$(call sync,$(VENV),locks/dev.txt)
	@touch $@

$(NEURAL)/.synced: locks/neural.txt | $(UV) system
	@echo "setup: making $(NEURAL) from locks/neural.txt (the first time some gigabytes are fetched)" >&2
	@$(call sync,$(NEURAL),locks/neural.txt)
	@touch $@

# The package as $(VENV) has it: the same sources and the same built core, nothing built again.
$(NEURAL)/.installed: $(NEURAL)/.synced $(VENV)/.installed
	@site() { "$$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }; \
	from="$$(site $(VENV))"; to="$$(site $(NEURAL))"; rm -rf "$$to"/monorail-*.dist-info; \
	cp -R "$$from"/monorail.pth "$$from"/monorail-*.dist-info "$$to"
	@touch $@

# Editable: Python sources are used where they lie, the Rust core is rebuilt when its sources change.
$(VENV)/.installed: $(VENV)/.synced pyproject.toml $(RUST_SOURCES)
	@echo "setup: building the Rust core (the first time takes minutes)" >&2
	@PATH="$(dir $(UV)):$$PATH" VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(VENV)/bin/maturin develop --release --locked --uv --quiet
	@touch $@
