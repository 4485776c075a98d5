# Few commands, the same on a developer's machine and in CI.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench parity clean

# The stamp makes the environment again when what it installs changes.
$(VENV)/.installed: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --editable '.[all]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python -m examples.vader_tweets.demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Peers that the product does not need have an environment of their own.
.venv-bench/.installed: setup.py
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --upgrade pip
	.venv-bench/bin/python -m pip install --quiet --editable '.[all]' 'tensorflow-text==2.21.*'
	touch $@

bench: .venv-bench/.installed
	.venv-bench/bin/python -m benchmarks.tokenize

clean:
	rm -rf $(VENV) .venv-parity .venv-bench demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
