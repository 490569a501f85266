# make demo and make test work from a bare clone: what they need is installed into .venv, once.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP_INSTALL := $(BIN)/python -m pip install --constraint constraints.txt --progress-bar on

.DEFAULT_GOAL := help
.PHONY: help demo test lint types bench acceptance sources quantization onnx measuring drift devices gate schema picture constraints clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(READY) ## Convert the digits network to twelve files, prove, measure and compare them, write a report
	$(BIN)/edgekit demo

test: $(READY) ## Run all tests, two files of them at a time
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: $(READY) ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## Check types
	$(BIN)/mypy

bench: $(READY) ## Check the time budgets: help, and one command against six
	$(BIN)/python benchmarks/help_time.py
	$(BIN)/python benchmarks/one_command.py

acceptance: $(READY) ## Convert and check the real trained models beside the repository
	$(BIN)/python benchmarks/real_models.py

sources: $(READY) ## Convert a model of every source to every target, and write the table of docs/sources.md
	$(BIN)/python benchmarks/sources.py --write
	$(BIN)/python benchmarks/keras_reference.py

quantization: $(READY) ## Compare int8 with the runtimes' own tools, and the memory of calibrating
	$(BIN)/python benchmarks/quantization.py --write
	$(BIN)/python benchmarks/calibration_memory.py

onnx: $(READY) ## Check the ONNX importer: node tests, real files, cost, damaged files
	$(BIN)/python benchmarks/onnx_node_tests.py --write
	$(BIN)/python benchmarks/onnx_models.py
	$(BIN)/python benchmarks/onnx_import_cost.py
	$(BIN)/python benchmarks/onnx_fuzz.py

measuring: $(READY) ## Check the measuring: copies of a file, the runtimes' own tools, operators, memory
	$(BIN)/python benchmarks/same_files.py
	$(BIN)/python benchmarks/native_agreement.py
	$(BIN)/python benchmarks/operator_times.py
	$(BIN)/python benchmarks/memory.py

drift: $(READY) ## Check edgekit drift: published figures, planted faults, ten thousand samples
	$(BIN)/python benchmarks/published_figures.py
	$(BIN)/python benchmarks/planted_faults.py
	$(BIN)/python benchmarks/streaming.py

devices: $(READY) ## Check transfers to devices against scp (fetches an ssh server if there is none)
	$(BIN)/python benchmarks/transfers.py --download

gate: $(READY) ## Check edgekit check: planted regressions of every kind, and none, under load
	$(BIN)/python benchmarks/gate.py

schema: $(READY) ## Write the published JSON Schema of reports anew
	$(BIN)/python -c 'from edgekit.report.schema import write; write()'

picture: $(READY) ## Run the demo and put its result into README.md and docs/demo.svg
	@mkdir -p build
	$(BIN)/edgekit demo --json --output build/demo > build/demo.json
	$(BIN)/python docs/make_picture.py build/demo.json

constraints: ## Write constraints.txt anew from the newest versions that pyproject.toml admits
	@rm -rf build/constraints && $(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install '.[all,dev]'
	build/constraints/bin/python -m pip freeze --all --exclude edgekit --exclude pip | sed 's/+[a-z0-9.]*$$//' > constraints.txt

clean: ## Remove the environment, caches and build results
	rm -rf $(VENV) build dist edgekit-demo .pytest_cache .mypy_cache .ruff_cache
	find edgekit converters profiles tests benchmarks examples docs -name __pycache__ -type d -prune -exec rm -rf {} +

# Four calls of pip, so that minutes of "Installing collected packages" say where they are.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: edgekit needs Python 3.11 or newer, and '$(PYTHON)' is not."; \
	  echo "  next: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	@echo "== Setting up $(VENV): about 5 GB, a few minutes, once =="
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "  next: install your system's package for Python's venv module (Debian: python3-venv)"; exit 1; }
	@echo "== 1/4: PyTorch =="
	$(PIP_INSTALL) --editable '.[torch]'
	@echo "== 2/4: TFLite, ONNX and ExecuTorch =="
	$(PIP_INSTALL) --editable '.[tflite,onnx,executorch]'
	@echo "== 3/4: TensorFlow, JAX and Hugging Face =="
	$(PIP_INSTALL) --editable '.[tensorflow,jax,huggingface]'
	@echo "== 4/4: test tools =="
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $@
	@echo "== $(VENV) is ready =="
