# The interpreter to set up with, 3.11 or newer: make run PYTHON=python3.12
PYTHON ?= python3
# Passed on: make test ARGS="-k postgres", make run ARGS="--conf '{\"rows\": 50}'"
ARGS ?=
# Where make ui listens, on 127.0.0.1
PORT ?= 8080

VENV := .venv
READY := $(VENV)/ready
HASHED := deploy/requirements-hashed.txt

.DEFAULT_GOAL := help
.PHONY: setup run test ui bench quality soak cluster-test check fix hashes clean help

setup: $(READY) ## Set up .venv; every target below does so first

run: $(READY) ## Run the DAG once on a new batch and print its report
	@$(VENV)/bin/python dev/run.py $(ARGS)

test: $(READY) ## Run all tests
	@$(VENV)/bin/python -m pytest $(ARGS)

ui: $(READY) ## Airflow's UI and scheduler on 127.0.0.1:8080, until Ctrl-C
	@PORT=$(PORT) $(VENV)/bin/python dev/ui.py

soak: $(READY) ## Many runs with random kills, nothing lost? (hours; short: ARGS="--runs 5 --rows 50 --existing 500")
	@$(VENV)/bin/python dev/soak.py $(ARGS)

cluster-test: $(READY) ## Two Celery workers, one of them killed: the same result as on one machine?
	@$(VENV)/bin/python dev/cluster.py $(ARGS)

bench: $(READY) ## Measure speed and memory
	@$(VENV)/bin/python dev/bench.py $(ARGS)

quality: $(READY) ## Measure how well duplicates are found, beside other tools
	@$(VENV)/bin/python dev/quality.py $(ARGS)

check: $(READY) ## Check style and types, change nothing
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy

fix: $(READY) ## Fix what can be fixed by itself
	@$(VENV)/bin/ruff check --fix . ; $(VENV)/bin/ruff format .

hashes: $(READY) ## Write deploy/requirements-hashed.txt anew, after a change of versions
	@$(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --no-strip-extras --generate-hashes --no-annotate --no-header \
	  --no-emit-package colorama --no-emit-package pywin32 -c constraints.txt -o $(HASHED).new \
	  requirements.txt deploy/requirements-celery.txt deploy/requirements-kubernetes.txt deploy/requirements-s3.txt
	@{ echo "# What requirements.txt and deploy/requirements-*.txt bring along, for pip install --no-deps --require-hashes. Made by: make hashes"; \
	  cat $(HASHED).new; } > $(HASHED) && rm $(HASHED).new

clean: ## Stop the embedded Postgres and remove everything that make has made, the people included
	@if [ -x $(VENV)/bin/python ]; then $(VENV)/bin/python dev/postgres.py remove; fi
	@rm -rf $(VENV) .airflow .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find dags dev plugins tests -name __pycache__ -prune -exec rm -rf {} +

help: ## Show this help
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile

$(READY): requirements.txt dev/requirements.txt deploy/requirements-celery.txt deploy/requirements-s3.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; $(PYTHON) is not. Name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Setting up $(VENV) from requirements.txt and dev/requirements.txt (a few minutes, once) ..." >&2
	@$(PYTHON) dev/setup.py $(VENV)
	@touch $@
