# make demo | test | ui need nothing but Python 3.11+.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Of every test process, since there is one per core already.
# DuckDB knows the last by the name that a batch system gives it.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 POLARS_MAX_THREADS=1 SLURM_CPUS_ON_NODE=1

.DEFAULT_GOAL := help
.PHONY: help demo check-demo test ui lint docs bench clean

help:  ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/installed  ## Run the whole pipeline on the committed sample
	$(BIN)/evalcov demo

check-demo: $(VENV)/installed  ## Check what `make demo` left against what the README promises
	$(BIN)/evalcov doctor
	DEMO_HOME="$${EVALCOV_HOME:-data}" $(BIN)/python -m pytest evalcov_pipeline_tests/check_demo.py

test: $(VENV)/installed lint  ## Lint, type check and test
	$(ONE_THREAD) $(BIN)/python -m pytest -m 'not slow' -n auto --dist worksteal

lint: $(VENV)/installed  ## Lint and type check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

docs: $(VENV)/installed  ## Write the pages of docs/ that are made from the code
	$(BIN)/python docs/generate.py

bench: $(VENV)/installed  ## Print the figures in docs/ (DATA=folder of real data; an hour or two)
	$(BIN)/python -m benchmarks $(if $(DATA),--data $(DATA))

ui: $(VENV)/installed  ## Dagster's UI on http://127.0.0.1:3000
	$(BIN)/evalcov ui

clean:  ## Remove the virtual environment
	rm -rf $(VENV)
