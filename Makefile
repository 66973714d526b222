# Every target sets itself up in .venv; Python 3.11 or newer and make are all it needs.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
PORT ?= 8000
.PHONY: help demo serve screenshots load test test-slow test-postgres test-crash check lint types imports golden lock bench clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "radproof needs Python 3.11 or newer; set PYTHON=python3.12, say" >&2; exit 2; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check "$$(grep '^uv==' requirements.lock)"
	$(BIN)/uv pip install -q --python $(BIN)/python -r requirements.lock
	@touch $@

.venv/.linked: $(READY) pyproject.toml
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@

demo: .venv/.linked ## Crash-test a small DenseNet121 on drawn X-rays; leaves runs/demo/report.html
	$(BIN)/radproof assess examples/plans/demo.yaml --out runs/demo

runs/serve/facts.json: | .venv/.linked
	$(BIN)/python -m radproof.api.serving.example_make examples/plans/serve.yaml runs/serve

serve: runs/serve/facts.json ## Open the laboratory in a browser, with a finished run in it; PORT=8000
	$(BIN)/radproof serve --home runs/home --port $(PORT) --example runs/serve

screenshots: runs/serve/facts.json ## Draw every page at both widths, light and dark, into runs/screenshots
	$(BIN)/python -m bench.screenshots --example runs/serve --out runs/screenshots

load: runs/serve/facts.json ## 50 clients for two minutes against a server of its own; leaves runs/load.json
	$(BIN)/python -m bench.load --example runs/serve --out runs/load.json

test: .venv/.linked ## The default tests: offline, no GPU, about eight minutes on two cores
	$(BIN)/python -m pytest

test-slow: .venv/.linked ## The slow tests as well
	$(BIN)/python -m pytest -m "slow or not slow"

test-postgres: .venv/.linked ## API, store and jobs on a PostgreSQL server of their own (the default is SQLite)
	RADPROOF_TEST_DATABASE=postgresql $(BIN)/python -m pytest -m "not slow and not crash" tests/api tests/store tests/jobs

test-crash: .venv/.linked ## Kill workers and the database in mid run, twenty times each (about 20 minutes)
	$(BIN)/python -m pytest -n 0 -s -m crash tests/jobs

lint: .venv/.linked
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.linked
	$(BIN)/pyright

imports: .venv/.linked
	$(BIN)/lint-imports

check: lint types imports test ## Lint, types, import order and tests

golden: .venv/.linked ## Rewrite the generated files (command schema, result schema); review the diff
	$(BIN)/python -m radproof.reference --write

lock: ## Compile requirements.lock anew (exact versions, no index address)
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --all-extras --group dev --group bench \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate --custom-compile-command "make lock" \
	  pyproject.toml -o requirements.lock

bench: .venv/.linked ## Measure against the peers, side by side in one run
	$(BIN)/python -m bench

clean: ## Remove what the targets made
	rm -rf .venv runs .pytest_cache .ruff_cache .hypothesis .import_linter_cache
