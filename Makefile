# Each target is a line or two; what they do is in lab/ and tests/. `make` alone lists them.
SHELL := /bin/bash
UNIT := tests/unit
PATHS ?= tests/test_*.py tests/contract tests/engine tests/workflow
bin := .venv/bin
cache = $${ANYARCH_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/anyarch}

.PHONY: help setup demo demo-down test unit lint bench lock

help:
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

setup: ## install what the other targets need, once
	@lab/setup.sh

demo: setup ## three engines, a registry, one application on three platforms, one tag
	@$(bin)/python -m lab.demo up

demo-down: setup ## stop what `make demo` started, and say how to remove what stays
	@$(bin)/python -m lab.demo down

test: lint unit ## everything, from a bare machine to nothing left behind
	@$(bin)/pytest $(PATHS)

unit: setup ## the tests that need no engine: seconds
	@env -u PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX=$(cache)/pycache $(bin)/pytest -n 2 $(UNIT)

bench: setup ## merge and tag beside crane, regctl, oras, buildx and buildah
	@$(bin)/python -m lab.bench

lint: setup ## format, lint, types, shell
	@$(bin)/ruff format --check --quiet . && $(bin)/ruff check --quiet . && $(bin)/mypy --no-error-summary
	@git ls-files -z -- '*.sh' .ci/run | xargs -0 $(bin)/shellcheck

lock: setup ## write requirements.lock anew, with hashes and without addresses
	@$(cache)/uv/bin/uv pip compile --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-emit-index-url --no-annotate pyproject.toml --group dev -o requirements.lock
