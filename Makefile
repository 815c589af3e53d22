# Each target is a script or one command that can be run by hand; `setup` does nothing once it is done.
PYTHON ?= python3.11
BIN := .venv/bin
JOBS ?= 2

.PHONY: setup demo bench docs test test-slow test-modern coverage mutants fuzz lint

setup:
	@PYTHON="$(PYTHON)" scripts/setup.sh

demo: setup
	@scripts/demo.sh

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -m "not slow"

# What trains or builds something: tutorials, mim's commands, fresh environments.
test-slow: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -m slow

# The same tests beside the newest PyTorch, NumPy and OpenCV; needs CPython 3.12.
test-modern:
	@scripts/setup_modern.sh
	.venv-modern/bin/python -m pytest

# Lines of sgpose that the tests run, also in the processes that they start.
coverage: setup test-tools
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

# Small changes of the code, made in build/mutation, each of which a test should notice; takes long.
mutants: setup test-tools
	$(BIN)/python scripts/mutants.py

# Inputs of any kind, two minutes for each target.
fuzz: setup
	$(BIN)/python scripts/fuzz.py --seconds 120

.PHONY: test-tools
test-tools: setup
	@$(BIN)/python scripts/satisfied.py requirements/judges.txt || \
	  $(BIN)/python -m pip install --quiet --constraint requirements/constraints.txt -r requirements/judges.txt

# The site, build/site/index.html; any warning is an error.
docs: setup
	@$(BIN)/python scripts/satisfied.py requirements/docs.txt || \
	  $(BIN)/python -m pip install --quiet --constraint requirements/constraints.txt -r requirements/docs.txt
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -c docs -b html . build/site

# Two runs of the benchmark, whose tables docs/benchmark/README.md shows; on a quiet machine.
bench: setup
	$(BIN)/python -m benchmarks --run 1 --fresh
	$(BIN)/python -m benchmarks --run 2 --fresh

lint: setup
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
