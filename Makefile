# Everything that people and CI type. `make demo` and `make test` work on a fresh machine with python3, pip and make.
PYTHON ?= python3
VENV ?= .venv
VENV_TL3 ?= .venv-tl3
BIN := $(VENV)/bin
# Small networks run fastest on one thread; two busy threads on a shared machine were 20 times slower.
export OMP_NUM_THREADS ?= 1
# Each of many processes would compile our modules anew where compiled ones are not kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-newest test-tl3 test-browser test-slow strength golden words compare check format claims docs \
	docs-gallery demo-checkpoint demo-models clean

demo: $(VENV)/installed
	$(BIN)/icl-probe --out icl-report.html
	@echo "open $(CURDIR)/icl-report.html in a browser"

# Three parts beside each other; .ci/beside shows each part's output in one piece and fails if one does.
test: $(VENV)/installed-dev
	$(BIN)/python .ci/beside.py "$(MAKE) test-newest" "$(MAKE) test-tl3" "$(MAKE) check"

test-newest: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not browser"

# What is not the same under the oldest TransformerLens that is supported: the class HookedTransformer, which 4.x no
# longer has, and what our models inherit: hooks, their names, caches, state dicts and loading. What a model computes in
# between is torch's and ours, and tested once.
TL3_TESTS = $(patsubst %,tests/icl_interp/models/test_%.py,lens lens_from linear_lens hooked hook_map hook_names \
	activation_cache cache_refusals quiet_answers model_families transformer softmax_layer) \
	$(patsubst %,tests/icl_interp/checkpoints/test_%.py,hooked_transformer_file dtsip timaeus own linear_families) \
	tests/icl_interp/models/open/test_language_models.py \
	tests/icl_interp/models/test_model_transforms.py::test_compiled_models_are_whole_graphs_whose_hooks_fire

test-tl3: $(VENV_TL3)/installed
	$(VENV_TL3)/bin/python -m pytest -m "not slow" $(TL3_TESTS)

# Reports and the manual in a real browser, the chromium on PATH; without one the tests skip and say so.
test-browser: $(VENV)/installed-browser
	$(BIN)/python -m pytest -m browser tests/icl_interp/browser

test-slow: check
	$(BIN)/python -m pytest -m "not browser"

# Whether the tests still catch faults that they are known to catch, one planted at a time; goes on where it stopped.
MINUTES ?= 40
strength: $(VENV)/installed-dev
	$(BIN)/python tests/strength.py --minutes $(MINUTES)

# The words of reports and help texts anew, in tests/golden and docs/glossary.md: to be read as a diff before they are committed.
golden: $(VENV)/installed-dev
	$(BIN)/python -m pytest -q --write-golden tests/icl_interp/report tests/icl_interp/cli tests/icl_interp/experiments

# Numbers of commands before and after a change: `make compare KEPT=folder` keeps them, called again it compares.
KEPT ?= kept-numbers
compare: $(VENV)/installed-dev
	$(BIN)/python tests/compare.py $(KEPT)

# Its records of other people's modules belong to the environment; they take four times as long as ours.
MYPY = $(BIN)/mypy --cache-dir $(VENV)/mypy

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(MYPY)
	$(BIN)/lint-imports
	$(BIN)/python .ci/words.py

# Wording that has to be read twice, by place, and what to write instead.
words: $(VENV)/installed-dev
	$(BIN)/python .ci/words.py

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The tables of claims in README and docs, from the summaries that `icl-reproduce NAME --preset laptop` left in examples/results.
claims: $(VENV)/installed
	$(BIN)/python -m icl_interp.experiments.claims_table README.md docs/results.md examples/results

# The manual as a site that opens from disk and asks the network for nothing. All pages are read anew, a warning is an error.
SITE = docs/_build/html
docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -b html -E -W --keep-going -q docs $(SITE)
	@echo "open $(CURDIR)/$(SITE)/index.html in a browser"

# The same with a report of every embedded model in it, which takes minutes.
docs-gallery: $(VENV)/installed-docs
	$(BIN)/python docs/_ext/gallery.py $(SITE)/gallery
	$(MAKE) docs

# Trains the embedded demo checkpoint again and records recipe, losses and manifest beside it.
demo-checkpoint: $(VENV)/installed
	rm -rf runs/demo
	$(BIN)/icl-train demo --out runs/demo
	cp runs/demo/checkpoints/step_00010000.pt icl_interp/data/demo.pt
	cp runs/demo/config.yaml icl_interp/data/demo_config.yaml
	cp runs/demo/metrics.jsonl icl_interp/data/demo_metrics.jsonl
	cp runs/demo/manifest.json icl_interp/data/demo_manifest.json

# Trains the other embedded models again, a quarter of an hour in all, and puts them beside it.
demo-models: $(VENV)/installed
	for one in zhang-lsa:lsa zhang-ltb:ltb sparse:sparse recurrence:recurrence memoriser:memoriser \
		generaliser:generaliser transience:transience:all; do set -e; \
		set -- $$(echo $$one | tr : ' '); rm -rf runs/$$2; $(BIN)/icl-train $$1 --out runs/$$2; \
		$(BIN)/python -m icl_interp.data.pack runs/$$2 $$2 $$3; \
	done

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@$(MYPY) .ci/typed.py > $(VENV)/mypy.log
	@touch $@ $(VENV)/installed

$(VENV)/installed-browser: $(VENV)/installed-dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[browser,docs]"
	@touch $@ $(VENV)/installed-docs

# With torch and our package, whose help and docstrings become pages: an environment of its own would hold both twice.
$(VENV)/installed-docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	@touch $@ $(VENV)/installed

$(VENV_TL3)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV_TL3)
	sed 's/^transformer-lens==.*/transformer-lens==3.9.0/' constraints.txt > $(VENV_TL3)/constraints.txt
	$(VENV_TL3)/bin/python -m pip install --quiet --no-compile --constraint $(VENV_TL3)/constraints.txt \
		--editable . pytest pytest-xdist beartype
	@PYTHONDONTWRITEBYTECODE= $(VENV_TL3)/bin/python -c "import beartype, jaxtyping, pytest, torch._dynamo, transformer_lens"
	@touch $@

clean:
	rm -rf $(VENV) $(VENV_TL3) runs docs/_build .mypy_cache .ruff_cache .pytest_cache
