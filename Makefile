PYTHON ?= python3
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
JOBS ?= 2
export OMP_NUM_THREADS ?= 1

SOURCES := setup.py constraints.txt $(wildcard pyg_symbreak/csrc/*)

.PHONY: demo test lint docs resolve versions cpu wheels clean

# Predict the ferroelectric phases of BaTiO3 from the cubic one, every domain of each.
demo: .venv/run
	$(BIN)/python examples/batio3.py

test: .venv/test
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation site, in build/docs/index.html.
docs: .venv/docs
	$(BIN)/python -m sphinx -q -W --keep-going -d build/doctrees docs build/docs

# Whether constraints.txt can be installed by every Python on every platform.
resolve: .venv/test
	.ci/resolve

# The suite at the lowest and the newest versions of everything, on Python 3.10, 3.11 and 3.13: hours and 40 GB of downloads.
versions: .venv/test
	.ci/versions

# Before the others, on Linux without a GPU: torch without CUDA, a fifteenth of the download.
cpu: .venv/pyvenv.cfg
	$(BIN)/python -m pip install -q $(shell grep ^torch== constraints.txt) --index-url https://download.pytorch.org/whl/cpu

# Wheels of this platform for every Python, in dist/; on Linux with Docker.
wheels: .venv/pyvenv.cfg
	$(BIN)/python -m pip install -q --disable-pip-version-check cibuildwheel
	$(BIN)/cibuildwheel --output-dir dist

.venv/pyvenv.cfg:
	$(PYTHON) -m venv .venv

.venv/run: $(SOURCES) | .venv/pyvenv.cfg
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/test: $(SOURCES) | .venv/pyvenv.cfg
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@ .venv/run

.venv/docs: $(SOURCES) | .venv/pyvenv.cfg
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@ .venv/run

clean:
	rm -rf .venv build dist *.egg-info results pyg_symbreak/_native.*.so
