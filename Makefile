# The one front door. Each target sets the environment up by itself: `make demo` and `make test` are all a fresh clone needs.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_STAMP := $(VENV)/.installed-demo
STAMP := $(VENV)/.installed

.PHONY: demo test check bench docs table1 localisation figure3 table2 audioset clean

demo: $(DEMO_STAMP)  ## the main job on made-up sounds
	$(BIN)/earmark demo --out demo

test: $(STAMP) check  ## everything tested
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --dist worksteal --durations=15

check: $(STAMP)  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## speed, on this machine, with nothing else running
	$(BIN)/python benchmarks/bench_metrics.py
	$(BIN)/python benchmarks/bench_training.py
	$(BIN)/python benchmarks/bench_loop.py
	$(BIN)/python benchmarks/bench_loading.py
	$(BIN)/python benchmarks/bench_heads.py
	$(BIN)/python benchmarks/bench_scale.py
	$(BIN)/python benchmarks/bench_recipes.py
	$(BIN)/python benchmarks/bench_inference.py

docs: $(VENV)/.installed-docs  ## the documentation site, into site/; a broken link is an error
	$(BIN)/python docs/make_cli.py
	$(BIN)/python docs/make_models.py
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --jobs auto -c docs -d build/doctrees . site

# Options go through ARGS, such as make table1 ARGS="--bank esc50:DIR --dry-run"; experiments/README.md lists all commands
table1: $(STAMP)  ## the paper's Table 1 and its ablations, on soundscapes from ./ESC-50, into ./table1
	$(BIN)/python -m experiments table1 $(ARGS)

localisation: $(STAMP)  ## how well the runs in ./table1 find when sounds happen
	$(BIN)/python -m experiments localisation $(ARGS)

figure3: $(STAMP)  ## the paper's Figure 3, from the runs in ./table1
	$(BIN)/python -m experiments figure3 $(ARGS)

table2: $(STAMP)  ## the paper's Table 2; ARGS="--report report.json" adds your own row
	$(BIN)/python -m experiments table2 $(ARGS)

audioset: $(STAMP)  ## all poolings on AudioSet's released features, into ./audioset; ARGS="FEATURES --strong STRONG"
	$(BIN)/python -m experiments audioset $(ARGS)

clean:
	rm -rf $(VENV) build dist site demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# PyTorch first and by itself, pinned by the constraints: where the package index also has a CPU build of that version
# (or TORCH_INDEX names one that has), pip takes it, and nothing drags in a newer one with several gigabytes of CUDA
TORCH_INDEX ?=
$(DEMO_STAMP): pyproject.toml constraints.txt  # only what the demo needs
	@echo "installing PyTorch and what the demo needs into $(VENV), about 1 GB"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[train,plot]'
	touch $(DEMO_STAMP)

$(STAMP): $(DEMO_STAMP)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[all,dev]'
	touch $(STAMP)

# The site needs no PyTorch: docstrings are read, not imported
$(VENV)/.installed-docs: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]'
	touch $@
