# Every target sets up what it needs in $(VENV) by itself; a second run finds it done.
#
#   make test     unit, integration and acceptance tests
#   make lint     ruff (rules and formatting) and the direction of imports
#   make types    mypy, strict
#   make clean    remove what the targets made

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# What to test; nothing: all that pyproject.toml names.
TESTS ?=

.PHONY: setup
setup: $(INSTALLED)

# PYTHON may name an interpreter; else the newest one that is new enough is taken.
$(INSTALLED): pyproject.toml
	@is_new_enough='import sys; sys.exit(sys.version_info < (3, 11))'; found=; \
	for python in $${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3 python}; do \
	    if command -v "$$python" >/dev/null && "$$python" -c "$$is_new_enough" 2>/dev/null; then \
	        found=$$python; break; \
	    fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "cascade-batch needs Python 3.11 or newer, and none was found." >&2; \
	    echo "Install one, or name it: make PYTHON=/path/to/python3.12" >&2; \
	    exit 1; \
	fi; \
	"$$found" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

.PHONY: test
test: $(INSTALLED)
	$(BIN)/python -m pytest $(TESTS) $(PYTEST_ARGS)

.PHONY: lint
lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

.PHONY: types
types: $(INSTALLED)
	$(BIN)/mypy

.PHONY: clean
clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
