# Everything that people and CI type. `make demo` and `make test` work on a fresh machine with python3, pip and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Small networks run fastest on one thread; two busy threads on a shared machine were 20 times slower.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-slow check format demo-checkpoint clean

demo: $(VENV)/installed
	$(BIN)/icl-probe --out icl-report.html
	@echo "open $(CURDIR)/icl-report.html in a browser"

test: check
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-slow: check
	$(BIN)/python -m pytest

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Trains the embedded demo checkpoint again and records recipe, losses and manifest beside it.
demo-checkpoint: $(VENV)/installed
	rm -rf runs/demo
	$(BIN)/icl-train demo --out runs/demo
	cp runs/demo/checkpoints/step_00010000.pt icl_interp/data/demo.pt
	cp runs/demo/config.yaml icl_interp/data/demo_config.yaml
	cp runs/demo/metrics.jsonl icl_interp/data/demo_metrics.jsonl
	cp runs/demo/manifest.json icl_interp/data/demo_manifest.json

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) runs .mypy_cache .ruff_cache .pytest_cache
