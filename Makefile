# `make` lists what there is. Everything runs inside .venv/, which `make setup` builds.
SHELL := /bin/bash
PYTHON ?= python3
PORT ?= 3000
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export BENTOML_DO_NOT_TRACK := true

LOCKED := requirements/all.txt requirements/serving.txt

.DEFAULT_GOAL := help
.PHONY: help setup system run serve train presets experiments bench bench-faults bench-quality bench-modes test fuzz lint lock

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1|/' | column -t -s '|'

setup: .venv/.ready  ## build .venv (with uv where there is uv, with venv and pip where there is not)

.venv/.ready: requirements/all.txt pyproject.toml
	@PYTHON=$(PYTHON) bash requirements/install.sh
	@touch $@

system:  ## find or install what the tests drive: Chromium, nginx, Java, Node, curl
	@bash requirements/system.sh

run: setup  ## retrain if data, params or code changed, then serve on http://127.0.0.1:$(PORT)
	@dvc repro --quiet preprocess || { echo 'to serve models/generator.onnx as it is: make serve' >&2; exit 1; }
	@# A fresh clone has the model but not what led to it: what is current stays, what changed needs the stages before it.
	@if [ -f models/generator.pt ]; then dvc repro --quiet; else dvc repro --quiet --allow-missing || dvc repro; fi
	@$(MAKE) --no-print-directory serve

serve: setup  ## serve models/generator.onnx as it is
	@exec mint serve --port $(PORT)

# Values as they were written: make would look for variables in the $ of a path, and the shell for words.
train: override export SOURCE := $(value SOURCE)
train: override export RESOLUTION := $(value RESOLUTION)
train: override export CHANNELS := $(value CHANNELS)
train: override export MINUTES := $(value MINUTES)
train: override export PRESET := $(value PRESET)
train: export MAKE_VARIABLES := $(strip $(foreach name,$(.VARIABLES),$(if $(filter line,$(origin $(name))),$(name))))
train: setup  ## train, export and evaluate, with your images: SOURCE=path RESOLUTION=64 CHANNELS=3 MINUTES=15 PRESET=name
	@exec python -m training.experiment

presets: setup  ## list the presets, each with its source and what it shows
	@python -m training.presets

experiments: setup  ## the experiments of the sources, into reports/experiments (an hour on two cores)
	@dvc repro experiments/dvc.yaml

bench: setup  ## the service under load beside its rivals, in one run (needs wrk; on an otherwise idle machine)
	@python -m benchmarks.load

bench-faults: setup  ## overload, clients that vanish, SIGTERM and exchanged model files under load, attacks
	@for drill in overload clients drain swap under_attack; do python -m benchmarks.faults.$$drill || exit 1; done

bench-quality: setup  ## every recipe after the same tuning and training time (two hours on two idle cores)
	@python -m benchmarks.quality $(ARGS)

bench-modes: setup  ## mode coverage of the default and of plain DCGAN, tuned and not (three hours on two cores)
	@python -m benchmarks.modes $(ARGS)

# A file's tests share what is dear to start, so a file stays together, in the order of tests/conftest.py. One thread a
# process: the processes fill the cores.
test: setup system  ## run the whole test suite
	@OMP_NUM_THREADS=1 pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

fuzz: setup  ## 600 right and 600 wrong requests to each route that takes any, against the contract (make test tries a few)
	@MINT_FUZZ=600 pytest tests/serving/http/test_contract.py

lint: setup  ## format and rules, types, import boundaries, Dockerfile, lock files
	@ruff format --check .
	@ruff check .
	@mypy
	@lint-imports
	@hadolint Dockerfile
	@bash requirements/lock.sh --check

lock: setup  ## resolve pyproject.toml into requirements/*.txt again
	@bash requirements/lock.sh
