# Everything a person types. Each target makes the environment that it needs, once: a fresh clone
# needs Python 3.11+ and nothing else (a C compiler makes the codec fast, but is optional).
#
#   make demo         a catalog on this machine, archived on workers, read back, reported and drawn
#   make test         ruff, mypy and the tests that take minutes at most
#   make test-all     every test, and more random examples of each
#   make test-train   tests that need compressai and terracodec, in an environment of their own
#   make test-numpy1  the tests of `make test` with numpy 1.26, in that same environment
#   make test-min     tests of what needs no torch, with the lowest versions that are allowed
#   make test-latest  the same with the newest, pre-releases included
#   make test-gpu     on a machine with a GPU: the same streams as on the CPU, speed and memory
#   make fuzz         a minute and a half of coverage-guided fuzzing; longer: ARGS="--seconds 3600"
#   make bench        speed and memory against other codecs
#   make bench-train  the same with TerraCodec's FP, in the environment of test-train
#   make bench-rd     rate and distortion against other codecs
#   make notebooks    execute the notebooks, and write them with their output beside their sources
#   make docs         build the documentation into build/docs; warnings are errors
#   make clean        remove everything that these targets made

# The first interpreter on the PATH that is new enough. Override: make PYTHON=/path/to/python test
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# torch comes first and by exact version: a plain "torch" takes the newest build with gigabytes of
# CUDA libraries, and once this one is there the requirement in pyproject.toml is already met.
# It is for development only; users install whatever torch suits them. Override: make TORCH=...
TORCH ?= torch==2.13.0
# Options for pytest: make test ARGS="-k sensors -x"
ARGS ?=
# Processes that share the tests, a file at a time (tests/conftest.py puts the long ones first), and
# notebooks that are executed at a time.
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
SHARED := -n $(JOBS) --maxprocesses 8 --dist loadfile --no-loadscope-reorder

VENV := .venv
TRAIN := .venv-train
BIN := $(VENV)/bin
# What is installed depends on these; a change of any of them installs again.
INPUTS := pyproject.toml setup.py $(wildcard tec_numcodecs/_csrc/*.[ch])
# Errors only: what a missing compiler means is said by .ci/check_native.py.
PIP := -m pip --disable-pip-version-check --quiet --quiet
PACKAGES := $(wildcard tec_numcodecs tec_xarray)

.DEFAULT_GOAL := help
.PHONY: help demo lint test test-all test-train test-numpy1 test-min test-latest test-gpu fuzz bench bench-train bench-rd notebooks docs clean

help:
	@sed -n 's/^#   make/  make/p' Makefile

# torch is not needed for any of it: the environment is a third of what tests need.
demo: $(VENV)/.installed-demo
	@$(BIN)/python -m tec_xarray.demo

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/mypy $(PACKAGES)

test: lint
	$(BIN)/python -m pytest -m "not slow and not train" $(SHARED) $(ARGS)

test-all: lint
	$(BIN)/python -m pytest -m "not train" --hypothesis-profile=thorough \
		-o faulthandler_timeout=7200 $(ARGS)

# pytest's exit code 5 means that nothing was selected, which is no failure of what exists.
test-train: $(TRAIN)/.installed
	$(TRAIN)/bin/python -m pytest -m train $(ARGS) || [ $$? -eq 5 ]

test-numpy1: $(TRAIN)/.installed
	$(TRAIN)/bin/python -m pytest -m "not slow and not train" $(SHARED) $(ARGS)

# Rooms whose tests import no torch. What breaks with other versions is what touches Zarr and xarray.
TORCHLESS := tests/archive tests/xarray tests/codec/test_zarr.py tests/codec/test_sensors.py
test-min: .venv-min/.installed
	.venv-min/bin/python -m pytest -m "not slow and not train" $(SHARED) $(TORCHLESS) $(ARGS)

test-latest: .venv-latest/.installed
	.venv-latest/bin/python -m pytest -m "not slow and not train" $(SHARED) $(TORCHLESS) $(ARGS)

# Five minutes on a machine with a GPU and a torch that reaches it: make test-gpu PYTHON_GPU=python3
PYTHON_GPU ?= $(BIN)/python
test-gpu:
	PYTHONPATH="$(CURDIR)" $(PYTHON_GPU) -m benchmarks.gpu $(ARGS)

# Where there is no wheel of atheris for the Python in use, `make test` still replays the corpus.
fuzz: $(VENV)/.installed-fuzz
	$(BIN)/python tests/fuzz/run.py $(ARGS)

bench: $(VENV)/.installed-bench
	$(BIN)/python benchmarks/entropy_coder.py
	$(BIN)/python -m benchmarks.speed $(ARGS)

bench-train: $(TRAIN)/.installed-bench
	$(TRAIN)/bin/python -m benchmarks.speed --terracodec $(ARGS)

# The scene in the package. Others: make bench-rd ARGS="--split val --data DIR"
bench-rd: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.rd $(ARGS)

# Each in a directory of its own below build/notebooks, which is emptied before; the notebook with
# its output is written beside its source.
SOURCES := $(wildcard notebooks/*.py)
notebooks: $(VENV)/.installed-notebooks
	rm -rf build/notebooks && mkdir -p $(SOURCES:notebooks/%.py=build/notebooks/%)
	printf '%s\n' $(SOURCES:notebooks/%.py=%) | PYTHONPATH="$(CURDIR)" xargs -P $(JOBS) -I {} \
		$(BIN)/jupytext --to notebook --execute --run-path build/notebooks/{} notebooks/{}.py

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# One line a step, with what it puts on the disk; pip itself says errors only.
define SIZE
du -sm $(VENV) | { read size rest; echo "      $(VENV) holds $$size MB now"; }
endef

# pip 25.1 is the first that knows dependency groups.
$(VENV)/.pip:
	@test -n "$(PYTHON)" || { echo "tec needs Python 3.11 or newer on the PATH"; exit 1; }
	@echo "make: an environment in $(VENV), of $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(PIP) install --upgrade "pip>=25.1"
	@touch $@

$(VENV)/.installed-demo: $(INPUTS) | $(VENV)/.pip
	@echo "make: installing tec-xarray, and what the demo needs: about 200 MB to download, a minute or more"
	@$(BIN)/python $(PIP) install --editable ".[complete,catalog]"
	@$(SIZE)
	@$(BIN)/python .ci/check_native.py
	@touch $@

$(VENV)/.installed: $(INPUTS) | $(VENV)/.pip
	@echo "make: installing $(TORCH): about 200 MB to download, 800 MB on the disk"
	@$(BIN)/python $(PIP) install "$(TORCH)"
	@$(SIZE)
	@echo "make: installing tec-xarray, and what tests need: about 300 MB to download, some minutes"
	@$(BIN)/python $(PIP) install --group lint --editable ".[test]"
	@$(SIZE)
	@$(BIN)/python .ci/check_native.py
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(BIN)/python $(PIP) install --group bench
	@touch $@

$(VENV)/.installed-fuzz: $(VENV)/.installed
	$(BIN)/python $(PIP) install --group fuzz && touch $@ || echo "atheris could not be installed"

$(VENV)/.installed-notebooks: $(VENV)/.installed
	$(BIN)/python $(PIP) install --editable ".[notebooks]" --group bench
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/python $(PIP) install --group docs
	@touch $@

# pytest and what tests start; no torch.
TOOLS := "pytest>=9" "pytest-xdist>=3.6" "hypothesis>=6.120" "scipy>=1.12" "jsonschema>=4.18"
.venv-min/.installed: $(INPUTS) .ci/minimum.py
	$(PYTHON) -m venv .venv-min
	$(PYTHON) .ci/minimum.py > .venv-min/constraints.txt
	.venv-min/bin/python $(PIP) install --upgrade "pip>=25.1"
	.venv-min/bin/python $(PIP) install -c .venv-min/constraints.txt $(TOOLS) --editable ".[complete]"
	@touch $@

.venv-latest/.installed: $(INPUTS)
	$(PYTHON) -m venv .venv-latest
	.venv-latest/bin/python $(PIP) install --upgrade "pip>=25.1"
	.venv-latest/bin/python $(PIP) install --pre --upgrade $(TOOLS) --editable ".[complete]"
	@touch $@

# compressai caps numpy below 2, and it and terracodec import torchvision. The registry's torchvision
# wheel for Linux is a CUDA build: with a CPU build of torch it installs but does not import. Only
# its pure Python half is used here, so .ci/torchvision_on_cpu.py, put into this environment only,
# declares the two operators whose absence stops the import. Nothing is stubbed or left out.
# Of TerraTorch only the registry's own files are tested. They lie beside the environment's packages,
# as none of the 135 is there that importing all of it needs.
$(TRAIN)/.installed: $(INPUTS) .ci/torchvision_on_cpu.py
	@test -n "$(PYTHON)" || { echo "tec needs Python 3.11 or newer on the PATH"; exit 1; }
	$(PYTHON) -m venv $(TRAIN)
	$(TRAIN)/bin/python $(PIP) install --upgrade "pip>=25.1"
	$(TRAIN)/bin/python $(PIP) install "$(TORCH)"
	$(TRAIN)/bin/python $(PIP) install --group oracle --editable ".[train,test]"
	$(TRAIN)/bin/python .ci/torchvision_on_cpu.py
	$(TRAIN)/bin/python $(PIP) install --no-deps --target $(TRAIN)/terratorch terratorch==1.2.13
	$(TRAIN)/bin/python -c "import compressai, terracodec"
	@touch $@

# Both groups together, or pip forgets that compressai needs numpy < 2.
$(TRAIN)/.installed-bench: $(TRAIN)/.installed
	$(TRAIN)/bin/python $(PIP) install --group oracle --group bench
	@touch $@

clean:
	rm -rf $(VENV) $(TRAIN) .venv-min .venv-latest build dist *.egg-info demo-output
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f tec_numcodecs/_native*.so tec_numcodecs/_native*.pyd
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
