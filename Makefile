# Few commands, the same on a developer's machine and in CI.
PYTHON ?= python3
VENV := .venv
SHELL := /bin/bash
BIN := $(VENV)/bin

.PHONY: demo test coverage constraints soak lint bench parity clean

# The environment is made again when setup.py changes.
$(VENV)/.installed: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --editable '.[all]'
	# Only tests use bert4keras. It requires Keras 2.3, hence --no-deps.
	$(BIN)/python -m pip install --quiet --no-deps 'bert4keras==0.11.5'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python -m examples.vader_tweets.demo

# Two workers. Each takes neighbouring tests, because these share trained runs.
test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist worksteal

# Branch coverage of the tests that do not train, because measuring slows tracing by a third.
# `make coverage COVERED=tests` covers all tests.
COVERED ?= tests/config tests/data tests/metrics tests/serving/client
coverage: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not soak and not large' --cov --cov-report=term --no-header -q $(COVERED)

# The versions of all packages that the tests ran with: pip install --constraint constraints.txt ...
constraints: $(VENV)/.installed
	$(BIN)/python -m pip freeze --exclude-editable | grep -v -e ' @ ' -e '^bert4keras' > constraints.txt

# Long fault-tolerance tests. `make test` has a short form of each. Then hypothesis' tests, with examples that
# are different each time.
soak: $(VENV)/.installed
	$(BIN)/python -m pytest -m soak -o timeout=7200
	$(BIN)/python -m pytest -m 'hypothesis and not soak' --hypothesis-profile=random -o timeout=7200

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Benchmarks compare with packages that this one does not need, in an environment of their own.
.venv-bench/.installed: setup.py
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --upgrade pip
	.venv-bench/bin/python -m pip install --quiet --editable '.[all]' \
		'tensorflow-text==2.21.*' 'keras-hub==0.32.*' 'onnx==1.23.*' 'onnxruntime==1.32.*'
	touch $@

# An environment of its own: torch takes two gigabytes, and transformers 4.57 is the last version that
# reads Google's checkpoints.
.venv-parity/.installed: setup.py
	$(PYTHON) -m venv .venv-parity
	.venv-parity/bin/python -m pip install --quiet --upgrade pip
	.venv-parity/bin/python -m pip install --quiet --editable '.[train]' \
		'torch==2.13.*' 'pytest>=9.1' 'pytest-xdist>=3.8' 'pytest-timeout>=2.4' 'hypothesis>=6.170' 'captum==0.9.*'
	.venv-parity/bin/python -m pip install --quiet --no-deps \
		'transformers==4.57.*' 'tokenizers==0.22.*' 'huggingface_hub==0.36.*' 'peft==0.21.*' 'accelerate==1.*'
	touch $@

parity: .venv-parity/.installed
	.venv-parity/bin/python -m pytest tests/parity
	.venv-parity/bin/python -m tests.parity.goldens

# The comparison with PyTorch needs the parity environment, so it runs last and on its own.
# The results are written to the table in docs/benchmarks.md.
BENCHMARKS := tokenize client load data prepare decode generate report search infer infer_served serve warmup export int8 peft peft_train train
bench: .venv-bench/.installed .venv-parity/.installed
	rm -f bench.jsonl
	set -eo pipefail; for name in $(BENCHMARKS); do \
		.venv-bench/bin/python -m benchmarks.$$name | tee -a bench.jsonl; \
	done
	.venv-parity/bin/python -m benchmarks.train | tee -a bench.jsonl
	.venv-bench/bin/python -m benchmarks.table bench.jsonl --to docs/benchmarks.md

clean:
	rm -rf $(VENV) .venv-parity .venv-bench demo build dist *.egg-info bench.jsonl
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
