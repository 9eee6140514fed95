# Needs python3 >= 3.11 and make, nothing else. Every target first brings .venv up to date, if it is not.
#
#   make bench [ARGS="--quick"]     make test [ARGS="-k loss"]     make check
#   make bench EXTRAS=dev,cuda12    for a CUDA 12 driver; later calls keep the extras of .venv

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Exists while a set-up is begun and not finished; beside .venv, because clearing .venv would take it away.
UNFINISHED := .venv.unfinished

DEFAULT_EXTRAS := dev,cuda13
INSTALLED_EXTRAS := $(shell cat $(STAMP) 2>/dev/null)
EXTRAS ?= $(or $(INSTALLED_EXTRAS),$(DEFAULT_EXTRAS))

.DEFAULT_GOAL := help
.PHONY: help setup bench test lint types layers check clean

help:
	@echo "make bench | test | check (lint, types, layers, test) | lint | types | layers | setup | clean"

setup: $(STAMP)

ifneq ($(EXTRAS),$(INSTALLED_EXTRAS))
.PHONY: $(STAMP)
endif

# A set-up that was cut, or one with other extras (the two DALI wheels own the same files), is made anew.
$(STAMP): setup.cfg pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	    echo "make: $(PYTHON) is not there: install Python 3.11 or newer, or say make PYTHON=FILE" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "make: $(PYTHON) is $$($(PYTHON) -V 2>&1), 3.11 or newer is needed: say make PYTHON=FILE" >&2; \
	    exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	    echo "make: $(PYTHON) has no venv or ensurepip: install them (Debian: python3-venv)" >&2; exit 2; }
	@echo "make: setting up $(VENV) (several GB, some minutes)"
	@clear=; other='$(filter-out $(EXTRAS),$(INSTALLED_EXTRAS))'; \
	if [ -e $(UNFINISHED) ] || [ -n "$$other" ]; then clear=--clear; fi; \
	touch $(UNFINISHED) && rm -f $(STAMP) && $(PYTHON) -m venv $$clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation \
	    -c constraints.txt -e '.[$(EXTRAS)]'
	@# Else the first command that makes views would wait for it, half a minute.
	@echo "make: compiling what makes views on a CPU"; \
	    $(BIN)/python -c 'import importlib.util as u; u.find_spec("numba") and __import__("pipelines.view_kernel")'
	@echo '$(EXTRAS)' > $(STAMP) && rm -f $(UNFINISHED)

bench: $(STAMP)
	$(BIN)/vicreg-fast bench --compare baseline $(ARGS)

# Few workers of one thread each: several processes of several OpenMP threads on few cores starve each other.
# The files are taken in the order that tests/conftest.py gives them, the long ones first.
test: export OMP_NUM_THREADS := 1
# Where it is set, no process keeps what pytest or Python compiles, and each worker compiles every test anew.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(STAMP)
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(STAMP)
	$(BIN)/mypy

layers: $(STAMP)
	$(BIN)/lint-imports

check: lint types layers test

clean:
	rm -rf $(VENV) $(UNFINISHED) build vicreg_fast.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
