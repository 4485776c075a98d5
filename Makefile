# Few commands, the same on a developer's machine and in CI.
PYTHON ?= python3
VENV := .venv
SHELL := /bin/bash
BIN := $(VENV)/bin

.PHONY: demo test coverage constraints soak lint bench parity clean

# The stamp makes the environment again when what it installs changes.
$(VENV)/.installed: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --editable '.[all]'
	$(BIN)/python -m pip install --quiet --no-deps 'bert4keras==0.11.5'  # only tests use it; it asks for Keras 2.3
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python -m examples.vader_tweets.demo

# Two workers; each takes neighbouring tests, which share what they train.
test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist worksteal

# Branch coverage of what runs without training: measuring slows tracing by a third.
# `make coverage COVERED=tests` is for all.
COVERED ?= tests/config tests/data tests/metrics tests/serving/client
coverage: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term --no-header -q $(COVERED)

# The versions of everything that the tests ran with: pip install --constraint constraints.txt ...
constraints: $(VENV)/.installed
	$(BIN)/python -m pip freeze --exclude-editable | grep -v -e ' @ ' -e '^bert4keras' > constraints.txt

# Long fault tests; a short form of each is in `make test`.
soak: $(VENV)/.installed
	$(BIN)/python -m pytest -m soak -o timeout=7200

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Peers that the product does not need have an environment of their own.
.venv-bench/.installed: setup.py
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --upgrade pip
	.venv-bench/bin/python -m pip install --quiet --editable '.[all]' 'tensorflow-text==2.21.*' 'keras-hub==0.32.*'
	touch $@

# torch is two gigabytes; transformers 4.57 is the last that reads Google's checkpoints.
.venv-parity/.installed: setup.py
	$(PYTHON) -m venv .venv-parity
	.venv-parity/bin/python -m pip install --quiet --upgrade pip
	.venv-parity/bin/python -m pip install --quiet --editable '.[train]' \
		'torch==2.13.*' 'pytest>=9.1' 'pytest-xdist>=3.8' 'pytest-timeout>=2.4' 'hypothesis>=6.170'
	.venv-parity/bin/python -m pip install --quiet --no-deps \
		'transformers==4.57.*' 'tokenizers==0.22.*' 'huggingface_hub==0.36.*'  # older than the extra asks for
	touch $@

parity: .venv-parity/.installed
	.venv-parity/bin/python -m pytest tests/parity
	.venv-parity/bin/python -m tests.parity.goldens

# The peer in PyTorch has the other environment, and one run of its own.
# The table is kept in docs/benchmarks.md.
BENCHMARKS := tokenize client load data prepare decode report train
bench: .venv-bench/.installed .venv-parity/.installed
	rm -f bench.jsonl
	set -eo pipefail; for name in $(BENCHMARKS); do .venv-bench/bin/python -m benchmarks.$$name | tee -a bench.jsonl; done
	.venv-parity/bin/python -m benchmarks.train | tee -a bench.jsonl
	.venv-bench/bin/python -m benchmarks.table bench.jsonl --to docs/benchmarks.md

clean:
	rm -rf $(VENV) .venv-parity .venv-bench demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage bench.jsonl
