# `make` lists the commands. They run inside .venv/, which `make setup` builds.
SHELL := /bin/bash
PYTHON ?= python3
PORT ?= 3000
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export BENTOML_DO_NOT_TRACK := true

LOCKED := requirements/all.txt requirements/serving.txt

.DEFAULT_GOAL := help
.PHONY: help setup system run serve train promote rollback compare runs presets experiments bench bench-faults bench-quality bench-photos bench-modes bench-doctor test fuzz lint lock

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1|/' | column -t -s '|'

setup: .venv/.ready  ## build .venv (with uv if it is installed, otherwise with venv and pip)

.venv/.ready: requirements/all.txt requirements/no-deps.txt pyproject.toml
	@PYTHON=$(PYTHON) bash requirements/install.sh
	@touch $@

system:  ## find or install the programs that tests need: Chromium, nginx, Java, Node, curl
	@bash requirements/system.sh

run: setup  ## retrain if data, params or code changed, then serve on http://127.0.0.1:$(PORT)
	@dvc repro --quiet preprocess || { echo 'to serve models/generator.onnx as it is: make serve' >&2; exit 1; }
	@# A fresh clone has the model but no intermediate files: reuse it if nothing changed, otherwise run the earlier stages too.
	@if [ -f models/generator.pt ]; then dvc repro --quiet; else dvc repro --quiet --allow-missing || dvc repro; fi
	@$(MAKE) --no-print-directory serve

serve: setup  ## serve models/generator.onnx as it is
	@exec mint serve --port $(PORT)

# Unexpanded, through the environment: make would expand the $ in a path, and the shell would split it.
train: override export SOURCE := $(value SOURCE)
train: override export RESOLUTION := $(value RESOLUTION)
train: override export CHANNELS := $(value CHANNELS)
train: override export MINUTES := $(value MINUTES)
train: override export PRESET := $(value PRESET)
train: override export START_FROM := $(value START_FROM)
train: export MAKE_VARIABLES := $(strip $(foreach name,$(.VARIABLES),$(if $(filter line,$(origin $(name))),$(name))))
train: setup  ## train, export, evaluate and promote; SOURCE=path looks at your images and chooses the settings
	@exec python -m training.launch
	@# DVC's own closing lines come after the sentence that says whether the model is served: it is repeated.
	@cat .runs/decision.txt 2>/dev/null || true

# Unexpanded, as above.
promote: override export RUN := $(value RUN)
promote: setup  ## serve a model whatever its metrics: RUN=candidate, a model id, an experiment or an .onnx file
	@exec python -m training.promote -- "$${RUN:-candidate}"

rollback: setup  ## serve the model before this one again
	@exec python -m training.promote --rollback

# Names as words, or as A= and B= where make could not read them as targets: with spaces, colons or equals signs.
compare: override export A := $(or $(word 2,$(MAKECMDGOALS)),$(value A))
compare: override export B := $(or $(word 3,$(MAKECMDGOALS)),$(value B))
compare: setup  ## put two models on one page, reports/compare.html: make compare A B; ONNX files, ids, experiments
	@exec python -m training.compare "$$A" "$$B"

# As many columns as 120 characters hold; `dvc exp show` alone lists every parameter and dependency.
runs: setup  ## list the runs of make train with their metrics, the lowest KID first
	@dvc exp show --no-pager --md --sort-by kid --drop '.*' --keep 'Experiment|kid|precision|recall|class_agreement|memorised'

presets: setup  ## list the presets, each with its source and what to expect
	@python -m training.presets

experiments: setup  ## reproduce the source tutorials' experiments, into reports/experiments (an hour on two cores)
	@dvc repro experiments/dvc.yaml

bench: setup  ## load test next to FastAPI and BentoML services, in one run (needs wrk and an idle machine)
	@python -m benchmarks.load

bench-faults: setup  ## overload, disconnecting clients, SIGTERM, promotions under load, attacks; training killed 100 times
	@for test in overload clients drain swap under_attack kill_training damaged_training; do python -m benchmarks.faults.$$test || exit 1; done

bench-quality: setup  ## compare presets after the same tuning and training time (two hours on two idle cores)
	@python -m benchmarks.quality $(ARGS)

bench-photos: setup  ## compare recipes on your own photographs after equal training time: SOURCE=path (three hours on two idle cores)
	@python -m benchmarks.photos "$(SOURCE)" $(ARGS)

bench-modes: setup  ## mode coverage of the default and of plain DCGAN, tuned and untuned (three hours on two cores)
	@python -m benchmarks.modes $(ARGS)

bench-doctor: setup  ## how often the doctor's diagnosis is right, and what healing gains: SOURCE=photographs (hours)
	@python -m benchmarks.doctor $(if $(SOURCE),"$(SOURCE)") $(ARGS)

# --dist loadfile, as the tests of a file share expensive fixtures; files start in the order of tests/conftest.py. One
# thread per process: the processes already fill the cores.
test: setup system  ## run the whole test suite
	@OMP_NUM_THREADS=1 pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

fuzz: setup  ## 600 valid and 600 invalid requests to each route with input, against the contract (make test sends a few)
	@MINT_FUZZ=600 pytest tests/serving/http/test_contract.py

lint: setup  ## formatting, lint rules, types, import boundaries, Dockerfile, lock files
	@ruff format --check .
	@ruff check .
	@mypy
	@lint-imports
	@hadolint Dockerfile
	@bash requirements/lock.sh --check

lock: setup  ## resolve pyproject.toml into requirements/*.txt again
	@bash requirements/lock.sh

# The names after `make compare` are no targets to build, even if they are files or the names of targets above.
ifeq ($(firstword $(MAKECMDGOALS)),compare)
.PHONY: $(wordlist 2,3,$(MAKECMDGOALS))
$(wordlist 2,3,$(MAKECMDGOALS)): ;@:
endif
