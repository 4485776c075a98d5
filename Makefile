# Few commands, the same on a developer's machine and in CI.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test soak lint bench parity clean

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

# Long fault tests; a short form of each is in `make test`.
soak: $(VENV)/.installed
	$(BIN)/python -m pytest -m soak

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
		'torch==2.13.*' 'pytest>=9.1' 'pytest-xdist>=3.8' 'hypothesis>=6.170'
	.venv-parity/bin/python -m pip install --quiet --no-deps \
		'transformers==4.57.*' 'tokenizers==0.22.*' 'huggingface_hub==0.36.*'  # older than the extra asks for
	touch $@

parity: .venv-parity/.installed
	.venv-parity/bin/python -m pytest tests/parity
	.venv-parity/bin/python -m tests.parity.goldens

# The peer in PyTorch has the other environment, and one run of its own.
bench: .venv-bench/.installed .venv-parity/.installed
	.venv-bench/bin/python -m benchmarks.tokenize
	.venv-bench/bin/python -m benchmarks.client
	.venv-bench/bin/python -m benchmarks.load
	.venv-bench/bin/python -m benchmarks.data
	.venv-bench/bin/python -m benchmarks.prepare
	.venv-bench/bin/python -m benchmarks.decode
	.venv-bench/bin/python -m benchmarks.report
	.venv-bench/bin/python -m benchmarks.train
	.venv-parity/bin/python -m benchmarks.train

clean:
	rm -rf $(VENV) .venv-parity .venv-bench demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
