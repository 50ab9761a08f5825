# make demo: the main job on an embedded default      make test: the whole suite      make lint: style, types, layers
#
# Everything lives in $(VENV), made on first use and again whenever pyproject.toml or constraints.txt changes.
#   make demo PIP_ARGS="--extra-index-url ..."   another place for pip to look, for a machine that takes another build of torch
#   make demo CONSTRAINTS=                       the newest versions instead of the pinned ones (a machine with a GPU)
#   make demo PYTHON=python3.12                  another interpreter, 3.11 or later

PYTHON      ?= python3
VENV        ?= .venv
CONSTRAINTS ?= constraints.txt
PIP_ARGS    ?=
PYTEST_ARGS ?=

BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile $(PIP_ARGS) $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
SOURCES := pyproject.toml $(CONSTRAINTS) $(VENV)/.python
# What tests and benchmarks compare with; their own requirements would bring old or GPU-only packages, and they need none of them here.
ORACLES := the-well torch-cfd azula

# Read when torch loads: bounded spinning where cores are shared, huge pages for large tensors.
export GOMP_SPINCOUNT ?= 10000
export THP_MEM_ALLOC_ENABLE ?= 1
export SURROGATES_DATA ?= $(CURDIR)/data

.PHONY: demo test slow coverage lint format docs speed clean
.DELETE_ON_ERROR:

demo: $(VENV)/.core
	$(BIN)/surrogates demo

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow" --nbmake $(PYTEST_ARGS)

slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

coverage: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow" --cov --cov-report=term $(PYTEST_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

speed: $(VENV)/.dev
	@for script in $(filter-out %/timing.py,$(wildcard benchmarks/speed/*.py)); do echo "$$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) dist build docs/_build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage*

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "surrogates needs Python 3.11 or later and '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
	       "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu it takes the package python3-venv." >&2; exit 1; }
	@touch $@

$(VENV)/.core: $(SOURCES)
	@echo "installing surrogates into $(VENV) (about a minute)"
	@$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(SOURCES)
	@echo "installing surrogates with everything the tests need into $(VENV) (about two minutes)"
	@$(PIP) -e ".[dev,dist,eval,io,log,sphere]"
	@$(PIP) --no-deps $(ORACLES)
	@touch $(VENV)/.core $@

$(VENV)/.docs: $(VENV)/.core
	@$(PIP) -e ".[docs]"
	@touch $@
