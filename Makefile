# Only Python >= 3.11 and make are needed: every target first builds .venv from requirements.lock, or from what LOCK names.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SOURCES := src tests benchmarks

export KEDRO_DISABLE_TELEMETRY := 1
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export PATH := $(abspath $(BIN)):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install install-scale hashes run test test-fast lint format viz mlflow results report-results clean

LOCK ?= requirements.lock
EXPERIMENTS ?= beauty-compare toys-compare ml-1m-compare beauty-table5 ml-100k-table5 beauty-diffusion
PROCESSES ?= 1

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

install: $(INSTALLED) ## Create .venv with the locked requirements and this project

$(INSTALLED): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, found " + sys.version.split()[0] + \
		"; name another one: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement $(LOCK)
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

install-scale: $(INSTALLED) ## Add Spark, Dask, and clients of PostgreSQL and S3: docs/scale.md (400 MB)
	$(BIN)/python -m pip install --quiet --requirement requirements-scale.lock

hashes: ## Write requirements-hashes.lock, the versions of requirements.lock for every platform (needs uv)
	uv pip compile pyproject.toml --extra dev --constraint requirements.lock --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --quiet --output-file requirements-hashes.lock

run: $(INSTALLED) ## Run a whole study on the embedded sample: seven rankers, five seeds, controls
	kedro run --pipeline=train_eval

test: $(INSTALLED) ## Run all tests, a process a core, each file in one of them
	OMP_NUM_THREADS=1 pytest --numprocesses=auto --dist=loadfile --durations=15

test-fast: $(INSTALLED) ## Run the tests that run no whole study
	OMP_NUM_THREADS=1 pytest --numprocesses=auto --dist=loadfile -m "not slow"

lint: $(INSTALLED) ## Check style, types and import contracts
	ruff check $(wildcard $(SOURCES))
	ruff format --check $(wildcard $(SOURCES))
	mypy
	lint-imports

format: $(INSTALLED) ## Format the code and apply safe fixes
	ruff check --fix $(wildcard $(SOURCES))
	ruff format $(wildcard $(SOURCES))

viz: $(INSTALLED) ## Look at the pipeline and its results in the browser
	kedro viz run

mlflow: $(INSTALLED) ## Compare runs in the MLflow UI
	kedro mlflow ui --env=sample

results: $(INSTALLED) ## Fit the next missing cells of EXPERIMENTS, PROCESSES at once, until none is missing
	for experiment in $(EXPERIMENTS); do \
		kedro run --pipelines=ingestion,preprocessing,export --env=$$experiment --only-missing-outputs && \
		python -m diffurecsys.remote data/05_model_input/$$experiment/split.npz data/05_model_input/$$experiment/cells.json \
			docs/results/cells/$$experiment --processes $(PROCESSES) || exit 1; \
	done

report-results: $(INSTALLED) ## Tests, tables and reports of EXPERIMENTS from their finished cells, without training
	for experiment in $(EXPERIMENTS); do \
		kedro run --pipeline=train_eval --env=$$experiment --params=study.unfinished=leave_out || exit 1; \
	done

clean: ## Remove everything that runs produced, except downloaded archives
	find data -mindepth 2 -not -path 'data/01_raw/*' -not -name .gitkeep -delete
