PYTHON ?= python3
# which build of torch to install first, e.g. TORCH="torch==2.13.0 --index-url <address of the CPU builds>"
TORCH ?=
BIN := .venv/bin

.PHONY: install demo test lint
install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(if $(TORCH),$(BIN)/pip install $(TORCH))
	$(BIN)/pip install -c constraints.txt -e ".[dev]"
	touch $@

demo: install
	$(BIN)/mogen run experiments/configs/demo.yaml --out runs/demo --overwrite true
	@echo "report: $(CURDIR)/runs/demo/report.html"

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
