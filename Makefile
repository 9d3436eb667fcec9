# `make run` trains the quick-start model, `make test` runs the tests; both need Python 3.10 to 3.13 and nothing else.

# The first that runs: a name on the path may stand for a version that is not installed.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.10 python3; do \
  $$name -c '' 2>/dev/null && { echo $$name; break; }; done)
comma := ,
# A Python that is named has an environment of its own, such as .venv-3.13, where .venv is that of another one.
version = $(shell $(1) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
ifndef VENV
  VENV := .venv
  ifneq ($(filter command environment,$(origin PYTHON)),)
    named := $(or $(call version,$(PYTHON)),$(error $(PYTHON), the PYTHON that is named, does not run))
    there := $(or $(call version,.venv/bin/python),$(named))
    VENV := .venv$(addprefix -,$(filter-out $(there),$(named)))
  endif
endif
# oldest.txt has the oldest versions of what is installed; give it a VENV of its own.
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
GPUS := $(wildcard /proc/driver/nvidia/gpus/*)
EXTRAS := dev$(if $(GPUS),$(comma)gpu)

.PHONY: help install run demo test lint slow-test wheel-test gpu-test gpu-benchmark docs docs-serve clean

help:  ## Shows this list.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(INSTALLED): $(CONSTRAINTS) pyproject.toml
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.10, 3.11, 3.12 or 3.13 is needed, not $(or $(PYTHON),none); try make PYTHON=/path/to/python3.12" >&2; \
	    exit 1; }
	@# What is there is kept, if it is whole.
	$(BIN)/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv $(VENV)
	@# Without setuptools' general advice on editable installations.
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[$(EXTRAS)]'
	@touch $@

install: $(INSTALLED)  ## Creates the virtual environment.

run: $(INSTALLED)  ## Trains the quick-start model, three to six minutes on two cores.
	$(BIN)/glow train --flagfile=quickstart

demo: $(INSTALLED)  ## Opens the demo of the pretrained model in the browser.
	$(BIN)/glow demo

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --diff .
	$(BIN)/vermin glow_tf tools tests docs/hooks

ALL_CORES := -n auto --dist loadfile --no-loadscope-reorder

# A file of tests stays in one process: its tests share what they set up. Files with few tests are not left for the end:
# some of them take longest. A hang outside Python, which no signal interrupts, ends the run.
test: lint  ## Runs the linters and the tests, on all cores, in six to fifteen minutes on two.
	$(BIN)/python -m pytest -q $(ALL_CORES) -o faulthandler_timeout=360 -o faulthandler_exit_on_timeout=true

slow-test: $(INSTALLED)  ## Runs the tests marked slow, on all cores, in some hours.
	$(BIN)/python -m pytest -q -m slow $(ALL_CORES)

wheel-test: $(INSTALLED)  ## Builds the wheel and uses it in a new environment and folder, in some minutes.
	$(BIN)/python -m pytest -q -m slow tests/test_wheel.py

# Otherwise all tests would be skipped.
CHECK_GPU = $(BIN)/python -c 'import sys, tensorflow as tf; \
  sys.exit(None if tf.config.list_physical_devices("GPU") else "TensorFlow sees no GPU. If this machine has one: \
  rm $(INSTALLED) && make install EXTRAS=dev,gpu")'
# So many processes share the GPU, and with them the time to trace and compile; a small one may have memory for fewer.
GPU_PROCESSES ?= 6
gpu-test: $(INSTALLED)  ## Runs the tests that need an NVIDIA GPU, and others on it, in five minutes.
	@$(CHECK_GPU)
	@# On one GPU, as not every number of them divides the batches of the tests.
	CUDA_VISIBLE_DEVICES=$${CUDA_VISIBLE_DEVICES:-0} $(BIN)/python -m pytest -q -rs --gpu \
	  -n $(GPU_PROCESSES) --dist loadfile --no-loadscope-reorder \
	  tests/models/test_gradients.py tests/gpu tests/bijectors/test_conformance.py tests/models/test_golden.py

gpu-benchmark: $(INSTALLED)  ## Measures training, samples and memory on an NVIDIA GPU, in eight minutes; docs/gpu.*
	$(BIN)/python -m tools.gpu_benchmark

DOCS_INSTALLED := $(VENV)/.docs_installed

$(DOCS_INSTALLED): $(INSTALLED) pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@

# Without the advertisement of another program.
docs docs-serve: export NO_MKDOCS_2_WARNING := 1

docs: $(DOCS_INSTALLED)  ## Builds the documentation into site/, which is read without a network.
	$(BIN)/mkdocs build --strict

docs-serve: $(DOCS_INSTALLED)  ## Shows the documentation in the browser, and what changes in it.
	$(BIN)/mkdocs serve --open

clean:  ## Removes the virtual environment and caches; keeps runs/.
	rm -rf $(VENV) .venv-* .pytest_cache .ruff_cache .hypothesis *.egg-info build dist site
