# Everything a person or CI does with this repository. Each target installs what it needs.
# Only Python >= 3.11 with pip, and make, are expected on the machine.

PYTHON ?= python3
KIND ?= ct
ENGINE ?= embedded
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: install demo viewer triton triton-server test check bench geometry serve train-env system-packages ohif clean

install: $(VENV)/.node

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("dicom-node needs Python 3.11 or newer: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.node: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.node
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	touch $@

# PyTorch comes by plain pip and only where training, export or tests need it.
$(VENV)/.training: $(VENV)/.node
	$(PIP) install torch==2.13.0
	$(PIP) install --constraint constraints.txt --editable '.[training]'
	touch $@

demo: $(VENV)/.node $(if $(filter triton,$(ENGINE)),triton-server)
	$(BIN)/python -m dicom_node.demonstration --kind $(KIND) --engine $(ENGINE) --out demo-out

# OHIF in front of Orthanc, with a demo study (KIND=ct or ctpa) and its results, on http://127.0.0.1:3000 until Ctrl-C.
viewer: $(VENV)/.node system-packages ohif
	$(BIN)/python -m dicom_node.demonstration.viewer --kind $(KIND)

serve: $(VENV)/.node
	$(BIN)/dicom-node serve --config config/node.toml

# A real Triton server on the CPU with the shipped models, on port 8001 of this machine until Ctrl-C.
triton: $(VENV)/.node triton-server
	$(BIN)/python -m dicom_node.demonstration.triton_server

triton-server: $(VENV)/.node
	@sh deploy/triton/build.sh .triton $(BIN)/python

train-env: $(VENV)/.training

check: $(VENV)/.dev $(VENV)/.training
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: $(VENV)/.dev $(VENV)/.training system-packages ohif triton-server
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

bench: $(VENV)/.dev system-packages ohif triton-server
	$(BIN)/python -m benchmarks

# Where voxels lie, in every geometry: a painted phantom through a real node, read back by others; docs/geometry.md.
geometry: $(VENV)/.dev system-packages
	$(BIN)/python -m benchmarks.geometry

# dcmtk, Orthanc with DICOMweb and Python, dicom3tools, nginx, strace and Chromium, from Debian or Ubuntu.
system-packages:
	@sh deploy/install-test-packages.sh

# The built OHIF viewer, fetched once.
ohif:
	@sh deploy/ohif/fetch.sh .viewer/ohif

clean:
	rm -rf demo-out test-out bench-out
