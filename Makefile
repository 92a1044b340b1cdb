# `make` lists what there is. Everything runs inside .venv/, which `make setup` builds.
SHELL := /bin/bash
PYTHON ?= python3
PORT ?= 3000
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export BENTOML_DO_NOT_TRACK := true

LOCKED := requirements/all.txt requirements/serving.txt

.DEFAULT_GOAL := help
.PHONY: help setup run serve train test lint lock

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1|/' | column -t -s '|'

setup: .venv/.ready  ## build .venv (with uv where there is uv, with venv and pip where there is not)

.venv/.ready: requirements/all.txt pyproject.toml
	@PYTHON=$(PYTHON) bash requirements/install.sh
	@touch $@

run: setup  ## retrain if data, params or code changed, then serve on http://127.0.0.1:$(PORT)
	@dvc repro --quiet --allow-missing || dvc repro
	@$(MAKE) --no-print-directory serve

serve: setup  ## serve models/generator.onnx as it is
	@bentoml serve serving.service:Mint --host 127.0.0.1 --port $(PORT)

train: setup  ## preprocess, train, export and evaluate: dvc repro
	@dvc repro

test: setup  ## run the whole test suite
	@pytest

lint: setup  ## format and rules, types, import boundaries, Dockerfile, lock files
	@ruff format --check .
	@ruff check .
	@mypy
	@lint-imports
	@hadolint Dockerfile
	@bash requirements/lock.sh --check

lock: setup  ## resolve pyproject.toml into requirements/*.txt again
	@bash requirements/lock.sh
