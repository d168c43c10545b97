PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1

SOURCES := setup.py constraints.txt $(wildcard pyg_symbreak/csrc/*)

.PHONY: demo test lint resolve versions clean

# Predict the ferroelectric phases of BaTiO3 from the cubic one, every domain of each.
demo: .venv/run
	$(BIN)/python examples/batio3.py

test: .venv/test
	$(BIN)/python -m pytest

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Whether constraints.txt can be installed by every Python on every platform.
resolve: .venv/test
	.ci/resolve

# The suite at the lowest and the newest versions of everything, on Python 3.10, 3.11 and 3.13: hours and 40 GB of downloads.
versions: .venv/test
	.ci/versions

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/run: $(SOURCES) | .venv/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/test: $(SOURCES) | .venv/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@ .venv/run

clean:
	rm -rf .venv build dist *.egg-info results pyg_symbreak/_native.*.so
