# Everything runs in .venv, which the first target that needs it makes from pyproject.toml under constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-all check format wheel clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]' --constraint constraints.txt
	touch $(READY)

demo: $(READY)
	$(BIN)/convatlas train lenet5 --data digits --recipe published --out runs/demo --overwrite

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-all: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m ''

# Builds the wheel and tries it in an environment of its own, which takes what the wheel depends on from .venv.
wheel: $(READY)
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist
	CONVATLAS_DIST=dist $(BIN)/python -m pytest -m slow tests/test_wheel.py

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv runs build dist .pytest_cache .ruff_cache .import_linter_cache
