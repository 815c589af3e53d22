# Each target is a script or one command that can be run by hand; `setup` does nothing once it is done.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: setup demo test test-modern lint

setup:
	@PYTHON="$(PYTHON)" scripts/setup.sh

demo: setup
	@scripts/demo.sh

test: setup
	$(BIN)/python -m pytest

# The same tests beside the newest PyTorch, NumPy and OpenCV; needs CPython 3.12.
test-modern:
	@scripts/setup_modern.sh
	.venv-modern/bin/python -m pytest

lint: setup
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
