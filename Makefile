# Two commands: `make app` and `make test`. Both set up .venv first, which takes minutes once and seconds after that.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$p; break; fi; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PORT ?= 8501
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install app test test-avx2 test-avx2-integers test-avx2-training check format bench docs clean

# A CPU without VNNI, whose int8 sums saturate, less what qemu cannot emulate of it and would warn of.
HASWELL := qemu-x86_64 -cpu Haswell-noTSX,-pcid,-x2apic,-tsc-deadline,-invpcid
# What depends on how integers are added; none starts a process of its own, which would run on the real CPU.
INTEGER_TESTS := $(addprefix tests/,measure/test_saturation.py measure/test_emulation.py measure/test_portability.py \
	measure/test_elsewhere.py measure/test_accuracy.py serve/test_models.py)
# What trains, on the kernels that torch has for CPUs with no more than AVX2.
TRAINING_TESTS := $(addprefix tests/compress/,test_distill.py test_finetune.py test_qat.py)

help:
	@echo "make app      set up and open the dashboard on http://localhost:$(PORT)"
	@echo "make test     set up and run every test (browser tests where there is a Chromium)"
	@echo "make test-avx2  run those that depend on the CPU as on one without AVX-512 and VNNI (needs qemu-user)"
	@echo "make check    lint, formatting, types"
	@echo "make format   rewrite the code as 'make check' wants it"
	@echo "make bench    print the benchmarks' figures (minutes)"
	@echo "make docs     build the documentation as a site in site/"
	@echo "make clean    remove .venv and the tools' caches"

install: $(STAMP)

# The stamp is written last, so an interrupted installation is taken up again.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; install it, or give its path: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) -m venv failed; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@echo "Installing pinned dependencies into $(VENV) (about 5.5 GB with torch; a few minutes the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

app: install
	@$(BIN)/python -m engine.cli app --port $(PORT)

test: install
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

# Beside each other: the emulated CPU has one core.
test-avx2: install
	$(MAKE) -j2 --output-sync=target test-avx2-integers test-avx2-training

test-avx2-integers: install
	@command -v qemu-x86_64 >/dev/null || { echo "qemu-x86_64 is needed; on Debian and Ubuntu: apt-get install qemu-user" >&2; exit 2; }
	PARETOSCOPE_EXPECT_SUMS=saturating $(HASWELL) $(BIN)/python -m pytest $(INTEGER_TESTS)

test-avx2-training: install
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 $(BIN)/python -m pytest $(TRAINING_TESTS)

check: install
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

format: install
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

bench: install
	@for script in tests/benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script; done

docs: install
	PYTHONPATH=. $(BIN)/python docs/make_site.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist site *.egg-info
